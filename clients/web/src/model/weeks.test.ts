import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Span } from './on-call';
import { memberId } from './sample';
import { gapsOf, initials, inOrder, midnightAfter, mondayOf, weeksOf } from './weeks';

const HOUR = 3_600_000;
const before = process.env.TZ;
beforeAll(() => (process.env.TZ = 'Europe/Vienna'));
afterAll(() => (process.env.TZ = before));

const span = (fromMs: number, untilMs: number, n: number | null): Span => ({
    fromMs,
    untilMs,
    member: n === null ? null : memberId(n),
    why: n === null ? 'gap' : 'rotation',
});

describe('weeks', () => {
    it('begin on a local Monday', () => {
        // Saturday, 28 November 2026, 03:14 in Vienna.
        expect(mondayOf(Date.UTC(2026, 10, 28, 2, 14))).toBe(Date.UTC(2026, 10, 22, 23));
        expect(mondayOf(Date.UTC(2026, 10, 22, 23))).toBe(Date.UTC(2026, 10, 22, 23));
        expect(mondayOf(Date.UTC(2026, 10, 22, 22, 59))).toBe(Date.UTC(2026, 10, 15, 23));
    });

    it('have a day of 23 hours and one of 25, as wide as any other', () => {
        const spring = mondayOf(Date.UTC(2026, 2, 29));
        const sunday = midnightAfter(spring, 6);
        expect(midnightAfter(spring, 7) - sunday).toBe(23 * HOUR);
        const [week] = weeksOf([span(sunday, midnightAfter(spring, 7), 1)], spring, 1);
        expect(week?.parts.map(({ from, until }) => [from, until])).toEqual([[6, 7]]);
        const autumn = mondayOf(Date.UTC(2026, 9, 25));
        const night = midnightAfter(autumn, 6);
        expect(midnightAfter(autumn, 7) - night).toBe(25 * HOUR);
        const [wide] = weeksOf([span(night, night + 12.5 * HOUR, 1)], autumn, 1);
        expect(wide?.parts[0]?.until).toBe(6.5);
    });

    it('cut a span that goes on in the next row, and say so', () => {
        const monday = mondayOf(Date.UTC(2026, 10, 28));
        const shift = span(midnightAfter(monday, 6), midnightAfter(monday, 8), 1);
        const [first, second] = weeksOf([shift], monday, 2);
        expect(first?.parts).toMatchObject([{ from: 6, until: 7, cutBefore: false, cutAfter: true }]);
        expect(second?.parts).toMatchObject([{ from: 0, until: 1, cutBefore: true, cutAfter: false }]);
    });
});

it('joins gaps that touch', () => {
    const spans = [span(0, 1, 1), span(1, 2, null), span(2, 3, null), span(3, 4, 1), span(4, 5, null)];
    expect(gapsOf(spans)).toEqual([
        { fromMs: 1, untilMs: 3 },
        { fromMs: 4, untilMs: 5 },
    ]);
});

it('numbers people by their first shift', () => {
    expect([...inOrder([span(0, 1, 7), span(1, 2, 3), span(2, 3, 7)])]).toEqual([
        [memberId(7), 0],
        [memberId(3), 1],
    ]);
});

it.each([
    ['Dr. Priya Nair', 'PN'],
    ['Ana', 'AN'],
    ['Émile de la Tour', 'ÉT'],
    ['0000abcd', '00'],
])('writes %s as %s', (name, short) => {
    expect(initials(name)).toBe(short);
});
