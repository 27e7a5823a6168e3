import { SvelteMap } from 'svelte/reactivity';
import { beforeEach, describe, expect, it } from 'vitest';
import type { ConsultId, ConsultView } from './on-call';
import { Ring, SILENCE_MS } from './ring.svelte';
import { consult, consultId, deviceId, memberId } from './sample';

const me = memberId(5);
let consults: SvelteMap<ConsultId, ConsultView>;
let sounds: number[];
let nowMs: number;
let ring: Ring;

beforeEach(() => {
    consults = new SvelteMap();
    sounds = [];
    nowMs = 0;
    const world = { consults, me: { member: me, device: deviceId(5) } as never };
    ring = new Ring(
        world,
        () => sounds.push(nowMs),
        () => nowMs,
    );
});

const set = (change: Partial<ConsultView>): void => {
    consults.set(consultId(1), consult(1, change));
    ring.check();
};

function pass(ms: number): void {
    for (const end = nowMs + ms; nowMs < end;) {
        nowMs += 1_000;
        ring.check();
    }
}

describe('a ring', () => {
    it('sounds at once and goes on by itself until answered, from a snapshot too', () => {
        set({ ringing: true });
        pass(7_000);
        expect(sounds).toEqual([0, SILENCE_MS, 2 * SILENCE_MS]);
        set({ ringing: false, state: 'accepted', acceptedBy: me });
        pass(20_000);
        expect(sounds).toHaveLength(3);
    });

    it('follows the engine, and never rings over itself', () => {
        set({ ringing: true });
        nowMs += 500;
        ring.rang();
        nowMs += 2_000;
        ring.rang();
        expect(sounds).toEqual([0, 2_500]);
    });

    it('is quiet while an answer is on its way, and rings on when it did not get through', () => {
        set({ ringing: true });
        ring.answered(consultId(1));
        pass(9_000);
        expect(sounds).toHaveLength(1);
        ring.failed(consultId(1));
        pass(1_000);
        expect(sounds).toEqual([0, 10_000]);
    });

    it('makes no noise for an event about what does not ring', () => {
        set({ ringing: false });
        ring.rang();
        expect(sounds).toEqual([]);
    });

    it('puts the most urgent first', () => {
        consults.set(consultId(2), consult(2, { ringing: true, urgency: 'routine' }));
        set({ ringing: true, urgency: 'urgent' });
        expect(ring.consults.map((one) => one.id)).toEqual([consultId(1), consultId(2)]);
    });
});

describe('what fell silent by itself', () => {
    it('says who accepted', () => {
        set({ ringing: true });
        set({ ringing: false, state: 'accepted', acceptedBy: memberId(6) });
        expect(ring.silenced).toEqual({ consult: consultId(1), by: memberId(6), why: 'accepted' });
        ring.dismiss();
        expect(ring.silenced).toBeNull();
    });

    it('says that it was cancelled, or went by', () => {
        set({ ringing: true });
        set({ ringing: false, state: 'cancelled' });
        expect(ring.silenced?.why).toBe('cancelled');
        set({ ringing: true });
        expect(ring.silenced).toBeNull();
        set({ ringing: false, state: 'paging', step: 1 });
        expect(ring.silenced?.why).toBe('over');
    });

    it('is no news to who answered, here or on another device of theirs', () => {
        set({ ringing: true });
        ring.answered(consultId(1));
        set({ ringing: false, state: 'paging' });
        expect(ring.silenced).toBeNull();
        set({ ringing: true });
        set({ ringing: false, state: 'accepted', acceptedBy: me });
        expect(ring.silenced).toBeNull();
    });

    it('is silent at once for one whose acceptance came second, before its row says so, and rings anew when paged anew', () => {
        set({ ringing: true });
        ring.answered(consultId(1));
        ring.refused(consultId(1));
        pass(9_000);
        expect([ring.consults, sounds]).toEqual([[], [0]]);
        expect(ring.silenced).toEqual({ consult: consultId(1), by: null, why: 'accepted' });
        set({ ringing: false, state: 'accepted', acceptedBy: memberId(6) });
        set({ ringing: true });
        expect(ring.consults).toHaveLength(1);
        expect(sounds).toHaveLength(2);
    });

    it('says who was first where that is known', () => {
        set({ ringing: true, acceptedBy: memberId(6) });
        ring.refused(consultId(1));
        expect(ring.silenced?.by).toBe(memberId(6));
    });
});
