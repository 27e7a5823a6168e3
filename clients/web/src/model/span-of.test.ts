import { expect, test } from 'vitest';
import { scrollFor, spanOf, step } from './span-of';

test('draws what is in sight and a few rows more', () => {
    expect(spanOf(10_000, 50, 5_000, 500)).toEqual({ from: 96, to: 115 });
    expect(spanOf(10_000, 50, 0, 500)).toEqual({ from: 0, to: 15 });
    expect(spanOf(10, 50, 0, 5_000)).toEqual({ from: 0, to: 10 });
});

test('a list that became shorter than its scroll draws its end', () => {
    expect(spanOf(3, 50, 5_000, 500)).toEqual({ from: 0, to: 3 });
    expect(spanOf(0, 50, 0, 500)).toEqual({ from: 0, to: 0 });
});

test('scrolls no more than it must', () => {
    expect(scrollFor(10, 50, 0, 600)).toBe(0);
    expect(scrollFor(12, 50, 0, 600)).toBe(50);
    expect(scrollFor(2, 50, 400, 600)).toBe(100);
});

test('keys stop at the ends', () => {
    const at = (key: string): number | null => step(key, 5, 10, 8);
    expect(['ArrowDown', 'ArrowUp', 'PageDown', 'PageUp', 'Home', 'End', 'a'].map(at)).toEqual([
        6,
        4,
        9,
        0,
        0,
        9,
        null,
    ]);
    expect(step('ArrowDown', 9, 10, 8)).toBe(9);
});
