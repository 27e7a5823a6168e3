/** What happens in the gaps: between two awaits, between two starts, between what a server says and what is true. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import { Api } from '~/link/api';
import { encodeBody } from '~/sealing/opening/body';
import { SealedChannel } from '~/sealing/opening/channel';
import { SealingError } from '~/sealing/errors';
import { NO_BYTES } from '~/protocol/bytes';
import {
    address,
    type ChannelId,
    type IncidentId,
    type StateKey,
    stateKey,
    type UnitId,
} from '~/protocol/ids';
import { Lane } from '~/protocol/words';

import { DETAILS, type Person, Town } from './people';

let town: Town;
let ana: Person;
let ben: Person;
let channel: ChannelId;

/** Two dispatchers in the operations channel of one incident. */
beforeEach(async () => {
    town = await Town.create();
    ({ ana, ben, channel } = await town.desk());
});

afterEach(async () => {
    vi.restoreAllMocks();
    await ana.engine.stop();
    await ben.engine.stop();
});

test('a server cannot say in the name of a device that it read a message', async () => {
    const id = await ana.engine.send(channel, 'He has a knife.', 'routine');
    await town.until(() => ana.step(id) === 'delivered');
    const offset = ana.row(id)?.offset ?? 0;
    const made = encodeBody({
        type: 'marks',
        tsMs: 0,
        msgId: id,
        seen: null,
        data: [town.relay.generation, offset, offset],
    });
    expect(made.length).toBeLessThanOrEqual(32);
    town.relay.append(address('content', channel), NO_BYTES, {
        lane: Lane.state,
        key: stateKey('receipt', ben.device),
        device: ben.device,
        hash: made,
    });
    await town.rest(1);
    await ana.reload();
    const row = (await ana.rows(channel)).find((one) => one.id === id);
    expect(row).toMatchObject({ progress: { read: [] } });
});

test('a message outlives a revocation that comes between looking and sealing', async () => {
    let times = 0;
    // eslint-disable-next-line @typescript-eslint/unbound-method -- called with the channel it is of, below
    const { seal } = SealedChannel.prototype;
    vi.spyOn(SealedChannel.prototype, 'seal').mockImplementation(function (
        this: SealedChannel,
        body,
        ...rest
    ) {
        if (body.type === 'text' && times++ === 0) {
            return Promise.reject(new SealingError('E_REVOKED', 'a member was revoked'));
        }
        return seal.call(this, body, ...rest);
    });
    const id = await ana.engine.send(channel, 'On the roof.', 'urgent');
    await town.until(() => ben.row(id) !== undefined || ana.step(id) === 'refused');
    expect(ana.step(id)).not.toBe('refused');
});

test('what is urgent stays before a screen that a grant makes begin anew', async () => {
    await ana.engine.send(channel, 'said before', 'routine');
    const eva = await town.person('dispatcher');
    await ana.engine.reconnect();
    await town.rest(2);
    await ana.engine.admit(channel, [eva.member]);
    await town.until(() => eva.channel(channel)?.caughtUp === true, 'the channel');
    const id = await ana.engine.send(channel, 'He has a knife.', 'urgent');
    await town.until(() => eva.row(id) !== undefined);
    await ana.engine.grant(channel, eva.device);
    await town.until(() => eva.of('reset').length > 0, 'the grant');
    await town.rest(1);
    const reset = eva.events.findLastIndex((event) => event.kind === 'reset');
    const after = eva.events.slice(reset).filter((event) => event.kind === 'row');
    expect(after.map((event) => event.row.id)).toContain(id);
    await eva.engine.stop();
});

test('a grant opens more than one page of what was closed', async () => {
    const said = Array.from({ length: 120 }, (_, number) => `before ${number}`);
    for (const text of said) await ana.engine.send(channel, text, 'routine');
    await town.until(() => ben.channel(channel)?.lastText === said.at(-1), 'all of it');
    const eva = await town.person('responder');
    await ana.engine.admit(channel, [eva.member]);
    await town.until(() => eva.channel(channel)?.caughtUp === true, 'the channel');
    await ana.engine.grant(channel, eva.device);
    await town.until(() => eva.of('reset').length > 0, 'the grant');
    const rows = await eva.engine.history(channel, Number.MAX_SAFE_INTEGER, 200);
    expect(rows.flatMap((row) => (row.kind === 'text' ? [row.text] : []))).toEqual(said);
    await eva.engine.stop();
});

test('nothing of an ended incident sounds, or asks to be answered', async () => {
    const id = await ana.engine.send(channel, 'He has a knife.', 'urgent');
    await town.until(() => ben.of('sound').length > 0, 'the sound');
    const stored = town.relay.channels.get(channel);
    if (stored !== undefined) stored.archived = true;
    await ben.engine.reconnect();
    await town.until(() => ben.channel(channel)?.archived === true, 'the end');
    await town.until(() => {
        const row = ben.row(id);
        return row?.kind === 'text' && !row.progress.sounding;
    }, 'the silence');
    const before = ben.of('sound').length;
    await town.rest(40);
    expect(ben.of('sound')).toHaveLength(before);
    await ben.reload();
    expect(ben.snapshot?.urgent).toEqual([]);
    await town.rest(40);
    expect(ben.of('sound')).toEqual([]);
});

