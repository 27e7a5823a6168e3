/** A consult from the request to its end, between engines, over the double of the server. Spec 08. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import type { ConsultId } from '~/protocol/ids';

import { type ConsultTown as Place, ConsultTown, REQUEST, ringsOf, viewOf } from './consult-town';
import type { Person, Town } from './people';

let place: Place;
let town: Town;
let rosa: Person;
let dr: Person;
let second: Person;

beforeEach(async () => {
    place = await ConsultTown.create();
    ({ town, rosa, dr, second } = place);
});

afterEach(async () => {
    await place.stop();
});

test('a consult is asked for, rings, is accepted, and both write', async () => {
    const id = await place.asked();
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
    await town.until(() => ringsOf(dr, id).length >= 3, 'a ring that repeats');
    expect(ringsOf(dr, id).map(({ times, why }) => [times, why])).toEqual([
        [1, 'page'],
        [2, 'page'],
        [3, 'page'],
    ]);
    expect(ringsOf(second, id)).toEqual([]);

    await dr.engine.actOnConsult(id, 'accept');
    const rung = ringsOf(dr, id).length;
    await town.until(() => viewOf(rosa, id)?.acceptedBy === dr.member, 'who comes');
    const channel = viewOf(rosa, id)?.channel ?? null;
    if (channel === null) throw new Error('no channel');
    await dr.engine.send(channel, 'I am here.', 'routine');
    await rosa.engine.send(channel, 'We are in the kitchen.', 'routine');
    const others = (person: Person) => person.of('row').some(({ row }) => row.kind === 'text' && !row.mine);
    await town.until(() => others(dr) && others(rosa), 'what the other said');
    expect(await rosa.texts(channel)).toEqual(await dr.texts(channel));
    await town.rest(12);
    expect(ringsOf(dr, id)).toHaveLength(rung);
});

describe('a request', () => {
    test('stands on the screen before it is answered', async () => {
        const id = await rosa.engine.requestConsult(REQUEST);
        expect(viewOf(rosa, id)).toMatchObject({ state: 'unconfirmed', mine: true });
    });

    test('is kept without a link, over a reload, and goes when there is one', async () => {
        place.cutOff();
        const id = await rosa.engine.requestConsult(REQUEST);
        await rosa.reload();
        expect(viewOf(rosa, id)).toMatchObject({ state: 'unconfirmed', mine: true, may: ['cancel'] });
        await town.rest(10);
        town.relay.down = false;
        await town.until(() => viewOf(dr, id)?.opened === true, 'the page');
        await town.until(() => viewOf(rosa, id)?.state === 'paging' && viewOf(rosa, id)?.channel !== null);
        expect(viewOf(rosa, id)?.summary).toBe(REQUEST.summary);
    });

    test('whose answer was lost goes again with the very same bytes, and stands once', async () => {
        place.onCall.refusals.push('lost', 'lost', 'lost', 'lost');
        const id = await place.asked();
        await town.until(() => viewOf(rosa, id)?.state === 'paging', 'the confirmation');
        await town.rest(10);
        expect(place.onCall.posts.length).toBeGreaterThan(1);
        const [first] = place.onCall.posts;
        for (const post of place.onCall.posts) expect(post).toEqual(first);
        expect(place.onCall.consults.size).toBe(1);
    });

    test('that the server has is not lost by a reload before the answer', async () => {
        place.onCall.refusals.push('lost');
        const id = await rosa.engine.requestConsult(REQUEST);
        await town.until(() => place.onCall.posts.length === 1);
        place.cutOff();
        await rosa.reload();
        expect(viewOf(rosa, id)?.state).toBe('unconfirmed');
        town.relay.down = false;
        await town.until(() => viewOf(rosa, id)?.state === 'paging');
        await rosa.reload();
        expect(viewOf(rosa, id)).toMatchObject({ state: 'paging', opened: true, summary: REQUEST.summary });
        expect(place.onCall.consults.size).toBe(1);
    });

    test('that found no way for two minutes waits for a person, also after a reload', async () => {
        place.cutOff();
        const id = await rosa.engine.requestConsult(REQUEST);
        await town.rest(115);
        expect(viewOf(rosa, id)?.state).toBe('unconfirmed');
        await town.rest(10);
        expect(viewOf(rosa, id)?.state).toBe('unsent');
        await rosa.reload();
        town.relay.down = false;
        await town.until(() => rosa.online);
        await town.rest(10);
        expect(viewOf(rosa, id)?.state).toBe('unsent');
        expect(place.onCall.posts).toEqual([]);
        await rosa.engine.sendAgain(id);
        await town.until(() => viewOf(dr, id)?.ringing === true, 'the page');
    });

    test('that was taken back before it was made never leaves', async () => {
        place.cutOff();
        const id = await rosa.engine.requestConsult(REQUEST);
        await rosa.engine.actOnConsult(id, 'cancel');
        await town.until(() => rosa.of('consult_gone').length === 1);
        await rosa.reload();
        expect(rosa.snapshot?.consults).toEqual([]);
        town.relay.down = false;
        await town.until(() => rosa.online);
        await town.rest(5);
        expect(place.onCall.posts).toEqual([]);
    });

    test('that was taken back and may have arrived is cancelled at the server', async () => {
        place.onCall.refusals.push('lost');
        const id = await rosa.engine.requestConsult(REQUEST);
        await town.until(() => place.onCall.posts.length === 1);
        place.cutOff();
        await rosa.reload();
        await rosa.engine.actOnConsult(id, 'cancel');
        town.relay.down = false;
        await town.until(() => place.onCall.get(id).state === 'cancelled', 'the cancelling');
        await town.until(() => viewOf(dr, id)?.ringing === false, 'quiet');
    });

    test.each([['stale'], ['sealing_refused']] as const)(
        'that was made on an older view than the server has (%s) is made anew, under the same id',
        async (code) => {
            const { WireError } = await import('~/protocol/errors');
            place.onCall.refusals.push(WireError[code]);
            const id = await place.asked();
            expect(place.onCall.get(id).member).toBe(rosa.member);
        },
    );

    test('that the server will never take is told as not sent', async () => {
        const { WireError } = await import('~/protocol/errors');
        place.onCall.refusals.push(WireError.forbidden);
        const id = await rosa.engine.requestConsult(REQUEST);
        await town.until(() => viewOf(rosa, id)?.state === 'unsent');
        expect(place.onCall.posts).toEqual([]);
    });

    test('that is too long is refused to the one who wrote it', async () => {
        const long = { ...REQUEST, summary: 'x'.repeat(501) };
        await expect(rosa.engine.requestConsult(long)).rejects.toThrow('too_long');
        await rosa.reload();
        expect(rosa.snapshot?.consults).toEqual([]);
    });

    test('finds the phone tree on the device, without a link', async () => {
        await place.asked();
        place.cutOff();
        await rosa.reload();
        expect(await rosa.engine.phoneTree()).toEqual(place.onCall.phones);
    });
});

describe('a ring', () => {
    test('is a level: it goes on after a reload, and without a link', async () => {
        const id = await place.asked();
        await town.until(() => ringsOf(dr, id).length > 0);
        place.cutOff();
        await dr.reload();
        expect(viewOf(dr, id)?.ringing).toBe(true);
        await town.until(() => ringsOf(dr, id).length >= 2, 'the ring that goes on');
    });

    test('ends where somebody else accepted, who comes second is told so, and keeps the line', async () => {
        const id = await place.asked();
        place.onCall.climb(id);
        await town.until(() => viewOf(second, id)?.ringing === true, 'the second ring');
        await dr.engine.actOnConsult(id, 'accept');
        await expect(second.engine.actOnConsult(id, 'accept')).rejects.toThrow('already_accepted');
        await town.until(() => viewOf(second, id)?.ringing === false);
        await town.until(() => viewOf(second, id)?.channel === null, 'the end of reading');
        expect(viewOf(second, id)).toMatchObject({ acceptedBy: dr.member, opened: true });
        expect(viewOf(second, id)?.summary).toBe(REQUEST.summary);
    });

    test('is confirmed once by a page, and again when its person saw it', async () => {
        const id = await place.asked();
        const page = place.onCall.get(id).targets[0]?.page ?? '';
        await dr.reload();
        await town.until(() => ringsOf(dr, id).length > 0);
        await dr.engine.sawConsult(id);
        const states = place.onCall.receipts.filter((one) => one.page === page).map(({ state }) => state);
        // Said once by each run of the engine.
        expect([...new Set(states)]).toEqual(['delivered', 'seen']);
        expect(states.length).toBeLessThanOrEqual(3);
    });

    test('of an exhausted one is at the supervisors, until one of them takes it', async () => {
        const boss = await town.person('supervisor');
        const id = await place.asked();
        for (let step = 0; step < 3; step++) place.onCall.climb(id);
        await town.until(() => viewOf(rosa, id)?.state === 'exhausted');
        await town.until(
            () => ringsOf(boss, id).filter(({ why }) => why === 'alarm').length >= 2,
            'the alarm',
        );
        await boss.engine.actOnConsult(id, 'take');
        await town.until(() => viewOf(rosa, id)?.takenBy === boss.member);
        const rung = ringsOf(boss, id).length;
        await town.rest(12);
        expect(ringsOf(boss, id)).toHaveLength(rung);
        await boss.engine.stop();
    });

    test('of a test sounds once, under the page that was asked for', async () => {
        expect(await dr.engine.setDuty(true, true)).toMatchObject({ on: true, sound: true });
        const page = await dr.engine.testPage();
        await town.until(() => ringsOf(dr, page).length > 0, 'the test');
        await town.rest(12);
        expect(ringsOf(dr, page)).toEqual([{ kind: 'ring', consult: page, why: 'test', times: 1 }]);
        expect(place.onCall.receipts).toContainEqual({ page, state: 'delivered' });
    });
});

describe('who reads', () => {
    test('the desk and the whole ladder from the start, and nobody whom the server merely names', async () => {
        const ana = await town.person('dispatcher');
        const boss = await town.person('admin');
        await rosa.engine.reconnect();
        await town.rest(3);
        const id = await place.asked();
        const roster = place.rosterOf(id);
        for (const person of [rosa, dr, second, ana]) expect(roster).toContain(person.device);
        expect(roster).not.toContain(boss.device);
        await ana.engine.stop();
        await boss.engine.stop();
    });

    test('the accepter at once, while the requester is gone, and none of the others', async () => {
        const id = await place.asked();
        await rosa.engine.stop();
        await dr.engine.actOnConsult(id, 'accept');
        await town.until(() => !place.rosterOf(id).includes(second.device), 'the others to leave');
        const channel = viewOf(dr, id)?.channel ?? null;
        if (channel === null) throw new Error('no channel');
        const sent = await dr.engine.send(channel, 'I am here.', 'routine');
        await town.until(() => dr.step(sent) === 'accepted');
        await rosa.start();
        await town.until(() => viewOf(rosa, id)?.state === 'accepted');
        await town.until(
            () => rosa.of('row').some(({ row }) => row.kind === 'text'),
            'what was said meanwhile',
        );
        expect(await rosa.texts(channel)).toEqual(['I am here.']);
    });

    test('whoever is asked later, let in by a member that is online', async () => {
        const { id } = await place.accepted();
        // Accepted and did not join: the next step is asked.
        const { targets } = place.onCall.get(id);
        const next = { member: second.member, step: 1, state: 'sent' as const, page: null, atMs: 0 };
        place.onCall.change(id, {
            state: 'paging',
            acceptedBy: null,
            acceptedDevice: null,
            step: 1,
            targets: [...targets, next],
        });
        await town.until(() => place.rosterOf(id).includes(second.device), 'the next one to be let in');
        await town.until(() => viewOf(second, id)?.channel !== null, 'their reading');
    });

    test('whoever comes on a device that is newer than the request, with what was asked', async () => {
        const late = await town.person('psychiatrist');
        const id = await place.asked();
        place.onCall.change(id, {
            step: 1,
            targets: [{ member: late.member, step: 1, state: 'sent', page: null, atMs: 0 }],
        });
        await town.until(() => viewOf(late, id)?.opened === true, 'what was asked');
        expect(viewOf(late, id)?.summary).toBe(REQUEST.summary);
        await late.engine.stop();
    });
});

describe('a device that is full', () => {
    test('asks over the link, and keeps what it asked when there is space', async () => {
        await town.rest(2);
        rosa.disk.full = true;
        const id = await rosa.engine.requestConsult(REQUEST);
        await town.until(() => viewOf(dr, id)?.ringing === true, 'the page');
        await town.until(() => viewOf(rosa, id)?.state === 'paging');
        expect(viewOf(rosa, id)?.summary).toBe(REQUEST.summary);
        rosa.disk.full = false;
        await town.until(() => rosa.of('store').at(-1)?.store === 'none', 'the space');
        await town.rest(5);
        await rosa.reload();
        expect(viewOf(rosa, id)).toMatchObject({ state: 'paging', opened: true, summary: REQUEST.summary });
    });

    test('says so without a link, and asks for nothing behind its person', async () => {
        rosa.disk.full = true;
        place.cutOff();
        let code = '';
        rosa.engine.requestConsult(REQUEST).catch((error: unknown) => {
            code = (error as Error).message;
        });
        await town.until(() => code !== '', 'the refusal');
        expect(code).toBe('store_full');
        rosa.disk.full = false;
        town.relay.down = false;
        await town.until(() => rosa.online);
        await town.rest(5);
        expect(place.onCall.posts).toEqual([]);
    });

    test('rings, shows the line, and lets its person accept', async () => {
        await town.rest(2);
        dr.disk.full = true;
        const id = await rosa.engine.requestConsult(REQUEST);
        await town.until(() => viewOf(dr, id)?.ringing === true && ringsOf(dr, id).length > 0, 'the ring');
        await dr.engine.actOnConsult(id, 'accept');
        await town.until(() => viewOf(rosa, id)?.acceptedBy === dr.member);
        expect(viewOf(dr, id)?.ringing).toBe(false);
    });
});

test('one that is over for a day is gone, with what was known of it', async () => {
    const { id } = await place.accepted();
    await dr.engine.actOnConsult(id, 'end');
    await town.until(() => viewOf(rosa, id)?.state === 'ended');
    await town.rest(20);
    expect(rosa.of('consult_gone')).toEqual([]);
    town.clock.jump(86_400_000 + 60_000);
    await town.until(() => rosa.of('consult_gone').some(({ consult }) => consult === id), 'its end');
    await rosa.reload();
    expect(rosa.snapshot?.consults.map((one: { id: ConsultId }) => one.id)).toEqual([]);
});
