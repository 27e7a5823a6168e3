import { describe, expect, test } from 'vitest';
import {
    boardLines,
    distanceM,
    EVERYTHING,
    filterLines,
    nearest,
    notAcknowledged,
    parsePlace,
} from './board';
import type { BoardSource } from './board';
import * as a from './sample';
import type { UrgentRow } from './world.svelte';

const MINUTE = 60_000;

function source(parts: Partial<Record<keyof BoardSource, readonly unknown[]>> = {}): BoardSource {
    const keyed = <K, V>(values: readonly unknown[] | undefined, key: string): Map<K, V> =>
        new Map((values ?? []).map((value) => [(value as Record<string, K>)[key] as K, value as V]));
    return {
        units: keyed(parts.units, 'id'),
        statuses: keyed(parts.statuses, 'unit'),
        positions: keyed(parts.positions, 'device'),
        incidents: keyed(parts.incidents, 'id'),
        channels: keyed(parts.channels, 'id'),
        urgent: keyed(parts.urgent, 'id'),
        heard: new Map((parts.heard ?? []) as [ReturnType<typeof a.memberId>, number][]),
    };
}

const names = (from: BoardSource, nowMs: number): string[] =>
    boardLines(from, nowMs).map((line) => line.unit.name);

describe('order', () => {
    test('duress, then not acknowledged, then overdue, then busy, then free', () => {
        const from = source({
            units: [1, 2, 3, 4, 5, 6].map((n) => a.unit(n)),
            statuses: [
                a.status(1),
                a.status(2, { primary: 'NotAvailable', secondary: 'EnRoute', atMs: 59 * MINUTE }),
                a.status(3, { primary: 'NotAvailable', secondary: 'OnScene', atMs: 30 * MINUTE }),
                a.status(4, { primary: 'NotAvailable', secondary: 'OnScene', atMs: 10 * MINUTE }),
                a.status(5),
                a.status(6),
            ],
            urgent: [a.duress(1, { unit: a.unitId(6) }), a.assignment(2, { unit: a.unitId(5) })],
        });
        expect(names(from, 60 * MINUTE)).toEqual(['6', '5', '4', '3', '2', '1'].map((n) => `Crisis ${n}`));
    });

    test('a unit that ended is not on the board', () => {
        expect(names(source({ units: [a.unit(1, { ended: true }), a.unit(2)] }), 0)).toEqual(['Crisis 2']);
    });

    test('names count as people read them', () => {
        expect(names(source({ units: [a.unit(10), a.unit(9)] }), 0)).toEqual(['Crisis 9', 'Crisis 10']);
    });
});

describe('the last word', () => {
    const busy = a.status(1, { primary: 'NotAvailable', secondary: 'OnScene', atMs: 0 });

    test('is that of any member, and ends being overdue', () => {
        const units = [a.unit(1, { members: [a.memberId(1), a.memberId(2)] })];
        const silent = boardLines(source({ units, statuses: [busy] }), 20 * MINUTE);
        expect(silent[0]?.overdueMs).toBe(5 * MINUTE);
        const heard = source({ units, statuses: [busy], heard: [[a.memberId(2), 19 * MINUTE]] });
        expect(boardLines(heard, 20 * MINUTE)[0]).toMatchObject({ heardMs: 19 * MINUTE, overdueMs: 0 });
    });

    test('a free unit may be silent', () => {
        const from = source({ units: [a.unit(1)], statuses: [a.status(1)] });
        expect(boardLines(from, 24 * 60 * MINUTE)[0]?.overdueMs).toBe(0);
    });
});

test('a unit stands at the newest fix of its members, and at its most urgent incident', () => {
    const from = source({
        units: [a.unit(1, { members: [a.memberId(1), a.memberId(2)] })],
        positions: [
            a.position(1, { fix: a.fix({ fixMs: 9 }) }),
            a.position(2, { fix: a.fix({ fixMs: 5 }) }),
            a.position(3, { member: a.memberId(2), fix: null }),
        ],
        incidents: [
            a.incident(1, { priority: 3, units: [a.unitId(1)] }),
            a.incident(2, { priority: 2, units: [a.unitId(1)] }),
            a.incident(3, { priority: 1, units: [a.unitId(1)], state: 'closed' }),
        ],
    });
    const [line] = boardLines(from, 10);
    expect([line?.position?.device, line?.incident?.id]).toEqual([a.deviceId(1), a.incidentId(2)]);
});

