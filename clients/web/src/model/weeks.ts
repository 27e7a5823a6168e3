/**
 * The picture of a rota's weeks: rows of seven local days, and in each who is on call, as parts of the row. Pure.
 *
 * A day is what this device's calendar says it is: one of 23 or 25 hours is as wide as any other, and what lies in it is placed
 * by its share of that day. Spans come from the server, resolved in the rota's own zone (spec 08, "Rotas").
 */
import type { MemberId } from './engine';
import type { Span } from './on-call';

export interface Part {
    readonly fromMs: number;
    readonly untilMs: number;
    readonly member: MemberId | null;
    readonly why: Span['why'];
    /** Where it lies in its week: 0 is the first day's midnight, 7 the midnight after the last. */
    readonly from: number;
    readonly until: number;
    /** It began in an earlier row, or goes on in a later one. */
    readonly cutBefore: boolean;
    readonly cutAfter: boolean;
}

export interface Week {
    /** The seven midnights, and the one that ends the week. */
    readonly days: readonly number[];
    readonly parts: readonly Part[];
}

/** Midnight of the Monday of the week in which `atMs` lies, by this device's calendar. */
export function mondayOf(atMs: number): number {
    const day = new Date(atMs);
    const back = (day.getDay() + 6) % 7;
    return new Date(day.getFullYear(), day.getMonth(), day.getDate() - back).getTime();
}

/** Midnight so many days later: not a multiple of 24 hours where clocks change. */
export function midnightAfter(midnightMs: number, days: number): number {
    const day = new Date(midnightMs);
    return new Date(day.getFullYear(), day.getMonth(), day.getDate() + days).getTime();
}

export function weeksOf(spans: readonly Span[], mondayMs: number, count: number): readonly Week[] {
    return Array.from({ length: count }, (_, row): Week => {
        const days = Array.from({ length: 8 }, (_, day) => midnightAfter(mondayMs, row * 7 + day));
        const [begin = 0, end = 0] = [days[0], days[7]];
        const parts = spans
            .filter((span) => span.fromMs < end && span.untilMs > begin)
            .map((span): Part => ({
                ...span,
                from: placeIn(days, Math.max(span.fromMs, begin)),
                until: placeIn(days, Math.min(span.untilMs, end)),
                cutBefore: span.fromMs < begin,
                cutAfter: span.untilMs > end,
            }));
        return { days, parts };
    });
}

/** Days and their share since the first midnight. */
function placeIn(days: readonly number[], atMs: number): number {
    for (let day = 0; day + 1 < days.length; day += 1) {
        const [begin = 0, end = 0] = [days[day], days[day + 1]];
        if (atMs < end) return day + Math.max(0, (atMs - begin) / (end - begin));
    }
    return days.length - 1;
}

/** Times in which nobody is on call, those that touch as one. */
export function gapsOf(
    spans: readonly Span[],
): readonly { readonly fromMs: number; readonly untilMs: number }[] {
    const gaps: { fromMs: number; untilMs: number }[] = [];
    for (const { member, fromMs, untilMs } of spans) {
        if (member !== null) continue;
        const before = gaps.at(-1);
        if (before?.untilMs === fromMs) before.untilMs = untilMs;
        else gaps.push({ fromMs, untilMs });
    }
    return gaps;
}

/** Everybody of these spans gets a number of their own, in the order of their first shift: a colour and a pattern. */
export function inOrder(spans: readonly Span[]): ReadonlyMap<MemberId, number> {
    const found = new Map<MemberId, number>();
    for (const { member } of spans) {
        if (member !== null && !found.has(member)) found.set(member, found.size);
    }
    return found;
}

/** `Dr. Priya Nair` -> `PN`: two letters, for where a name has no room. */
export function initials(name: string): string {
    const words = name
        .replace(/^(dr|prof|mr|mrs|ms|sgt)\.?\s+/i, '')
        .split(/\s+/)
        .filter((word) => /^\p{L}/u.test(word));
    const [first = name, last] = [words[0], words.length > 1 ? words.at(-1) : undefined];
    const letters = last === undefined ? lettersOf(first, 2) : lettersOf(first, 1) + lettersOf(last, 1);
    return letters.toLocaleUpperCase();
}

/** What a reader counts as letters: an accent that stands apart belongs to the one before. */
function lettersOf(word: string, count: number): string {
    const letters = new Intl.Segmenter(undefined, { granularity: 'grapheme' }).segment(word);
    return Array.from(letters, (one) => one.segment)
        .slice(0, count)
        .join('');
}
