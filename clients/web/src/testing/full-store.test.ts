/** A device whose store is full for a while: nothing is lost, nothing ends, and what is urgent is heard. */
import { afterEach, beforeEach, expect, test } from 'vitest';

import { address, type ChannelId } from '~/protocol/ids';

import { type Person, Town } from './people';

let town: Town;
let ana: Person;
let ben: Person;
let channel: ChannelId;

beforeEach(async () => {
    town = await Town.create();
    ({ ana, ben, channel } = await town.desk());
    await town.rest(3);
});

afterEach(async () => {
    await ana.engine.stop();
    await ben.engine.stop();
});

const trouble = (person: Person): string | undefined => person.of('store').at(-1)?.store;

test('receiving pauses, and goes on where it paused', async () => {
    ben.disk.full = true;
    const first = await ana.engine.send(channel, 'one', 'routine');
    const second = await ana.engine.send(channel, 'two', 'routine');
    await town.until(() => trouble(ben) === 'full', 'the notice');
    await town.rest(70);
    expect(ben.standing).toMatchObject({ kind: 'active' });
    expect(ben.online).toBe(true);
    // Nobody was told that it is there.
    expect(ana.step(first)).toBe('accepted');
    expect(await ben.texts(channel)).toEqual([]);

    ben.disk.full = false;
    await town.until(() => trouble(ben) === 'none', 'the end of the notice');
    await town.until(() => ana.step(second) === 'delivered', 'the delivery');
    expect(await ben.texts(channel)).toEqual(['one', 'two']);
    expect(ana.step(first)).toBe('delivered');
    await ben.reload();
    expect(await ben.texts(channel)).toEqual(['one', 'two']);
});

test('what is urgent sounds and is seen all the same, once and no twice', async () => {
    ben.disk.full = true;
    const id = await ana.engine.send(channel, 'He has a knife.', 'urgent');
    await town.until(() => ben.of('sound').some((event) => event.id === id), 'the sound');
    expect(ben.row(id)).toMatchObject({ kind: 'text', text: 'He has a knife.' });
    expect(ana.step(id)).toBe('accepted');
    const times = ben.of('sound').map((event) => event.times);
    expect(times).toEqual(times.map((_, index) => index + 1));
});

test('what is urgent is acknowledged over the link, and stays quiet when there is space again', async () => {
    ben.disk.full = true;
    const id = await ana.engine.send(channel, 'He has a knife.', 'urgent');
    await town.until(() => ben.of('sound').some((event) => event.id === id), 'the sound');
    await ben.engine.acknowledge(channel, id);
    await town.until(() => ana.step(id) === 'acknowledged', 'the answer');
    expect(ben.row(id)).toMatchObject({ progress: { sounding: false } });
    const sounded = ben.of('sound').length;
    await town.rest(40);
    ben.disk.full = false;
    await town.until(() => trouble(ben) === 'none', 'the end of the notice');
    await town.until(() => ben.step(id) === 'acknowledged', 'the answer, written');
    await town.rest(40);
    expect(ben.of('sound')).toHaveLength(sounded);
    await ben.reload();
    await town.rest(20);
    expect(ben.of('sound')).toEqual([]);
});

test('without a link an acknowledgement fails, and the sound goes on', async () => {
    const id = await ana.engine.send(channel, 'He has a knife.', 'urgent');
    await town.until(() => ben.of('sound').some((event) => event.id === id), 'the sound');
    ben.disk.full = true;
    town.relay.down = true;
    town.relay.closeAll(1001);
    await town.until(() => !ben.online, 'the end of the link');
    await expect(ben.engine.acknowledge(channel, id)).rejects.toThrow('store_full');
    const sounded = ben.of('sound').length;
    await town.rest(20);
    expect(ben.of('sound').length).toBeGreaterThan(sounded);
});

test('a call for help leaves over the link', async () => {
    ana.disk.full = true;
    await ana.engine.safety('duress', null);
    await town.until(() => ben.of('row').some(({ row }) => row.kind === 'duress'), 'the call');
    expect(trouble(ana)).toBe('full');
});

test('what was composed goes out when there is space, exactly once, and what cannot be written is refused', async () => {
    town.relay.down = true;
    town.relay.closeAll(1001);
    await town.until(() => !ana.online, 'the end of the link');
    const waiting = await ana.engine.send(channel, 'written before', 'routine');
    ana.disk.full = true;
    await expect(ana.engine.send(channel, 'too late', 'routine')).rejects.toThrow('store_full');
    await town.until(() => trouble(ana) === 'full', 'the notice');
    town.relay.down = false;
    await ana.engine.reconnect();
    await town.rest(70);
    expect(ana.standing).toMatchObject({ kind: 'active' });
    ana.disk.full = false;
    await town.until(() => ana.step(waiting) === 'delivered', 'the delivery');
    expect(await ben.texts(channel)).toEqual(['written before']);
    expect(trouble(ana)).toBe('none');
    const logged = town.relay.log(address('content', channel)).filter((entry) => entry.lane === 1);
    expect(logged).toHaveLength(1);
});

test('a commit that could not be kept is kept later', async () => {
    const eva = await town.person('dispatcher');
    await ana.engine.reconnect();
    await town.rest(2);
    ben.disk.full = true;
    await ana.engine.admit(channel, [eva.member]);
    await town.until(() => trouble(ben) === 'full', 'the notice');
    await town.rest(10);
    ben.disk.full = false;
    await town.until(() => trouble(ben) === 'none', 'the end of the notice');
    await town.rest(5);
    await ben.reload();
    expect(ben.channel(channel)?.readers.map((reader) => reader.member)).toContain(eva.member);
    await eva.engine.stop();
});
