import { beforeEach, describe, expect, it } from 'vitest';
import { deviceId } from '~/model/sample';
import { WireError } from '~/protocol/errors';
import { type BridgeSignal, GoneWhy, MediaKind, Part, type Participant, PausedWhy } from '~/protocol/video';
import { AGAIN_MS, ALARM_MS, WAITING_AGAIN_MS } from './attempt';
import type { Effect } from './effects';
import { CallMachine, JOIN_MS, NEXT_MS, PERMIT_MS, RESTART_MS, TAKE_OVER_MS } from './machine';

const ME = deviceId(1);
const LEE = deviceId(2);
const T0 = 1_795_000_000_000;
const MINE = { audioMuted: false, videoMuted: false, person: false, signs: false };

let machine: CallMachine;
beforeEach(() => {
    machine = new CallMachine(ME);
});

const lee: Participant = {
    device: LEE,
    part: Part.psychiatrist,
    sinceMs: T0,
    person: false,
    signs: false,
    audioMuted: false,
    videoMuted: false,
};
const boss: Participant = { ...lee, device: deviceId(5), part: Part.supervisor };

/** What was to be done since the last look, in short. */
function done(): string[] {
    return machine.take().map((effect: Effect) => {
        switch (effect.do) {
            case 'signal':
                return `${effect.signal.kind} ${effect.signal.generation - T0}`;
            case 'open':
            case 'close':
            case 'places':
                return `${effect.do} ${effect.generation - T0}`;
            case 'offer':
                return `offer ${effect.generation - T0} v${effect.version}`;
            case 'stop':
                return 'stop';
        }
    });
}

function welcome(
    generation: number,
    change: Partial<Extract<BridgeSignal, { kind: 'welcome' }>> = {},
): BridgeSignal {
    return {
        kind: 'welcome',
        generation,
        serverMs: T0,
        waiting: false,
        restricted: false,
        participants: [],
        turn: [],
        ...change,
    };
}
const offer = (generation: number, version: number): BridgeSignal => ({
    kind: 'offer',
    generation,
    version,
    sdp: 'v=0',
});
const slot = (generation: number, participant = lee): BridgeSignal => ({
    kind: 'slot',
    generation,
    participant,
    audioMid: 'a',
    videoMid: 'b',
});

/** In the call, with a path that stands. */
function live(part: Part = Part.responder): void {
    machine.join(MINE, part, T0);
    machine.hear(welcome(T0), T0);
    machine.hear(offer(T0, 0), T0);
    machine.hear(slot(T0), T0);
    machine.answered(T0, 0, 'answer');
    machine.connected(T0, T0);
    machine.take();
}

