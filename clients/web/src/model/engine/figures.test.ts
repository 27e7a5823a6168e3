import { describe, expect, test } from 'vitest';

import type { IncidentId, MemberId } from '~/protocol/ids';
import type { Consult } from '~/protocol/oncall';

import type { IncidentDetails } from '../engine';
import { cellOf, cutsOf, hiddenCells, timesOf } from './figures';

const dr = 'dr' as MemberId;

function row(incident: string, acceptS: number | null, joinS: number | null, step = 0): Consult {
    const tried = [{ atMs: 1_000, event: 'paged', step: 0, member: dr }];
    if (acceptS !== null) tried.push({ atMs: acceptS * 1_000, event: 'accepted', step, member: dr });
    if (joinS !== null) tried.push({ atMs: joinS * 1_000, event: 'joined', step, member: dr });
    const acceptedMs = (acceptS ?? 0) * 1_000;
    const part = { incident: incident as IncidentId, requestedMs: 0, acceptedMs, joinedMs: 0, step, tried };
    return part as unknown as Consult;
}

const details = (typeCode: string, district: string): IncidentDetails => ({
    typeCode,
    district,
    disposition: '',
    address: '',
    place: null,
    narrative: '',
});

describe('figures that are counted here', () => {
    const rows = [
        ...Array.from({ length: 5 }, (_, n) => row('a', 10 * (n + 1), 10 * (n + 1) + 5)),
        ...Array.from({ length: 4 }, () => row('b', 20, 30)),
        row('closed', 20, 30),
    ];
    const known = new Map([
        ['a', details('EDP', 'Harbour')],
        ['b', details('WELFARE', 'Harbour')],
    ]);
    const cuts = cutsOf(rows, (id) => known.get(id) ?? null);

    test('tell times of five and more, and nothing of fewer', () => {
        const [edp, welfare] = cuts.byType;
        expect(edp).toEqual({
            label: 'EDP',
            consults: 5,
            toPageP50Ms: 1_000,
            toAcceptP50Ms: 30_000,
            toAcceptP90Ms: 50_000,
            toJoinP50Ms: 35_000,
            toJoinP90Ms: 55_000,
            unanswered: 0,
            depth: 1,
        });
        expect(welfare).toMatchObject({ label: 'WELFARE', consults: null, toAcceptP50Ms: null, depth: null });
        expect(cuts.byDistrict).toMatchObject([{ label: 'Harbour', consults: null }]);
    });

    test('say of what could not be opened only that it was few', () => {
        expect(cuts.unopened).toBeNull();
        expect(cutsOf(rows.slice(0, 5), (id) => known.get(id) ?? null)).toMatchObject({
            byDistrict: [{ label: 'Harbour', consults: 5 }],
            unopened: 0,
        });
        const none = { byType: [], byDistrict: [], byDisposition: [], unopened: 10 };
        expect(cutsOf(rows, () => null)).toEqual(none);
    });

    test.each([
        [[9, 0, 7], []],
        // One alone would follow from the sum: the smallest other goes with it.
        [
            [9, 3, 7],
            [1, 2],
        ],
        [
            [1, 1, 9, 6],
            [0, 1, 3],
        ],
        [
            [4, 4, 9],
            [0, 1],
        ],
        [[3, 0], [0]],
    ])('of %j hide %j', (counts, hidden) => {
        expect([...hiddenCells(counts)].sort()).toEqual(hidden);
    });

    test('give no time of fewer than five answers, however many were asked', () => {
        const all = [row('a', 10, null), ...Array.from({ length: 5 }, () => row('a', null, null, 3))];
        expect(cellOf('x', all.map(timesOf))).toMatchObject({
            consults: 6,
            toPageP50Ms: 1_000,
            toAcceptP50Ms: null,
            unanswered: 5 / 6,
            depth: (1 + 5 * 4) / 6,
        });
    });

    test('count the wait for the first who accepted, also where a second one came', () => {
        const twice = row('a', 10, null);
        const again = { ...twice, acceptedMs: 90_000 };
        expect(timesOf(again).toAcceptMs).toBe(10_000);
    });
});
