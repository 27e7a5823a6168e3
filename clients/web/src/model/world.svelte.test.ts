import { flushSync } from 'svelte';
import { describe, expect, test } from 'vitest';
import { Clock } from './clock.svelte';
import type { Row } from './engine';
import {
    assignment,
    channel,
    channelId,
    deviceId,
    duress,
    memberId,
    messageId,
    position,
    progress,
} from './sample';
import { reader, snapshot, status, text, unitId } from './sample';
import { OVER_MS } from './typing';
import { World } from './world.svelte';

/** A world whose frames are run by hand, over a channel with these rows. */
function setUp(rows: readonly Row[] = []): { world: World; paint: () => void } {
    let due: (() => void)[] = [];
    const history = (_: unknown, before: number, limit: number): Promise<readonly Row[]> =>
        Promise.resolve(rows.filter((row) => row.offset < before).slice(-limit));
    const world = new World({ history }, (work) => due.push(work));
    world.load(snapshot());
    return {
        world,
        paint() {
            const now = due;
            due = [];
            for (const work of now) work();
            flushSync();
        },
    };
}

/** How often what `look` reads was painted. */
function painted(look: () => unknown): { times: number; stop: () => void } {
    const count = { times: 0, stop };
    function stop(): void {
        end();
    }
    const end = $effect.root(() => {
        $effect(() => {
            look();
            count.times += 1;
        });
    });
    flushSync();
    return count;
}

describe('events', () => {
    test('are applied together, once a frame, in order', () => {
        const { world, paint } = setUp();
        const count = painted(() => world.channels.get(channelId(1))?.unread);
        for (let unread = 1; unread <= 100; unread += 1) {
            world.receive([{ kind: 'channel', channel: channel(1, { unread }) }]);
        }
        expect(world.channels.size).toBe(0);
        paint();
        expect(world.channels.get(channelId(1))?.unread).toBe(100);
        expect(count.times).toBe(2);
        count.stop();
    });

    test('repaint only what they are about', () => {
        const { world, paint } = setUp();
        world.load(snapshot({ positions: Array.from({ length: 1_000 }, (_, n) => position(n)) }));
        const other = painted(() => world.positions.get(deviceId(1)));
        const same = painted(() => world.positions.get(deviceId(2)));
        world.receive([{ kind: 'position', position: position(2, { atMs: 5 }) }]);
        paint();
        expect([other.times, same.times]).toEqual([1, 2]);
        other.stop();
        same.stop();
    });

    test('of sound are told at once, without a frame', () => {
        const { world } = setUp();
        const heard: number[] = [];
        const stop = world.onSound((sound) => heard.push(sound.times));
        const sound = { kind: 'sound', channel: channelId(1), id: messageId(1) } as const;
        world.receive([{ ...sound, times: 1 }]);
        stop();
        world.receive([{ ...sound, times: 2 }]);
        expect(heard).toEqual([1]);
    });

    test('that come late do not bring an older status or place back', () => {
        const { world, paint } = setUp();
        const away = channelId(9);
        world.receive([
            { kind: 'status', status: status(1, { atMs: 9, note: 'new' }) },
            { kind: 'status', status: status(1, { atMs: 8, note: 'old' }) },
            { kind: 'position', position: position(1, { atMs: 9 }) },
            { kind: 'position', position: position(1, { atMs: 8, channel: away }) },
            { kind: 'position_gone', channel: away, device: deviceId(1) },
        ]);
        paint();
        expect(world.statuses.get(unitId(1))?.note).toBe('new');
        expect(world.positions.get(deviceId(1))?.atMs).toBe(9);
    });

    test('that take a status back take no newer one of another channel', () => {
        const { world, paint } = setUp();
        const away = channelId(9);
        world.receive([
            { kind: 'status', status: status(1) },
            { kind: 'status_gone', channel: away, unit: unitId(1) },
        ]);
        paint();
        expect(world.statuses.has(unitId(1))).toBe(true);
        world.receive([{ kind: 'status_gone', channel: status(1).channel, unit: unitId(1) }]);
        paint();
        expect(world.statuses.has(unitId(1))).toBe(false);
    });

    test('of a channel that is archived leave nothing that asks to be answered', () => {
        const { world, paint } = setUp();
        world.receive([
            { kind: 'channel', channel: channel(1) },
            { kind: 'row', row: duress(1, { progress: progress({ sounding: true }) }) },
        ]);
        paint();
        expect([world.urgent.size, world.sounding.size]).toEqual([1, 1]);
        world.receive([
            { kind: 'channel', channel: channel(1, { archived: true }) },
            { kind: 'row', row: duress(1) },
        ]);
        paint();
        expect([world.urgent.size, world.sounding.size]).toEqual([0, 0]);
        world.load(snapshot({ channels: [channel(1, { archived: true })], urgent: [duress(1)] }));
        expect(world.urgent.size).toBe(0);
    });

    test('of an end leave nothing of what was known in the page', () => {
        const { world, paint } = setUp();
        world.load(snapshot({ channels: [channel(1)], urgent: [duress(1)], positions: [position(1)] }));
        const window = world.openChannel(channelId(1));
        window.apply([text(1, { channel: channelId(1) })]);
        world.receive([{ kind: 'standing', standing: { kind: 'ended', why: 'revoked' } }]);
        paint();
        const left = [world.channels, world.urgent, world.positions, world.heard].map((map) => map.size);
        expect(left).toEqual([0, 0, 0, 0]);
        expect(window.cells).toEqual([]);
    });

    test('of a channel that is gone take everything of it along', () => {
        const { world, paint } = setUp();
        world.receive([
            { kind: 'channel', channel: channel(1) },
            { kind: 'row', row: assignment(1) },
            { kind: 'position', position: position(1, { channel: channelId(1) }) },
            { kind: 'typing', channel: channelId(1), device: deviceId(2), on: true },
            { kind: 'channel_gone', channel: channelId(1), why: 'left' },
        ]);
        paint();
        expect([world.channels, world.urgent, world.positions, world.typing].map((x) => x.size)).toEqual([
            0, 0, 0, 0,
        ]);
    });
});