describe('joining', () => {
    it('asks, opens a path, answers, and is in the call when it stands', () => {
        machine.join(MINE, Part.responder, T0);
        expect(done()).toEqual(['join 0']);
        machine.hear(welcome(T0, { participants: [lee] }), T0);
        machine.hear(offer(T0, 0), T0);
        machine.hear(slot(T0), T0);
        expect(done()).toEqual(['open 0', 'offer 0 v0', 'places 0']);
        expect(machine.phase).toBe('joining');
        machine.answered(T0, 0, 'answer');
        expect(done()).toEqual(['answer 0']);
        machine.connected(T0, T0 + 300);
        expect([machine.phase, machine.sinceMs]).toEqual(['live', T0 + 300]);
        expect(machine.seats).toEqual([
            {
                participant: lee,
                audioMid: 'a',
                videoMid: 'b',
                paused: PausedWhy.flowing,
                lines: 0,
                alarm: '',
            },
        ]);
    });

    it('says it again with the same generation until the bridge answers, and gives up', () => {
        machine.join(MINE, Part.responder, T0);
        machine.tick(T0 + AGAIN_MS - 1);
        machine.tick(T0 + AGAIN_MS);
        machine.tick(T0 + AGAIN_MS + 1);
        expect(done()).toEqual(['join 0', 'join 0']);
        machine.tick(T0 + JOIN_MS);
        expect([machine.phase, machine.why]).toEqual(['failed', 'unavailable']);
        expect(done()).toEqual(['join 0', 'close 0', 'stop']);
    });

    it('answers an offer that is said again with the same answer, and does not open a second path', () => {
        live();
        machine.hear(welcome(T0, { participants: [lee] }), T0 + 1);
        machine.hear(offer(T0, 0), T0 + 1);
        expect(done()).toEqual(['mute 0', 'mute 0', 'want 0', 'answer 0']);
        machine.hear(offer(T0, 1), T0 + 2);
        expect(done()).toEqual(['offer 0 v1']);
        machine.hear(offer(T0, 0), T0 + 3);
        expect(done()).toEqual([]);
    });

    it('begins anew where its path fails, with time for each to come about, and gives up all the same', () => {
        machine.join(MINE, Part.responder, T0);
        machine.hear(welcome(T0), T0);
        machine.hear(offer(T0, 0), T0);
        machine.failed(T0, T0 + 15_000);
        expect(machine.phase).toBe('joining');
        expect(done()).toEqual(['join 0', 'open 0', 'offer 0 v0', 'close 0', 'join 15000']);
        machine.hear(welcome(T0 + 15_000), T0 + 15_050);
        machine.hear(offer(T0 + 15_000, 0), T0 + 15_050);
        for (let nowMs = T0 + 15_250; nowMs < T0 + JOIN_MS; nowMs += 250) machine.tick(nowMs);
        expect(done()).toEqual(['open 15000', 'offer 15000 v0']);
        machine.tick(T0 + JOIN_MS);
        expect([machine.phase, machine.why]).toEqual(['failed', 'unavailable']);
    });

    it('does not hammer where each path fails at once, and comes in with the first that stands', () => {
        machine.join(MINE, Part.responder, T0);
        let joins = 0;
        let newest = T0;
        for (let nowMs = T0; nowMs < T0 + JOIN_MS - 250; nowMs += 250) {
            machine.tick(nowMs);
            for (const effect of machine.take()) {
                if (effect.do !== 'signal' || effect.signal.kind !== 'join') continue;
                joins += 1;
                newest = effect.signal.generation;
                machine.hear(welcome(newest), nowMs);
                machine.hear(offer(newest, 0), nowMs);
                machine.failed(newest, nowMs);
            }
        }
        expect([joins, machine.phase]).toEqual([4, 'joining']);
        machine.connected(newest, T0 + JOIN_MS - 100);
        expect(machine.phase).toBe('live');
    });

    it('asks again at once where a seat in the waiting room is lost', () => {
        machine.join(MINE, Part.supervisor, T0);
        machine.hear(welcome(T0, { waiting: true }), T0);
        machine.hear({ kind: 'gone', generation: T0, device: ME, why: GoneWhy.lost }, T0 + 60_000);
        expect(machine.phase).toBe('waiting');
        expect(done()).toEqual(['join 0', 'open 0', 'close 0', 'join 60000']);
    });

    it('drops what speaks of another generation', () => {
        live();
        machine.hear(slot(T0 - 1, { ...lee, device: deviceId(3) }), T0);
        machine.hear({ kind: 'gone', generation: T0 + 9, device: LEE, why: GoneWhy.left }, T0);
        expect(machine.seats).toHaveLength(1);
        expect(done()).toEqual([]);
    });

    it('waits to be let in, says so now and then, and comes in with the offer', () => {
        machine.join(MINE, Part.supervisor, T0);
        machine.hear(welcome(T0, { waiting: true }), T0);
        expect(machine.phase).toBe('waiting');
        machine.tick(T0 + JOIN_MS);
        machine.tick(T0 + JOIN_MS + 1);
        expect(done()).toEqual(['join 0', 'open 0', 'join 0']);
        expect(WAITING_AGAIN_MS).toBeLessThan(JOIN_MS);
        machine.hear(offer(T0, 0), T0 + JOIN_MS + 2);
        machine.connected(T0, T0 + JOIN_MS + 3);
        expect(machine.phase).toBe('live');
    });

    it('that nobody lets in ends as that', () => {
        machine.join(MINE, Part.supervisor, T0);
        machine.hear(welcome(T0, { waiting: true }), T0);
        machine.hear({ kind: 'gone', generation: T0, device: ME, why: GoneWhy.removed }, T0);
        expect([machine.phase, machine.why]).toEqual(['ended', 'not_admitted']);
    });

    it.each([
        [GoneWhy.removed, 'removed'],
        [GoneWhy.ended, 'over'],
    ])('that is put out (%s) while it looks for another seat ends as that', (why, word) => {
        live();
        machine.hear({ kind: 'migrate', generation: T0 }, T0 + 1);
        machine.hear({ kind: 'gone', generation: T0 + 1, device: ME, why }, T0 + 2);
        expect([machine.phase, machine.why]).toEqual(['ended', word]);
    });

    it('that is refused again and again while it looks for its path has no seat any more', () => {
        live();
        machine.silent(T0, T0 + 1_000);
        machine.refused(WireError.forbidden, 0, T0 + 1_100);
        expect(machine.phase).toBe('reconnecting');
        machine.refused(WireError.forbidden, 0, T0 + 1_000 + PERMIT_MS);
        expect([machine.phase, machine.why]).toEqual(['ended', 'removed']);
    });

    it.each([
        [WireError.busy, 'failed', 'busy'],
        [WireError.unavailable, 'failed', 'unavailable'],
        [WireError.forbidden, 'failed', 'not_permitted'],
        [WireError.expired, 'ended', 'over'],
    ])('that is denied with %s is %s, %s', (error, phase, why) => {
        machine.join(MINE, Part.responder, T0);
        machine.hear({ kind: 'denied', generation: T0, error, retryMs: 0 }, T0);
        expect([machine.phase, machine.why]).toEqual([phase, why]);
        expect(done()).toEqual(['join 0', 'close 0', 'stop']);
    });

    it('that the relay refuses is asked again for a while where a device may be let in any moment', () => {
        machine.join(MINE, Part.psychiatrist, T0);
        machine.refused(WireError.forbidden, 0, T0 + 100);
        machine.refused(WireError.unavailable, 0, T0 + 200);
        expect(machine.phase).toBe('joining');
        machine.refused(WireError.forbidden, 0, T0 + PERMIT_MS);
        expect([machine.phase, machine.why]).toEqual(['failed', 'not_permitted']);
    });

    it('that finds no bridge looks again soon, and less and less often', () => {
        machine.join(MINE, Part.psychiatrist, T0);
        machine.take();
        let nowMs = T0;
        const asksAfter: number[] = [];
        while (asksAfter.length < 5) {
            const refusedMs = nowMs;
            // A join, and what was said with it.
            for (let word = 0; word < 3; word += 1) machine.refused(WireError.unavailable, 250, refusedMs);
            do machine.tick((nowMs += 250));
            while (done().length === 0);
            asksAfter.push(nowMs - refusedMs);
        }
        expect(asksAfter).toEqual([250, 500, 1_000, 2_000, 2_000]);
        machine.hear(welcome(T0), nowMs);
        machine.take();
        machine.refused(WireError.unavailable, 250, nowMs);
        machine.tick(nowMs + 250);
        expect(done()).toEqual(['join 0']);
    });

    it('that finds no bridge waits as ever where it was not told how long', () => {
        machine.join(MINE, Part.psychiatrist, T0);
        machine.take();
        machine.refused(WireError.unavailable, 0, T0 + 100);
        machine.tick(T0 + AGAIN_MS - 1);
        expect(done()).toEqual([]);
        machine.tick(T0 + AGAIN_MS);
        expect(done()).toEqual(['join 0']);
    });

    it('anew has a higher generation, whatever the clock says', () => {
        live();
        machine.leave('left', T0 + 5);
        expect(done()).toEqual(['leave 0', 'close 0', 'stop']);
        machine.join(MINE, Part.responder, T0 - 60_000);
        expect(done()).toEqual(['join 1']);
    });
});

