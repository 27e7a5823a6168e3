/** The person at the device, where an agency asks for one: what is shown before, and what goes on all the same. */
import { afterEach, beforeEach, expect, test } from 'vitest';

import type { ChannelId } from '~/protocol/ids';

import { type Person, Town } from './people';

const MINUTE_S = 60;

let town: Town;
let ana: Person;

/** A dispatcher who showed herself with a passkey that counts for two minutes. */
beforeEach(async () => {
    town = await Town.create();
    town.relay.sessions.personMs = 2 * MINUTE_S * 1_000;
    town.relay.sessions.person = 'passkey';
    ana = await approved();
});
afterEach(() => ana.engine.stop());

async function approved(): Promise<Person> {
    const person = await town.stranger('dispatcher');
    await town.until(() => person.standing.kind === 'pending');
    if (person.standing.kind === 'pending') await town.relay.approve(person.standing.device);
    await shown(person);
    await town.until(() => person.online);
    return person;
}

async function shown(person: Person): Promise<void> {
    await town.until(() => person.standing.kind === 'person', 'the person is asked for');
    await person.engine.passkeyOptions('sign_in');
    await person.engine.passkeyAnswer('sign_in', {});
    await town.until(() => person.standing.kind === 'active', 'the person was known');
}

test('a page that is opened after the proof is over shows nothing, also without a link', async () => {
    await town.rest(3 * MINUTE_S);
    town.relay.down = true;
    await ana.reload();
    expect(ana.standing).toMatchObject({ kind: 'person', by: 'passkey' });
    expect(ana.snapshot?.channels).toEqual([]);
    town.relay.down = false;
    await shown(ana);
});

test('a page that is opened while the proof counts asks for none', async () => {
    await town.until(() => ana.standing.kind === 'active' && ana.standing.me.screenLock === 'passkey');
    await ana.reload();
    expect(ana.standing.kind).toBe('active');
});

test('a proof that is given anew opens the socket anew, with the token of its session', async () => {
    await town.rest(2 * MINUTE_S + 15);
    await town.until(() => ana.online);
    const before = town.relay.hellos;
    await shown(ana);
    await town.rest(2);
    expect(town.relay.hellos).toBe(before + 1);
    expect(ana.online).toBe(true);
});

test('what is urgent sounds while the person is asked for', async () => {
    town.relay.sessions.personMs = 12 * 3_600_000;
    const ben = await approved();
    await ana.engine.reconnect();
    await town.rest(2);
    const incident = await ana.engine.openIncident(2, {
        typeCode: 'EDP',
        district: '',
        address: '',
        place: null,
        narrative: '',
        disposition: '',
    });
    const channel = (): ChannelId | null =>
        ben.of('incident').findLast((event) => event.incident.id === incident)?.incident.operations ?? null;
    await town.until(() => channel() !== null, 'the incident at the other dispatcher');
    const operations = channel() ?? ('' as ChannelId);
    await town.until(() => ben.channel(operations)?.caughtUp === true);
    await town.rest(2 * MINUTE_S);
    await town.until(() => ana.standing.kind === 'person', 'the proof is over');
    const id = await ben.engine.send(operations, 'Shots heard.', 'urgent');
    await town.until(() => ana.of('sound').some((event) => event.id === id), 'the sound');
    expect(ana.standing.kind).toBe('person');
    await ben.engine.stop();
});

test('an agency that asks for nobody any more lets the device go on by itself', async () => {
    await town.rest(3 * MINUTE_S);
    await town.until(() => ana.standing.kind === 'person');
    town.relay.sessions.person = 'device';
    await ana.reload();
    expect(ana.standing.kind).toBe('person');
    await town.until(() => ana.standing.kind === 'active', 'nobody is asked for');
});

test('a lost answer takes nothing from a proof that counts, and a server that asks anew does', async () => {
    town.relay.sessions.personMs = 12 * 3_600_000;
    await town.rest(2 * MINUTE_S + 15);
    await shown(ana);
    town.relay.sessions.losesRefresh = true;
    await town.rest(5 * MINUTE_S);
    expect(town.relay.down).toBe(true);
    await ana.reload();
    expect(ana.standing.kind).toBe('active');
    town.relay.sessions.losesRefresh = false;
    town.relay.down = false;
    await town.until(() => ana.standing.kind === 'person', 'the server asks');
    town.relay.down = true;
    await ana.reload();
    expect(ana.standing.kind).toBe('person');
    town.relay.down = false;
    await shown(ana);
});
