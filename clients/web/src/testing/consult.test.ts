/** A consult from the request to what is said in it, between engines, over the double of the server. Spec 08. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import type { ConsultId } from '~/protocol/ids';
import type { ConsultRequest, ConsultView } from '~/model/on-call';

import { type Person, Town } from './people';

const REQUEST: ConsultRequest = {
    incident: null,
    unit: null,
    urgency: 'urgent',
    language: 'es',
    interpreter: true,
    specialty: '',
    summary: 'He says that he hears his brother.',
};

let town: Town;
let rosa: Person;
let dr: Person;
let second: Person;

const viewOf = (person: Person, id: ConsultId): ConsultView | undefined =>
    person.of('consult').findLast(({ consult }) => consult.id === id)?.consult ??
    person.snapshot?.consults.find((one) => one.id === id);
const rings = (person: Person, id: ConsultId) => person.of('ring').filter((one) => one.consult === id);

beforeEach(async () => {
    town = await Town.create();
    rosa = await town.person('responder');
    dr = await town.person('psychiatrist');
    second = await town.person('psychiatrist');
    town.relay.onCall.ladder = [[dr.member], [second.member]];
    await town.rest(1);
});

afterEach(async () => {
    for (const person of [rosa, dr, second]) await person.engine.stop();
});

describe('a consult', () => {
    test('is asked for, rings, is accepted, and both write', async () => {
        const id = await rosa.engine.requestConsult(REQUEST);
        expect(viewOf(rosa, id)?.state ?? 'unconfirmed').toBe('unconfirmed');
        await town.until(() => viewOf(dr, id)?.ringing === true, 'the ring');
        await town.until(() => viewOf(dr, id)?.opened === true, 'the sealed line');
        expect(viewOf(dr, id)).toMatchObject({
            state: 'paging',
            summary: REQUEST.summary,
            urgency: 'urgent',
            language: 'es',
            interpreter: true,
            member: rosa.member,
            mine: false,
            may: ['accept', 'decline'],
        });
        await town.until(() => rings(dr, id).length >= 3, 'a ring that repeats');
        expect(rings(dr, id).map(({ times }) => times)).toEqual([1, 2, 3]);
        expect(rings(second, id)).toEqual([]);

        await dr.engine.actOnConsult(id, 'accept');
        const rung = rings(dr, id).length;
        await town.until(() => viewOf(rosa, id)?.acceptedBy === dr.member, 'who comes');
        const channel = viewOf(rosa, id)?.channel;
        if (channel == null) throw new Error('no channel');
        await dr.engine.send(channel, 'I am here.', 'routine');
        await rosa.engine.send(channel, 'We are in the kitchen.', 'routine');
        await town.until(() => dr.of('row').some(({ row }) => row.kind === 'text' && !row.mine), 'her words');
        await town.until(
            () => rosa.of('row').some(({ row }) => row.kind === 'text' && !row.mine),
            'his words',
        );
        expect(await rosa.texts(channel)).toEqual(await dr.texts(channel));
        await town.rest(12);
        expect(rings(dr, id).length).toBe(rung);
    });
});