describe('a path', () => {
    it('that is silent restarts on its seat, and the call is as before when it is heard again', () => {
        live();
        machine.silent(T0, T0 + 5_000);
        expect([machine.phase, machine.seats.length]).toEqual(['reconnecting', 1]);
        expect(done()).toEqual(['restart_ice 0']);
        machine.hear(offer(T0, 1), T0 + 5_050);
        machine.answered(T0, 1, 'answer');
        machine.heard(T0, T0 + 5_200);
        machine.tick(T0 + 5_000 + RESTART_MS);
        expect(machine.phase).toBe('live');
        expect(done()).toEqual(['offer 0 v1', 'answer 0']);
    });

    it('that does not come back is replaced, and shown until the new one has a frame', () => {
        live();
        machine.silent(T0, T0 + 5_000);
        machine.tick(T0 + 5_000 + RESTART_MS);
        const next = 5_000 + RESTART_MS;
        expect(done()).toEqual(['restart_ice 0', `join ${next}`]);
        machine.hear(welcome(T0 + next), T0 + next);
        machine.hear(offer(T0 + next, 0), T0 + next);
        machine.hear(slot(T0 + next), T0 + next);
        machine.connected(T0 + next, T0 + next + 10);
        expect([machine.generation, machine.phase]).toEqual([T0, 'reconnecting']);
        machine.take();
        machine.frame(T0 + next, T0 + next + 50);
        expect([machine.generation, machine.phase]).toEqual([T0 + next, 'live']);
        expect(done()).toEqual(['leave 0', 'close 0', `places ${next}`]);
    });

    it('that is asked to move does so while the old one goes on, also when nobody sends a frame', () => {
        live();
        machine.hear({ kind: 'migrate', generation: T0 }, T0 + 1_000);
        machine.hear({ kind: 'migrate', generation: T0 }, T0 + 1_001);
        expect(done()).toEqual(['join 1000']);
        expect(machine.phase).toBe('live');
        machine.hear(welcome(T0 + 1_000), T0 + 1_010);
        machine.hear(offer(T0 + 1_000, 0), T0 + 1_010);
        machine.connected(T0 + 1_000, T0 + 1_100);
        machine.take();
        machine.tick(T0 + 1_100 + TAKE_OVER_MS - 1);
        expect(machine.generation).toBe(T0);
        machine.tick(T0 + 1_100 + TAKE_OVER_MS);
        expect([machine.generation, machine.phase]).toEqual([T0 + 1_000, 'live']);
        expect(done()).toEqual(['leave 0', 'close 0', 'places 1000']);
    });

    it('asks again and again for another seat, for as long as it takes', () => {
        live();
        machine.failed(T0, T0 + 1_000);
        let joins = 0;
        for (let nowMs = T0 + 1_000; nowMs < T0 + 120_000; nowMs += 250) {
            machine.tick(nowMs);
            joins += new Set(done().filter((one) => one.startsWith('join'))).size;
        }
        expect(machine.phase).toBe('reconnecting');
        expect(joins).toBeGreaterThan(20);
        expect(machine.seats).toHaveLength(1);
        expect(NEXT_MS).toBeLessThan(5_000);
    });

    it('waits as long as a full bridge asks for, and stays what it is meanwhile', () => {
        live();
        machine.hear({ kind: 'migrate', generation: T0 }, T0 + 1_000);
        machine.hear(
            { kind: 'denied', generation: T0 + 1_000, error: WireError.busy, retryMs: 5_000 },
            T0 + 1_100,
        );
        expect(machine.phase).toBe('live');
        expect(done()).toEqual(['join 1000', 'close 1000']);
        machine.silent(T0, T0 + 2_000);
        machine.tick(T0 + 2_000 + RESTART_MS);
        expect(done()).toEqual(['restart_ice 0']);
        machine.tick(T0 + 6_100);
        expect(done()).toEqual(['join 6100']);
    });

    it('that stands again after it failed is asked for no other', () => {
        live();
        machine.failed(T0, T0 + 1_000);
        machine.hear(
            { kind: 'denied', generation: T0 + 1_000, error: WireError.busy, retryMs: 0 },
            T0 + 1_100,
        );
        machine.connected(T0, T0 + 1_200);
        machine.take();
        for (let nowMs = T0 + 1_250; nowMs < T0 + 60_000; nowMs += 250) machine.tick(nowMs);
        expect([machine.phase, done()]).toEqual(['live', []]);
    });

    it('restarts when the device moves, without a word to the person', () => {
        live();
        machine.moved(T0, T0 + 1_000);
        machine.moved(T0, T0 + 1_100);
        expect(machine.phase).toBe('live');
        expect(done()).toEqual(['restart_ice 0']);
    });

    it('stands while the socket is lost, and asks on the next one for all that was lost with it', () => {
        live();
        machine.want([{ device: LEE, lines: 360 }]);
        machine.mute('video', true);
        machine.take();
        machine.linked(T0 + 9_000);
        expect(done()).toEqual(['join 0']);
        // Lee went meanwhile, and somebody else came.
        machine.hear(welcome(T0, { participants: [boss] }), T0 + 9_100);
        machine.hear(slot(T0, boss), T0 + 9_100);
        const said = machine.take().flatMap((effect) => (effect.do === 'signal' ? [effect.signal] : []));
        expect(said).toEqual([
            { kind: 'mute', generation: T0, media: MediaKind.audio, muted: false },
            { kind: 'mute', generation: T0, media: MediaKind.video, muted: true },
            { kind: 'want', generation: T0, pictures: [{ device: LEE, lines: 360 }] },
        ]);
        expect(machine.seats.map(({ participant }) => participant.device)).toEqual([boss.device]);
        expect(machine.phase).toBe('live');
    });

    it('says all again a little after the relay took too many words at once for one', () => {
        live();
        machine.want([{ device: LEE, lines: 360 }]);
        machine.refused(WireError.rate_limited, 0, T0 + 1_000);
        machine.refused(WireError.rate_limited, 0, T0 + 1_500);
        machine.take();
        machine.tick(T0 + 999 + AGAIN_MS);
        expect(done()).toEqual([]);
        machine.tick(T0 + 1_000 + AGAIN_MS);
        expect(done()).toEqual(['join 0']);
        machine.hear(welcome(T0, { participants: [lee] }), T0 + 4_000);
        expect(done()).toEqual(['mute 0', 'mute 0', 'want 0']);
        machine.tick(T0 + 9_000);
        expect(done()).toEqual([]);
    });
});

