import { expect, test } from 'vitest';
import { AGAIN_MS, OVER_MS, STOPPED_MS, Typing } from './typing';

/** A person who writes, a clock moved by hand, and what the others are told. */
function setUp(): { typing: Typing; told: boolean[]; pass: (ms: number) => void } {
    const told: boolean[] = [];
    let now = 0;
    let due: { atMs: number; work: () => void } | null = null;
    const typing = new Typing(
        (on) => told.push(on),
        () => now,
        (work, ms) => {
            due = { atMs: now + ms, work };
            return () => (due = null);
        },
    );
    function pass(ms: number): void {
        now += ms;
        const waiting = due;
        if (waiting !== null && waiting.atMs <= now) {
            due = null;
            waiting.work();
        }
    }
    return { typing, told, pass };
}

test('it is said once for many keys, and again before it is over', () => {
    const { typing, told, pass } = setUp();
    for (let keys = 0; keys < 5; keys++) typing.wrote();
    expect(told).toEqual([true]);
    pass(AGAIN_MS);
    typing.wrote();
    expect(told).toEqual([true, true]);
    expect(AGAIN_MS).toBeLessThan(OVER_MS);
});

test('who stops is said to have stopped', () => {
    const { typing, told, pass } = setUp();
    typing.wrote();
    pass(STOPPED_MS - 1);
    typing.wrote();
    pass(STOPPED_MS - 1);
    expect(told).toEqual([true, true]);
    pass(1);
    expect(told).toEqual([true, true, false]);
});

test('what was sent ends it at once, and once', () => {
    const { typing, told, pass } = setUp();
    typing.wrote();
    typing.stop();
    typing.stop();
    pass(STOPPED_MS);
    expect(told).toEqual([true, false]);
    typing.wrote();
    expect(told).toEqual([true, false, true]);
});

test('who never wrote says nothing', () => {
    const { typing, told } = setUp();
    typing.stop();
    expect(told).toEqual([]);
});
