/** What is said in a consult, to whom earlier context is given, and the clinicians' own channel. Spec 08. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import type { ChannelId, ConsultId, IncidentId, MessageId } from '~/protocol/ids';

import { ConsultTown, REQUEST, viewOf } from './consult-town';
import { DETAILS, type Person, type Town } from './people';

let place: ConsultTown;
let town: Town;
let rosa: Person;
let dr: Person;

beforeEach(async () => {
    place = await ConsultTown.create();
    ({ town, rosa, dr } = place);
});

afterEach(async () => {
    await place.stop();
});

const sounds = (person: Person, id: MessageId) => person.of('sound').filter((one) => one.id === id).length;
const readBacks = (person: Person, id: MessageId) => {
    const row = person.row(id);
    return row?.kind === 'recommendation' ? row.readBack.map(({ text }) => text) : [];
};

describe('a recommendation', () => {
    let channel: ChannelId;
    let ana: Person;
    let id: MessageId;

    beforeEach(async () => {
        ana = await town.person('dispatcher');
        await rosa.engine.reconnect();
        await town.rest(3);
        ({ channel } = await place.accepted());
        id = await dr.engine.recommend(channel, 'Offer him water. No restraints.');
        await town.until(() => sounds(rosa, id) >= 2 && sounds(ana, id) >= 1, 'its sound');
    });

    afterEach(async () => {
        await ana.engine.stop();
    });

    test('sounds at everybody but its sender until the asking side read it back', async () => {
        expect(sounds(dr, id)).toBe(0);
        await rosa.engine.readBack(channel, id, 'Water, and no restraints.');
        await town.until(() => readBacks(dr, id).length === 1, 'the read-back');
        expect(readBacks(dr, id)).toEqual(['Water, and no restraints.']);
        await town.until(() => readBacks(ana, id).length === 1);
        const heard = [sounds(rosa, id), sounds(ana, id)];
        await town.rest(40);
        expect([sounds(rosa, id), sounds(ana, id)]).toEqual(heard);
    });

    test('is not ended by an acknowledgement, nor by the read-back of somebody who did not ask', async () => {
        await rosa.engine.acknowledge(channel, id);
        await ana.engine.readBack(channel, id, 'Water.');
        await town.until(() => readBacks(rosa, id).length === 1);
        const heard = [sounds(rosa, id), sounds(ana, id)];
        await town.rest(40);
        expect(sounds(rosa, id)).toBeGreaterThan(heard[0] ?? 0);
        expect(sounds(ana, id)).toBeGreaterThan(heard[1] ?? 0);
        // Known again after a reload, and still there.
        await rosa.reload();
        await town.until(() => sounds(rosa, id) >= 1, 'its sound after the reload');
    });

    test('is not read back without words', async () => {
        await expect(rosa.engine.readBack(channel, id, '  ')).rejects.toThrow('failed');
    });

    test('is read back in better words, the newest last, and each once', async () => {
        for (const text of ['Water.', 'Water.', 'Water, no restraints.'])
            await rosa.engine.readBack(channel, id, text);
        await town.until(() => readBacks(dr, id).length === 2);
        expect(readBacks(dr, id)).toEqual(['Water.', 'Water, no restraints.']);
        await dr.reload();
        const rows = await dr.rows(channel);
        const row = rows.find((one) => one.id === id);
        expect(row?.kind === 'recommendation' && row.readBack.map(({ text }) => text)).toEqual([
            'Water.',
            'Water, no restraints.',
        ]);
    });

    test('a colleague of the asking unit may read it back', async () => {
        const mate = await town.person('responder');
        const unit = { id: 'ab'.repeat(16), members: [rosa.member, mate.member], lead: null };
        town.relay.units.push({ ...unit, createdMs: 0, endedMs: 0, revision: 1 });
        await dr.engine.reconnect();
        await rosa.engine.reconnect();
        await town.rest(3);
        await rosa.engine.admit(channel, [mate.member]);
        await town.until(() => mate.channel(channel)?.caughtUp === true);
        await mate.engine.readBack(channel, id, 'Water and rest.');
        await town.until(() => readBacks(rosa, id).length === 1);
        const heard = sounds(rosa, id);
        await town.rest(40);
        expect(sounds(rosa, id)).toBe(heard);
        await mate.engine.stop();
    });
});

describe("the incident's earlier context", () => {
    let ana: Person;
    let incident: IncidentId;
    let operations: ChannelId;

    beforeEach(async () => {
        ana = await town.person('dispatcher');
        await town.rest(2);
        incident = await ana.engine.openIncident(2, DETAILS);
        const channel = () =>
            ana.of('incident').findLast((one) => one.incident.id === incident)?.incident.operations;
        await town.until(() => channel() != null);
        operations = channel() as ChannelId;
        await ana.engine.send(operations, 'He took no pills today.', 'routine');
        await rosa.engine.reconnect();
        await town.rest(3);
    });

    afterEach(async () => {
        await ana.engine.stop();
    });

    const texts = async () => (dr.channel(operations) === undefined ? [] : await dr.texts(operations));

    test('comes to a psychiatrist by any member that is online, without a hand', async () => {
        const { id } = await place.accepted({ ...REQUEST, incident });
        await town.until(() => viewOf(dr, id)?.context === true, 'the context');
        let said: string[] = [];
        for (let look = 0; look < 50 && said.length === 0; look++) {
            await town.rest(1);
            said = await texts();
        }
        expect(said).toEqual(['He took no pills today.']);
        expect(viewOf(rosa, id)?.context).toBe(false);
    });

    test.each([['here'], ['away']])(
        'does not come to one of whom only the server says that they accepted, whose device is %s',
        async (where) => {
            const { second } = place;
            const id = await place.asked({ ...REQUEST, incident });
            const acceptedDevice = second.device;
            if (where === 'away') await second.engine.stop();
            place.onCall.change(id, { state: 'accepted', acceptedBy: second.member, acceptedDevice });
            await town.until(() => viewOf(rosa, id)?.acceptedBy === second.member);
            await town.rest(30);
            expect(town.relay.channels.get(operations)?.commits).toHaveLength(1);
            expect(place.rosterOf(id)).toContain(dr.device);
        },
    );

    test('comes to one who is alone on the ladder, too: that they came is signed all the same', async () => {
        const { second } = place;
        place.onCall.ladder = [[dr.member]];
        const id = await place.asked({ ...REQUEST, incident });
        expect(place.rosterOf(id)).not.toContain(second.device);
        await dr.engine.actOnConsult(id, 'accept');
        await town.until(() => viewOf(dr, id)?.context === true, 'the context');
    });

    test('does not come to a role that the signed request does not name', async () => {
        const clinician = await town.person('responder');
        place.onCall.ladder = [[dr.member, clinician.member]];
        const id = await place.asked({ ...REQUEST, incident });
        await town.until(() => viewOf(clinician, id)?.opened === true);
        await clinician.engine.actOnConsult(id, 'accept');
        await town.until(() => viewOf(rosa, id)?.acceptedBy === clinician.member);
        await town.rest(30);
        expect(viewOf(clinician, id)?.context).toBe(false);
        expect(town.relay.channels.get(operations)?.commits).toHaveLength(1);
        await clinician.engine.stop();
    });

    test('is given by one who was cut off between letting in and giving', async () => {
        const id = await place.asked({ ...REQUEST, incident });
        const { WireError } = await import('~/protocol/errors');
        town.relay.rooms.refuseGrants = WireError.unavailable;
        await dr.engine.actOnConsult(id, 'accept');
        await town.until(
            () => (town.relay.channels.get(operations)?.commits.length ?? 0) > 1,
            'the letting in',
        );
        await town.rest(2);
        expect(viewOf(dr, id)?.context).toBe(false);
        town.relay.rooms.refuseGrants = 0;
        await town.until(() => viewOf(dr, id)?.context === true, 'the context after all');
    });
});

describe("the clinicians' own channel", () => {
    const sideOf = (person: Person, id: ConsultId) => viewOf(person, id)?.side ?? null;

    test('is opened on a recorded ground, and holds those who may read clinical words', async () => {
        const { id, channel } = await place.accepted();
        let side = '' as ChannelId;
        void dr.engine.openSide(id, 'consent', 'He agreed, before his sister.').then((opened) => {
            side = opened;
        });
        await town.until(() => side !== '', 'the opening');
        await town.until(() => sideOf(dr, id) === side, 'the side channel');
        expect(dr.channel(side)).toMatchObject({ purpose: 'consult', compartment: 'clinical' });
        await town.until(() => rosa.of('row').some(({ row }) => row.kind === 'text'), 'the record');
        expect(await rosa.texts(channel)).toEqual(['He agreed, before his sister.']);
        // A responder without a clinical certificate is not in it.
        expect(sideOf(rosa, id)).toBeNull();
        expect(rosa.channel(side)).toBeUndefined();
        expect(await dr.engine.openSide(id, 'consent', 'again')).toBe(side);
    });
});
