import { describe, expect, test } from 'vitest';

import type { DeviceId, MemberId } from '~/protocol/ids';

import { leavingAfter, neededBy, type Seated, seatsFor } from './consult-seats';

const device = (name: string) => name as DeviceId;
const member = (name: string) => name as MemberId;
const devices = (names: string) => names.split(' ').map(device);

describe('the first roster', () => {
    test('holds each device once, in the order that signatures want', () => {
        expect(seatsFor([devices('d'), devices('c a'), devices('a b')], 200)).toEqual(devices('a b c d'));
    });

    test('leaves out the least needed where it cannot hold all', () => {
        const ladder = Array.from({ length: 300 }, (_, n) => device(`ladder ${String(n).padStart(3, '0')}`));
        const seats = seatsFor([devices('own'), devices('unit'), ladder, devices('desk')], 200);
        expect(seats).toHaveLength(200);
        expect(seats).toContain(device('own'));
        expect(seats).toContain(device('unit'));
        expect(seats).toContain(ladder[197]);
        expect(seats).not.toContain(ladder[198]);
        expect(seats).not.toContain(device('desk'));
    });
});

describe('who goes once somebody accepted', () => {
    const consult = { member: member('rosa'), acceptedBy: member('dr') };
    const roster: Seated[] = [
        ['rosa', 'responder'],
        ['mate', 'responder'],
        ['dr', 'psychiatrist'],
        ['second', 'psychiatrist'],
        ['boss', 'supervisor'],
        ['ana', 'dispatcher'],
        ['clinician', 'responder'],
    ].map(([name = '', role = '']) => ({ device: device(name), member: member(name), role }));
    const guest: Seated = { device: device('guest'), member: null, role: '' };

    test('the rest of the ladder, whatever their role', () => {
        const leaving = leavingAfter(consult, [...roster, guest], [member('rosa'), member('mate')]);
        expect(leaving).toEqual(devices('second clinician'));
    });

    test('nobody who may be of the unit, where the lists do not tell who is', () => {
        expect(leavingAfter(consult, roster, null)).toEqual(devices('second'));
    });
});

describe('who must be able to read', () => {
    const target = (name: string, state: 'sent' | 'declined' | 'timed_out') => ({
        member: member(name),
        step: 0,
        state,
        page: null,
        atMs: 0,
    });
    const targets = [target('dr', 'timed_out'), target('second', 'sent'), target('third', 'declined')];

    test.each(['paging', 'exhausted'] as const)('whoever was asked and did not say no, while %s', (state) => {
        expect(neededBy({ state, acceptedBy: null, targets })).toEqual(['dr', 'second']);
    });

    test.each(['accepted', 'in_session'] as const)('the one who comes, once %s', (state) => {
        expect(neededBy({ state, acceptedBy: member('dr'), targets })).toEqual(['dr']);
    });

    test.each(['requested', 'ended', 'cancelled'] as const)('nobody, while %s', (state) => {
        expect(neededBy({ state, acceptedBy: member('dr'), targets })).toEqual([]);
    });
});
