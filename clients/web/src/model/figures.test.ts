import { describe, expect, it } from 'vitest';
import type { IncidentDetails, IncidentId } from './engine';
import { cellOf, cut, ownCuts, quantile, type Timed } from './figures';
import { consult, incidentId } from './sample';

const timed = (n: number, change: Partial<Timed> = {}): Timed =>
    consult(n, { requestedMs: 1_000, ...change });
const some = (count: number, from = 0, change: Partial<Timed> = {}): readonly Timed[] =>
    Array.from({ length: count }, (_, n) => timed(from + n, change));

it('takes the nearest rank', () => {
    expect(quantile([], 0.5)).toBeNull();
    expect(quantile([30, 10, 20, 40], 0.5)).toBe(20);
    expect(quantile([30, 10, 20, 40], 0.9)).toBe(40);
});

describe('a cell', () => {
    it('says nothing of fewer than five', () => {
        const cell = cellOf('x', some(4, 0, { acceptedMs: 5_000 }));
        expect(Object.values(cell).filter((value) => value !== null)).toEqual(['x']);
    });

    it('says no time that fewer than five consults have', () => {
        const cell = cellOf('x', [...some(4, 0, { acceptedMs: 5_000 }), ...some(3, 4)]);
        expect([cell.consults, cell.toAcceptP50Ms]).toEqual([7, null]);
    });

    it('counts from the request', () => {
        const tried = [{ atMs: 1_200, event: 'paged', step: 0, member: null }];
        const lost = [...tried, { atMs: 9_000, event: 'exhausted', step: 2, member: null }];
        const cell = cellOf('x', [
            ...some(5, 0, { tried, acceptedMs: 5_000, joinedMs: 8_000 }),
            ...some(5, 5, { tried: lost, step: 2 }),
        ]);
        expect(cell).toEqual({
            label: 'x',
            consults: 10,
            toPageP50Ms: 200,
            toAcceptP50Ms: 4_000,
            toAcceptP90Ms: 4_000,
            toJoinP50Ms: 7_000,
            toJoinP90Ms: 7_000,
            unanswered: 0.5,
            depth: 2,
        });
    });
});

describe('a cut', () => {
    const label = (one: Timed): string => (one.step === 0 ? 'a' : one.step === 1 ? 'b' : 'c');

    it('hides a second cell where one alone could be had back from the sum', () => {
        const cells = cut([...some(9), ...some(6, 20, { step: 1 }), ...some(2, 40, { step: 2 })], label);
        expect(cells.map(({ label: of, consults }) => [of, consults])).toEqual([
            ['a', 9],
            ['b', null],
            ['c', null],
        ]);
    });

    it('hides no more where two are hidden already, or none is', () => {
        const two = cut([...some(9), ...some(3, 20, { step: 1 }), ...some(2, 40, { step: 2 })], label);
        expect(two.map((one) => one.consults)).toEqual([9, null, null]);
        const none = cut([...some(9), ...some(6, 20, { step: 1 })], label);
        expect(none.map((one) => one.consults)).toEqual([9, 6]);
    });
});

it('counts only what this device opened, and says how much it did not', () => {
    const details = (typeCode: string, disposition: string): IncidentDetails => ({
        typeCode,
        district: 'North',
        address: '',
        place: null,
        narrative: '',
        disposition,
    });
    const known = new Map<IncidentId, IncidentDetails>(
        Array.from({ length: 12 }, (_, n) => [
            incidentId(n),
            details(n < 6 ? 'EDP' : 'OD', n < 5 ? 'referral_made' : ''),
        ]),
    );
    const cuts = ownCuts(some(20), known);
    expect(cuts.byType.map(({ label, consults }) => [label, consults])).toEqual([
        ['EDP', 6],
        ['OD', 6],
    ]);
    expect(cuts.byDistrict.map((one) => one.consults)).toEqual([12]);
    expect(cuts.byDisposition.map(({ label, consults }) => [label, consults])).toEqual([
        ['referral_made', 5],
    ]);
    expect(cuts.unopened).toBe(8);
    expect(ownCuts(some(14), known).unopened).toBeNull();
    expect(ownCuts(some(12), known).unopened).toBe(0);
});
