import { describe, expect, it } from 'vitest';
import type { Rotation, Span } from './on-call';
import {
    absent,
    calendarNames,
    cover,
    localField,
    localMs,
    MOST_ENTRIES,
    rotationFault,
    ruleOf,
    swap,
    turnOf,
    windowFault,
    withRotation,
} from './rota-change';
import { memberId, rota } from './sample';

const [ana, ben] = [memberId(1), memberId(2)];
const window = { fromMs: 100, untilMs: 200 };
const span = (fromMs: number, untilMs: number, member: typeof ana | null): Span => ({
    fromMs,
    untilMs,
    member,
    why: member === null ? 'gap' : 'rotation',
});

it('refuses a time that is none, runs backward, or is over', () => {
    expect(windowFault({ fromMs: NaN, untilMs: 5 }, 0)).toBe('no_start');
    expect(windowFault({ fromMs: 5, untilMs: 5 }, 0)).toBe('ends_before');
    expect(windowFault(window, 200)).toBe('over');
    expect(windowFault(window, 150)).toBeNull();
});

it('puts a cover last, where it counts most', () => {
    const before = cover(rota(1), 'a', ana, window, 0);
    const after = cover({ overrides: before.overrides }, 'b', ben, window, 0);
    expect(after.overrides.map(({ id, member, why }) => [id, member, why])).toEqual([
        ['a', ana, 'cover'],
        ['b', ben, 'cover'],
    ]);
});

it('makes room by what is over, once a rota is full', () => {
    const old = Array.from({ length: MOST_ENTRIES }, (_, n) => ({
        id: `${n}`,
        member: ana,
        fromMs: n,
        untilMs: n + 1,
        why: 'cover' as const,
    }));
    const { overrides } = cover({ overrides: old }, 'new', ben, { fromMs: 500, untilMs: 600 }, 300);
    expect(overrides.map((one) => one.id)).toEqual([...old.slice(300).map((one) => one.id), 'new']);
});

it('swaps two shifts, and never one with a gap or with itself', () => {
    const made = swap(rota(1), ['a', 'b'], span(0, 10, ana), span(20, 30, ben), 0);
    expect(made?.overrides.map(({ fromMs, member }) => [fromMs, member])).toEqual([
        [0, ben],
        [20, ana],
    ]);
    expect(swap(rota(1), ['a', 'b'], span(0, 10, ana), span(20, 30, null), 0)).toBeNull();
    expect(swap(rota(1), ['a', 'b'], span(0, 10, ana), span(20, 30, ana), 0)).toBeNull();
});

it('notes an absence', () => {
    expect(absent(rota(1), 'a', ana, window, 0).absences).toEqual([{ id: 'a', member: ana, ...window }]);
});

describe('a rotation', () => {
    const weekly: Rotation = {
        id: 'w',
        zone: 'Europe/Vienna',
        start: '2026-03-01T08:00',
        rule: 'FREQ=WEEKLY',
        lengthMin: 10_080,
        members: [ana],
    };

    it('is replaced in its place, or comes last', () => {
        const other = { ...weekly, id: 'o' };
        const { rotations } = withRotation({ rotations: [weekly, other] }, { ...weekly, lengthMin: 60 });
        expect(rotations.map(({ id, lengthMin }) => [id, lengthMin])).toEqual([
            ['w', 60],
            ['o', 10_080],
        ]);
        expect(withRotation({ rotations: [weekly] }, other).rotations.map((one) => one.id)).toEqual([
            'w',
            'o',
        ]);
    });

    it.each([
        [null, {}],
        ['no_zone', { zone: 'Europe/Nowhere' }],
        ['no_zone', { zone: '' }],
        ['no_start', { start: '2026-03-01' }],
        ['bad_rule', { rule: 'WEEKLY' }],
        ['bad_rule', { rule: 'FREQ=WEEKLYISH' }],
        ['bad_length', { lengthMin: 0.5 }],
        ['no_member', { members: [] }],
    ] as const)('has the fault %s with %o', (fault, change) => {
        expect(rotationFault({ ...weekly, ...change })).toBe(fault);
    });

    it('reads its rule as a turn that people know, and keeps one that it does not', () => {
        for (const turn of ['day', 'week', 'weekdays', 'weekend'] as const) {
            expect(turnOf(ruleOf(turn, ''))).toBe(turn);
        }
        expect(turnOf('FREQ=MONTHLY;BYDAY=1MO')).toBe('other');
        expect(ruleOf('other', ' rrule:freq=monthly;byday=1mo ')).toBe('FREQ=MONTHLY;BYDAY=1MO');
    });
});

it('writes a time for a field and reads it back', () => {
    const ms = new Date(2026, 2, 1, 8, 5).getTime();
    expect(localField(ms)).toBe('2026-03-01T08:05');
    expect(localMs(localField(ms))).toBe(ms);
    expect(localMs('')).toBeNaN();
});

it('finds whom a calendar names: people where there are any, else what the event is called', () => {
    const ics = [
        'BEGIN:VCALENDAR',
        'SUMMARY:not an event',
        'BEGIN:VEVENT',
        'SUMMARY:Night',
        'ATTENDEE;CN="A: B":mailto:Ana@Example.org',
        'ORGANIZER:mailto:desk@exam',
        ' ple.org',
        'END:VEVENT',
        'BEGIN:VEVENT',
        'SUMMARY:Nair\\, Priya',
        'END:VEVENT',
        'BEGIN:VEVENT',
        'SUMMARY:Nair\\, Priya',
        'END:VEVENT',
        'END:VCALENDAR',
    ].join('\r\n');
    expect(calendarNames(ics)).toEqual(['ana@example.org', 'desk@example.org', 'Nair, Priya']);
});
