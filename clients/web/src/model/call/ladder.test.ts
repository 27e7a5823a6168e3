import { describe, expect, it } from 'vitest';
import { DOWN_MS, FULL_MS, type LinkSigns, ModeLadder, NEWS_MS, TEXT_MS, UP_MS } from './ladder';

const GOOD: LinkSigns = { grade: 3, audioOnly: false, lost: false, chosen: false };
const POOR: LinkSigns = { ...GOOD, grade: 1 };

/** Looks once a second from `fromMs` on, for so long; what each look said, changes only. */
function watch(ladder: ModeLadder, signs: LinkSigns, fromMs: number, ms: number): string[] {
    const said: string[] = [];
    for (let nowMs = fromMs; nowMs <= fromMs + ms; nowMs += 1_000) {
        const { mode, why } = ladder.look(signs, nowMs);
        const word = `${mode} ${why}`.trim();
        if (said.at(-1) !== word) said.push(word);
    }
    return said;
}

describe('the ladder of a call', () => {
    it('goes down a step at a time on a poor link, and up as slowly as it must', () => {
        const ladder = new ModeLadder();
        expect(watch(ladder, GOOD, 0, 60_000)).toEqual(['video']);
        expect(watch(ladder, POOR, 100_000, 2 * DOWN_MS)).toEqual(['video', 'smaller weak', 'audio weak']);
        expect(watch(ladder, GOOD, 200_000, 2 * UP_MS + 1_000)).toEqual([
            'audio weak',
            'smaller better',
            'smaller',
            'video better',
        ]);
    });

    it('tells that it is better for some seconds, and then nothing', () => {
        const ladder = new ModeLadder();
        watch(ladder, { ...GOOD, audioOnly: true }, -FULL_MS, FULL_MS);
        watch(ladder, GOOD, 1_000, 2 * UP_MS - 1);
        const betterMs = 1_000 + 2 * UP_MS;
        expect(ladder.look(GOOD, betterMs)).toEqual({ mode: 'video', why: 'better' });
        expect(ladder.look(GOOD, betterMs + NEWS_MS - 1).why).toBe('better');
        expect(ladder.look(GOOD, betterMs + NEWS_MS)).toEqual({ mode: 'video', why: '' });
    });

    it('does not follow a link that is good and poor in turns', () => {
        const ladder = new ModeLadder();
        for (let nowMs = 0; nowMs < 60_000; nowMs += 2 * (DOWN_MS - 1_000)) {
            expect(watch(ladder, POOR, nowMs, DOWN_MS - 1_000)).toEqual(['video']);
            expect(watch(ladder, GOOD, nowMs + DOWN_MS - 1_000, 1_000)).toEqual(['video']);
        }
    });

    it('takes the word of the bridge that no picture fits, unless it was for a moment', () => {
        const ladder = new ModeLadder();
        const full = { ...GOOD, audioOnly: true };
        for (const nowMs of [0, 2_000]) {
            expect(ladder.look(full, nowMs).mode).toBe('video');
            expect(ladder.look(full, nowMs + FULL_MS - 1).mode).toBe('video');
            expect(ladder.look(GOOD, nowMs + FULL_MS).mode).toBe('video');
        }
        expect(ladder.look(full, 4_000).mode).toBe('video');
        expect(ladder.look(full, 4_000 + FULL_MS)).toEqual({ mode: 'audio', why: 'weak' });
        expect(ladder.look(GOOD, 6_000).mode).toBe('audio');
    });

    it('is text where nothing comes for long, and begins with the sound when it is back', () => {
        const ladder = new ModeLadder();
        const lost = { ...GOOD, lost: true };
        expect(watch(ladder, lost, 0, TEXT_MS - 1_000)).toEqual(['video']);
        expect(ladder.look(lost, TEXT_MS)).toEqual({ mode: 'text', why: 'lost' });
        expect(ladder.look(GOOD, TEXT_MS + 100)).toEqual({ mode: 'audio', why: 'better' });
        expect(watch(ladder, GOOD, TEXT_MS + 100, UP_MS)).toEqual([
            'audio better',
            'audio',
            'smaller better',
        ]);
    });

    it('keeps what the person chose apart from what the link carries', () => {
        const ladder = new ModeLadder();
        expect(ladder.look({ ...GOOD, chosen: true }, 0)).toEqual({ mode: 'audio', why: 'chosen' });
        expect(ladder.look(GOOD, 100)).toEqual({ mode: 'video', why: '' });
        const full = { ...GOOD, chosen: true, audioOnly: true };
        ladder.look(full, 200);
        expect(ladder.look(full, 200 + FULL_MS)).toEqual({ mode: 'audio', why: 'weak' });
    });
});