describe('filters', () => {
    const from = source({
        units: [a.unit(1, { name: 'Crísis Norte' }), a.unit(2), a.unit(3)],
        statuses: [a.status(1), a.status(2, { primary: 'NotAvailable', secondary: 'Break' })],
        urgent: [a.duress(1, { unit: a.unitId(3) })],
    });
    const shown = (change: Partial<typeof EVERYTHING>): string[] =>
        filterLines(boardLines(from, 0), { ...EVERYTHING, ...change }, (id) => `name ${id}`).map(
            (line) => line.unit.name,
        );

    test('words without accents, status, need; and never hide duress', () => {
        expect(shown({ text: 'norte crisis' })).toEqual(['Crisis 3', 'Crísis Norte']);
        expect(shown({ text: `name ${a.memberId(2)}` })).toEqual(['Crisis 3', 'Crisis 2']);
        expect(shown({ primary: 'NotAvailable' })).toEqual(['Crisis 3', 'Crisis 2']);
        expect(shown({ needing: true })).toEqual(['Crisis 3']);
    });
});

describe('who has not acknowledged', () => {
    const from = source({
        units: [a.unit(1, { members: [a.memberId(1), a.memberId(2), a.memberId(3)] })],
        channels: [
            a.channel(1, { readers: [a.reader(1), a.reader(2), { ...a.reader(4), kind: 'records' }] }),
        ],
    });
    const mark = { device: a.deviceId(2), member: a.memberId(2), atMs: 0 };
    const asked = (row: UrgentRow): readonly string[] => notAcknowledged(row, from);

    test('of an assignment: the unit’s people, less the sender', () => {
        const row = a.assignment(1, { progress: a.progress({ acknowledged: [mark] }) });
        expect(asked(row)).toEqual([a.memberId(3)]);
    });

    test('of an urgent text: who reads there and may write', () => {
        expect(asked(a.text(1, { urgency: 'urgent' }))).toEqual([a.memberId(2)]);
    });

    test('of a duress: nobody by name', () => {
        expect(asked(a.duress(1))).toEqual([]);
    });
});

describe('nearest', () => {
    const place = { latE7: 475_600_000, lonE7: 191_200_000 };

    test('is who can go, by distance, with the age of each fix, and unknown places last', () => {
        const from = source({
            units: [1, 2, 3, 4, 5, 6].map((n) => a.unit(n)),
            statuses: [
                a.status(1),
                a.status(4),
                a.status(3, { primary: 'NotAvailable', secondary: 'Break' }),
                a.status(5),
                a.status(6, { primary: 'ConditionallyAvailable' }),
            ],
            positions: [
                a.position(1, { fix: a.fix({ latE7: 475_700_000, fixMs: 100 }) }),
                a.position(2, { fix: a.fix({ latE7: 475_610_000, fixMs: 400 }) }),
                // At the door, and on a break.
                a.position(3, { fix: a.fix({ latE7: 475_600_000, fixMs: 400 }) }),
                a.position(5, { fix: a.fix({ latE7: 475_650_000, fixMs: 400 }) }),
                a.position(6, { fix: a.fix({ latE7: 475_601_000, fixMs: 400 }) }),
            ],
        });
        const found = nearest(boardLines(from, 1_000), place, 1_000);
        const order = [5, 1, 4, 6, 2, 3].map((n) => `Crisis ${n}`);
        expect(found.map((x) => x.line.unit.name)).toEqual(order);
        expect(found.map((x) => x.fixAgeMs)).toEqual([600, 900, null, 600, 600, 600]);
        expect(found[2]?.distanceM).toBeNull();
    });

    test('sends nobody who is in danger', () => {
        const from = source({
            units: [a.unit(1), a.unit(2)],
            statuses: [a.status(1), a.status(2, { primary: 'NotAvailable' })],
            urgent: [a.duress(1)],
        });
        const found = nearest(boardLines(from, 1_000), place, 1_000);
        expect(found.map((x) => x.line.unit.name)).toEqual(['Crisis 2', 'Crisis 1']);
    });

    test('distances are those of a globe', () => {
        // One degree of a great circle, and Budapest to Vienna: some 214 km.
        expect(distanceM({ latE7: 0, lonE7: 0 }, { latE7: 0, lonE7: 10_000_000 })).toBeCloseTo(111_195, -1);
        const [budapest, vienna] = [
            { latE7: 474_979_000, lonE7: 190_402_000 },
            { latE7: 482_082_000, lonE7: 163_738_000 },
        ];
        expect(distanceM(budapest, vienna) / 1_000).toBeCloseTo(214, -1);
        expect(
            distanceM({ latE7: 0, lonE7: 1_799_000_000 }, { latE7: 0, lonE7: -1_799_000_000 }),
        ).toBeLessThan(23_000);
    });
});

test('a place is two numbers in degrees, and nothing else', () => {
    expect(parsePlace(' 47.5621, 19.1234 ')).toEqual({ latE7: 475_621_000, lonE7: 191_234_000 });
    expect(parsePlace('-33.9 151.2')).toEqual({ latE7: -339_000_000, lonE7: 1_512_000_000 });
    expect(['', '47', '91, 0', '0, 181', 'Quay Street 4', '1,2,3'].map(parsePlace)).toEqual(
        Array(6).fill(null),
    );
});