describe('who writes', () => {
    test('is over when they say so, and when they say nothing more', () => {
        let now = 1_000_000;
        const clock = new Clock(() => now);
        let paint = (): void => undefined;
        const world = new World({ history: () => Promise.resolve([]) }, (work) => (paint = work), clock);
        world.load(snapshot());
        function say(device: number, on: boolean): void {
            world.receive([{ kind: 'typing', channel: channelId(1), device: deviceId(device), on }]);
            paint();
        }
        say(1, true);
        say(2, true);
        expect(world.writers(channelId(1))).toEqual([deviceId(1), deviceId(2)]);
        say(1, false);
        expect(world.writers(channelId(1))).toEqual([deviceId(2)]);
        now += OVER_MS;
        clock.tick();
        expect(world.writers(channelId(1))).toEqual([]);
    });
});

describe('urgent rows', () => {
    test('stand until somebody acknowledges', () => {
        const { world, paint } = setUp();
        world.load(snapshot({ urgent: [assignment(1)] }));
        world.receive([{ kind: 'row', row: text(2, { urgency: 'urgent' }) }]);
        paint();
        expect([...world.urgent.keys()]).toEqual([messageId(1), messageId(2)]);
        const acknowledged = [{ device: deviceId(3), member: memberId(3), atMs: 1 }];
        world.receive([
            {
                kind: 'row',
                row: assignment(1, { progress: progress({ step: 'acknowledged', acknowledged }) }),
            },
        ]);
        paint();
        expect([...world.urgent.keys()]).toEqual([messageId(2)]);
    });

    test('sound here until this member acknowledges, whoever else did', () => {
        const { world, paint } = setUp();
        const byAnother = [{ device: deviceId(3), member: memberId(3), atMs: 1 }];
        const sounding = progress({ step: 'acknowledged', acknowledged: byAnother, sounding: true });
        world.load(snapshot({ urgent: [assignment(1, { progress: sounding })] }));
        world.receive([{ kind: 'row', row: text(2, { urgency: 'urgent', progress: sounding }) }]);
        paint();
        expect(world.urgent.size).toBe(0);
        expect([...world.sounding.keys()]).toEqual([messageId(1), messageId(2)]);
        world.receive([
            { kind: 'row', row: assignment(1, { progress: progress({ acknowledged: byAnother }) }) },
            { kind: 'row_gone', channel: text(2).channel, id: messageId(2) },
        ]);
        paint();
        expect(world.sounding.size).toBe(0);
    });

    test('are bounded, and a duress is never what falls out', () => {
        const { world, paint } = setUp();
        world.receive([{ kind: 'row', row: duress(1) }]);
        for (let n = 2; n <= 600; n += 1) world.receive([{ kind: 'row', row: assignment(n) }]);
        paint();
        expect(world.urgent.size).toBe(500);
        expect(world.urgent.has(messageId(1))).toBe(true);
        expect(world.urgent.has(messageId(600))).toBe(true);
    });
});

test('a member is heard by rows, by statuses of their device, and by live places', () => {
    const { world, paint } = setUp();
    world.receive([
        { kind: 'channel', channel: channel(101, { readers: [reader(1)] }) },
        { kind: 'row', row: text(5) },
        { kind: 'status', status: status(1, { atMs: 7_000 }) },
        { kind: 'position', position: position(1, { atMs: 9_000, live: false }) },
    ]);
    paint();
    expect(world.heard.get(memberId(1))).toBe(7_000);
});

test('a channel has one window, however many look at it', async () => {
    const { world } = setUp([text(1), text(2)]);
    const window = world.openChannel(channelId(1));
    expect(world.openChannel(channelId(1))).toBe(window);
    await Promise.resolve();
    world.closeChannel(channelId(1));
    expect(world.openChannel(channelId(1))).toBe(window);
    world.closeChannel(channelId(1));
    world.closeChannel(channelId(1));
    expect(world.openChannel(channelId(1))).not.toBe(window);
});

test('a reset reads the channel again', async () => {
    const rows = [text(1), text(2)];
    const { world, paint } = setUp(rows);
    const window = world.openChannel(channelId(1));
    await window.older();
    await Promise.resolve();
    rows.splice(0, 2, text(7));
    world.receive([{ kind: 'reset', channel: channelId(1) }]);
    paint();
    await Promise.resolve();
    await Promise.resolve();
    expect(window.cells.map((cell) => cell.row.offset)).toEqual([7]);
});

test('the clock is the server’s, whatever this device believes', () => {
    let device = 1_000;
    const clock = new Clock(() => device);
    const world = new World({ history: () => Promise.resolve([]) }, queueMicrotask, clock);
    world.load(snapshot({ link: { state: 'online', sinceMs: 0, clockOffsetMs: 86_400_000, freshMs: 0 } }));
    expect(clock.nowMs).toBe(86_401_000);
    device = 2_000;
    clock.tick();
    expect(clock.nowMs).toBe(86_402_000);
});