test('who is assigned to an incident can read what it is', async () => {
    const eva = await town.person('responder');
    const unit = 'e1'.repeat(16) as UnitId;
    town.relay.units.push({
        id: unit,
        members: [eva.member],
        lead: null,
        createdMs: 1,
        endedMs: 0,
        revision: 1,
    });
    // The list of units at the desk is an older one: neither the unit nor its devices are known there.
    const incident = ana.of('incident').at(-1)?.incident.id ?? ('' as IncidentId);
    await ana.engine.assign(incident, unit, 'back door');
    await town.until(
        () => eva.of('row').some(({ row }) => row.kind === 'assignment'),
        'the assignment at the unit',
    );
    expect(eva.of('incident').at(-1)?.incident.details).toEqual(DETAILS);
    await eva.engine.stop();
});

test('somebody who signs out waits for no server', async () => {
    vi.spyOn(Api.prototype, 'signOut').mockImplementation(() => new Promise(() => undefined));
    const done = ben.engine.signOut();
    await town.rest(5);
    expect(ben.standing).toEqual({ kind: 'ended', why: 'signed_out' });
    await done;
    await ben.reload();
    expect(ben.standing).toEqual({ kind: 'new' });
});

test('a store that guesses of a PIN wiped under a device at work ends it', async () => {
    const { member, code } = town.relay.invite(['responder']);
    const eva = await town.newcomer(member);
    await eva.engine.enrol({ code, root: town.root, pin: '493817' });
    await town.until(() => eva.standing.kind === 'pending');
    if (eva.standing.kind === 'pending') await town.relay.approve(eva.standing.device);
    await town.until(() => eva.standing.kind === 'active');
    for (let wrong = 0; wrong < 5; wrong++) {
        await expect(eva.engine.unlock('000000')).rejects.toThrow('wrong_pin');
    }
    expect(eva.standing).toEqual({ kind: 'ended', why: 'signed_out' });
    await eva.engine.stop();
});

test('a call for help leaves from who is in no unit, and with a place that is none', async () => {
    const nowhere = {
        latE7: 4_756_210_000_000,
        lonE7: 0,
        accuracyM: 5,
        fixMs: 1,
        coarseM: 0,
        headingDeg: null,
        speedCmS: null,
        batteryPercent: null,
    };
    await ana.engine.safety('duress', nowhere);
    await town.until(() => ben.of('sound').length > 0, 'the sound at the other desk');
    const rows = await ben.rows(channel);
    expect(rows.filter((row) => row.kind === 'duress')).toMatchObject([{ unit: null, fix: null }]);
    expect(ana.of('sound')).toEqual([]);
});

test('who is let in again before the list was read hears what is said, on the same link', async () => {
    town.relay.forbidden.add('channels');
    await ana.engine.remove(channel, [ben.member]);
    await ana.engine.admit(channel, [ben.member]);
    await town.rest(2);
    town.relay.forbidden.delete('channels');
    const { hellos } = town.relay;
    const id = await ana.engine.send(channel, 'Back again.', 'routine');
    await town.rest(3);
    expect(await ben.texts(channel)).toEqual([]);
    town.relay.beat();
    await town.until(() => ben.row(id) !== undefined, 'what was said');
    await town.until(() => ben.channel(channel)?.caughtUp === true);
    expect(await ben.texts(channel)).toEqual(['Back again.']);
    expect(town.relay.hellos).toBe(hellos);
});

test('what the server deletes is on no screen any more: a description, a status, a name', async () => {
    const incident = ben.of('incident').at(-1)?.incident.id ?? ('' as IncidentId);
    const details = () => ben.of('incident').findLast((event) => event.incident.id === incident)?.incident;
    await town.until(() => details()?.details !== null, 'the description');
    const agency = await ana.engine.openUnitChannel(await anyUnit());
    Object.assign(town.relay.channels.get(agency) ?? {}, { purpose: 'agency', subject: '' });
    for (const person of [ana, ben]) await person.engine.reconnect();
    await town.rest(2);
    const unit = await ana.engine.createUnit('Crisis 7', []);
    await ana.engine.setStatus(unit, 'Available', null, '', null);
    await town.until(() => ana.of('status').some((event) => event.status.unit === unit), 'the status');
    await ben.engine.reconnect();
    const name = () => ben.of('unit').findLast((event) => event.unit.id === unit)?.unit.name;
    await town.until(() => name() === 'Crisis 7', 'the name');

    const own = ana.of('unit').findLast((event) => event.unit.id === unit)?.unit.channel ?? ('' as ChannelId);
    forget(channel, stateKey('incident', incident));
    forget(own, stateKey('status', unit));
    forget(agency, stateKey('name', unit));
    await town.until(() => details()?.details === null, 'no description');
    await town.until(() => ana.of('status_gone').some((event) => event.unit === unit), 'no status');
    await town.until(() => name() === unit.slice(0, 8), 'no name');
    await ben.reload();
    expect(ben.snapshot?.incidents.find((one) => one.id === incident)?.details).toBeNull();
    expect(ben.snapshot?.units.find((one) => one.id === unit)?.name).toBe(unit.slice(0, 8));
});

/** A unit that has no channel. */
async function anyUnit(): Promise<UnitId> {
    const id = 'e1'.repeat(16) as UnitId;
    town.relay.units.push({ id, members: [], lead: null, createdMs: 1, endedMs: 0, revision: 1 });
    await ana.engine.reconnect();
    await town.rest(2);
    return id;
}

/** A value that the server deleted. */
function forget(log: ChannelId, key: StateKey): void {
    town.relay.append(address('content', log), NO_BYTES, { lane: Lane.state, key });
}
