/** A unit that an administrator made has no channel, until a person of the desk opens one. */
import { expect, test } from 'vitest';

import type { ChannelId, MemberId, UnitId } from '~/protocol/ids';

import { type Person, Town } from './people';

const UNIT = 'e1'.repeat(16) as UnitId;

function makeUnit(town: Town, members: MemberId[]): void {
    town.relay.units.push({ id: UNIT, members, lead: null, createdMs: 1, endedMs: 0, revision: 1 });
}

/** A channel's view once this person's lists are fresh. */
async function fresh(town: Town, person: Person): Promise<void> {
    await person.engine.reconnect();
    await town.rest(2);
}

test('the desk opens it, once, and lets in and takes out whom the lists say, by its own act alone', async () => {
    const town = await Town.create();
    const ana = await town.person('dispatcher');
    const eva = await town.person('responder');
    makeUnit(town, [eva.member]);
    await fresh(town, ana);
    expect(ana.of('unit').at(-1)?.unit).toMatchObject({ id: UNIT, channel: null });

    const channel: ChannelId = await ana.engine.openUnitChannel(UNIT);
    expect(await ana.engine.openUnitChannel(UNIT)).toBe(channel);
    await town.until(() => eva.channel(channel)?.caughtUp === true, 'the channel at the unit');
    expect(ana.of('unit').at(-1)?.unit).toMatchObject({ channel });
    expect(ana.channel(channel)).toMatchObject({ purpose: 'unit', outside: [], leftover: [] });

    const ben = await town.person('responder');
    town.relay.units.splice(0);
    makeUnit(town, [ben.member]);
    await fresh(town, ana);
    await town.until(() => ana.channel(channel)?.outside.length === 1, 'who is outside');
    expect(ana.channel(channel)).toMatchObject({ outside: [ben.member], leftover: [eva.member] });
    // The lists are the server's word: nobody came in by them.
    await town.rest(70);
    expect(ben.channel(channel)).toBeUndefined();

    await ana.engine.admit(channel, [ben.member]);
    await ana.engine.remove(channel, [eva.member]);
    await town.until(() => ben.channel(channel)?.caughtUp === true, 'the channel at the new one');
    expect(ana.channel(channel)).toMatchObject({ outside: [], leftover: [] });
    for (const person of [ana, ben, eva]) await person.engine.stop();
});

test('two who open it at once come to one channel, and a channel that is archived gives its place up', async () => {
    const town = await Town.create();
    const ana = await town.person('dispatcher');
    const ben = await town.person('dispatcher');
    makeUnit(town, []);
    await fresh(town, ana);
    await fresh(town, ben);

    const [one, other] = await Promise.all([
        ana.engine.openUnitChannel(UNIT),
        ben.engine.openUnitChannel(UNIT),
    ]);
    expect(one).toBe(other);
    expect([...town.relay.channels.keys()]).toEqual([one]);

    const standing = town.relay.channels.get(one);
    if (standing !== undefined) standing.archived = true;
    await fresh(town, ana);
    expect(ana.of('unit').at(-1)?.unit).toMatchObject({ id: UNIT, channel: null });
    const next = await ana.engine.openUnitChannel(UNIT);
    expect(next).not.toBe(one);
    await fresh(town, ana);
    expect(ana.of('unit').at(-1)?.unit).toMatchObject({ channel: next });
    await ana.reload();
    expect(ana.snapshot?.units.find((unit) => unit.id === UNIT)?.channel).toBe(next);
    for (const person of [ana, ben]) await person.engine.stop();
});

test('a channel that this desk is not in is not opened a second time', async () => {
    const town = await Town.create();
    const ana = await town.person('dispatcher');
    makeUnit(town, []);
    await fresh(town, ana);
    const channel = await ana.engine.openUnitChannel(UNIT);
    const ben = await town.person('dispatcher');
    await fresh(town, ben);
    await expect(ben.engine.openUnitChannel(UNIT)).rejects.toThrow('conflict');

    await fresh(town, ana);
    await ana.engine.admit(channel, [ben.member]);
    expect(await ben.engine.openUnitChannel(UNIT)).toBe(channel);
    for (const person of [ana, ben]) await person.engine.stop();
});