describe('people', () => {
    it('come, are muted, pause, and go', () => {
        live();
        machine.hear({ kind: 'muted', generation: T0, device: LEE, media: MediaKind.audio, muted: true }, T0);
        machine.hear(
            { kind: 'paused', generation: T0, device: LEE, why: PausedWhy.bandwidth, lines: 180 },
            T0,
        );
        machine.alarm(T0, 'b', 'swapped', T0);
        expect(machine.seats[0]).toMatchObject({
            participant: { audioMuted: true, videoMuted: false },
            paused: PausedWhy.bandwidth,
            lines: 180,
            alarm: 'swapped',
        });
        machine.hear({ kind: 'gone', generation: T0, device: LEE, why: GoneWhy.left }, T0);
        expect(machine.seats).toEqual([]);
        expect(done()).toEqual(['places 0']);
    });

    it('are shown again when what comes of them has held for a while', () => {
        live();
        machine.alarm(T0, 'b', 'unopened', T0);
        machine.alarm(T0, 'a', 'swapped', T0 + 5_000);
        machine.tick(T0 + 5_000 + ALARM_MS - 1);
        expect(machine.seats[0]?.alarm).toBe('swapped');
        machine.tick(T0 + 5_000 + ALARM_MS);
        expect(machine.seats[0]?.alarm).toBe('');
    });

    it('who wait are let in by team and psychiatrist alone', () => {
        live(Part.supervisor);
        expect(machine.rights.admits).toBe(false);
        machine = new CallMachine(ME);
        live(Part.psychiatrist);
        expect(machine.rights.admits).toBe(true);
        machine.hear({ kind: 'waiting', generation: T0, participant: boss }, T0);
        expect([...machine.rights.waiting.values()]).toEqual([boss]);
        machine.admit(boss.device);
        machine.hear(slot(T0, boss), T0);
        expect(machine.rights.waiting.size).toBe(0);
        expect(done()).toEqual(['admit 0', 'places 0']);
        machine.hear({ kind: 'waiting', generation: T0, participant: boss }, T0);
        machine.refuse(boss.device);
        expect(done()).toEqual(['refuse 0']);
        // Whoever is refused goes for everybody who sees them wait.
        expect(machine.rights.waiting.size).toBe(1);
        machine.hear({ kind: 'gone', generation: T0, device: boss.device, why: GoneWhy.removed }, T0);
        expect(machine.rights.waiting.size).toBe(0);
    });

    it('other than team, psychiatrist and interpreter are not heard while it is restricted', () => {
        for (const [part, heard] of [
            [Part.responder, true],
            [Part.psychiatrist, true],
            [Part.interpreter, true],
            [Part.supervisor, false],
            [Part.receiving_facility, false],
        ] as const) {
            machine = new CallMachine(ME);
            live(part);
            expect(machine.rights.mayBeHeard(true)).toBe(true);
            machine.hear({ kind: 'restricted', generation: T0, restricted: true, by: LEE }, T0);
            expect(machine.rights.mayBeHeard(true)).toBe(heard);
        }
    });

    it('muted before a new path stands say so on it', () => {
        live();
        machine.mute('video', true);
        expect(done()).toEqual(['mute 0']);
        machine.hear({ kind: 'migrate', generation: T0 }, T0 + 1_000);
        machine.hear(welcome(T0 + 1_000), T0 + 1_010);
        expect(done()).toEqual(['join 1000', 'open 1000', 'mute 1000']);
    });
});

describe('an end', () => {
    it('comes at once when what went out was not sealed, whoever noticed', () => {
        live();
        machine.hear({ kind: 'violation', generation: T0, device: ME, media: MediaKind.video }, T0);
        expect([machine.phase, machine.why]).toEqual(['failed', 'unsealed']);
        expect(done()).toEqual(['leave 0', 'close 0', 'stop']);
    });

    it('of somebody else is shown as theirs', () => {
        live();
        machine.hear({ kind: 'violation', generation: T0, device: LEE, media: MediaKind.video }, T0);
        expect(machine.phase).toBe('live');
        expect(machine.seats[0]?.paused).toBe(PausedWhy.unsealed);
    });

    it.each([
        [GoneWhy.ended, 'ended', 'over'],
        [GoneWhy.removed, 'ended', 'removed'],
        [GoneWhy.lost, 'reconnecting', ''],
    ])('by the bridge with %s is %s', (why, phase, reason) => {
        live();
        machine.hear({ kind: 'gone', generation: T0, device: ME, why }, T0);
        expect([machine.phase, machine.why]).toEqual([phase, reason]);
    });
});
