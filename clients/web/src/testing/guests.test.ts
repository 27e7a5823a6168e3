/** Guests of a consult, at those who let them in: whose keys came by a link, and what a server may not make of it. Spec 08. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import { type Bytes, fromBase64, toBase64 } from '~/protocol/bytes';
import type { ConsultId, MemberId } from '~/protocol/ids';
import { guestPost, readGuestFragment } from '~/sealing/opening/guest-link';
import { DeviceKeys } from '~/sealing/opening/keys';
import { MEDIA_MASK } from '~/sealing/public/acceptance';

import type { GuestView } from '~/model/on-call';
import { ConsultTown } from './consult-town';
import type { Person, Town } from './people';

const HOUR_MS = 3_600_000;
let place: ConsultTown;
let town: Town;
let rosa: Person;
let dr: Person;
let consult: ConsultId;

beforeEach(async () => {
    place = await ConsultTown.create();
    ({ town, rosa, dr } = place);
    ({ id: consult } = await place.accepted());
});

afterEach(async () => {
    await place.stop();
});

const viewsAt = (person: Person): readonly GuestView[] =>
    person.of('guests').findLast((event) => event.consult === consult)?.guests ?? [];
const viewAt = (person: Person, id: MemberId) => viewsAt(person).find((one) => one.id === id);
const roster = () => {
    const channel = town.relay.channels.get(place.onCall.get(consult).channel);
    return channel?.commits.at(-1)?.commit.roster ?? [];
};

/** Somebody opens a link, with keys of their own; `change` is what came of it at the server. */
async function come(url: string, change: (post: Record<string, Bytes>) => object = () => ({})) {
    const secret = readGuestFragment(new URL(url).hash);
    if (secret === null) throw new Error('no link');
    const keys = await DeviceKeys.createGuest(town.clock.nowMs() + 4 * HOUR_MS);
    const { code, ...post } = await guestPost(secret, keys);
    const sent = { ...post, ...change(post) };
    await town.relay.guests.take({
        code,
        public_key: toBase64(sent.publicKey),
        hpke_public: toBase64(sent.hpkePublic),
        proof: toBase64(sent.proof),
        mac: toBase64(sent.mac),
    });
    return keys;
}

describe('a link', () => {
    test('carries a secret that no request ever does, and can be shown again while it serves', async () => {
        const { url, guest } = await rosa.engine.inviteGuest(consult, 'interpreter');
        expect(url).toMatch(/^https:\/\/leeside\.test\/guest#GUEST-1-0000\.[\w-]{43}$/);
        await town.until(() => viewAt(rosa, guest) !== undefined);
        expect(viewAt(rosa, guest)).toMatchObject({ state: 'open', url, genuine: null, by: rosa.member });
        // After a reload, too; and never at another device.
        await rosa.reload();
        expect((await rosa.engine.guests(consult)).map((one) => one.url)).toEqual([url]);
        expect((await dr.engine.guests(consult)).map((one) => one.url)).toEqual([null]);
    });

    test('brings somebody whom its maker is told of and lets in, for calls alone', async () => {
        const { url, guest } = await rosa.engine.inviteGuest(consult, 'interpreter');
        const keys = await come(url);
        await town.until(() => viewAt(rosa, guest)?.state === 'waiting', 'the guest at the door');
        expect(viewAt(rosa, guest)).toMatchObject({ genuine: true, url: null, device: keys.deviceId });
        expect(roster().map(({ deviceId }) => deviceId)).not.toContain(keys.deviceId);

        await rosa.engine.letGuestIn(consult, guest);
        const entry = roster().find(({ deviceId }) => deviceId === keys.deviceId);
        expect(entry?.classMask).toBe(MEDIA_MASK);
        const { untilMs } = town.relay.guests.get(guest);
        expect(entry?.guest?.notAfterMs).toBe(untilMs);
        await dr.engine.guests(consult);
        await town.until(() => viewAt(dr, guest)?.state === 'in', 'the guest at the psychiatrist');
        expect(viewAt(dr, guest)).toMatchObject({
            role: 'interpreter',
            by: rosa.member,
            untilMs,
            genuine: null,
        });
        // Let in twice is once.
        const before = town.relay.channels.get(place.onCall.get(consult).channel)?.commits.length;
        await rosa.engine.letGuestIn(consult, guest);
        expect(town.relay.channels.get(place.onCall.get(consult).channel)?.commits.length).toBe(before);
    });

    test('is judged by the device that made it, and by no other', async () => {
        const { url, guest } = await rosa.engine.inviteGuest(consult, 'interpreter');
        await come(url);
        await expect(dr.engine.letGuestIn(consult, guest)).rejects.toThrow('not_permitted');
    });
});

describe('never let in', () => {
    let url: string;
    let guest: MemberId;

    beforeEach(async () => {
        ({ url, guest } = await rosa.engine.inviteGuest(consult, 'interpreter'));
    });

    async function isRefused(code: string): Promise<void> {
        await expect(rosa.engine.letGuestIn(consult, guest)).rejects.toThrow(code);
        expect(roster().some((entry) => entry.guest !== null)).toBe(false);
    }

    test('is who came with another secret', async () => {
        await come(url.replace(/\.[\w-]{43}$/, `.${'A'.repeat(43)}`));
        await town.until(() => viewAt(rosa, guest)?.state === 'waiting');
        expect(viewAt(rosa, guest)?.genuine).toBe(false);
        await isRefused('not_genuine');
    });

    test('are keys that the server put in place of those that came, whichever of the two', async () => {
        await come(url);
        await town.until(() => viewAt(rosa, guest)?.genuine === true);
        const own = { ...town.relay.guests.get(guest) };
        const others = (await DeviceKeys.createGuest(town.clock.nowMs() + HOUR_MS)).guestPublic();
        for (const lie of [{ hpkePublic: others.hpkePublic }, { publicKey: others.public }]) {
            Object.assign(town.relay.guests.get(guest), own, lie);
            await isRefused('not_genuine');
        }
        expect((await rosa.engine.guests(consult))[0]?.genuine).toBe(false);
    });

    test.each([0, 31, 32])('is who shows a mac of %i bytes that agree', async (agree) => {
        await come(url);
        const kept = town.relay.guests.get(guest);
        kept.mac =
            agree === 32 ? kept.mac.slice(0, 31) : kept.mac.map((byte, at) => (at < agree ? byte : byte ^ 1));
        await isRefused('not_genuine');
    });

    test('is nobody, before somebody came', async () => {
        await isRefused('conflict');
    });

    test('is who is over, or was ended', async () => {
        await come(url);
        await town.until(() => viewAt(rosa, guest)?.genuine === true);
        town.relay.guests.get(guest).untilMs = town.clock.nowMs();
        await isRefused('guest_over');
        town.relay.guests.get(guest).untilMs = town.clock.nowMs() + HOUR_MS;
        await rosa.engine.endGuest(consult, guest);
        await expect(rosa.engine.letGuestIn(consult, guest)).rejects.toThrow('not_permitted');
    });

    test('is anybody for longer than four hours, whatever the server says', async () => {
        await come(url);
        town.relay.guests.get(guest).untilMs = town.clock.nowMs() + 1_000 * HOUR_MS;
        const latestMs = town.clock.nowMs() + 4 * HOUR_MS;
        await rosa.engine.letGuestIn(consult, guest);
        const until = roster().find((entry) => entry.guest !== null)?.guest?.notAfterMs ?? 0;
        expect(until).toBeLessThanOrEqual(latestMs);
    });
});

describe('the end of a guest', () => {
    let guest: MemberId;

    beforeEach(async () => {
        const link = await rosa.engine.inviteGuest(consult, 'receiving_facility');
        ({ guest } = link);
        await come(link.url);
        await rosa.engine.letGuestIn(consult, guest);
        await dr.engine.guests(consult);
        await town.until(() => viewAt(dr, guest)?.state === 'in');
    });

    test('drops it from the roster and refuses it, by whoever takes part', async () => {
        await dr.engine.endGuest(consult, guest);
        expect(roster().some((entry) => entry.guest !== null)).toBe(false);
        expect(town.relay.guests.get(guest).state).toBe('ended');
        await town.until(() => viewAt(rosa, guest)?.state === 'ended', 'the news of it');
    });

    test('by the server alone, who hung up, is made up for by a member that is online', async () => {
        town.relay.guests.end(guest);
        await town.until(() => !roster().some((entry) => entry.guest !== null), 'the removal');
    });

    test('can be made by a member from whom the server hides it', async () => {
        town.relay.guests.hides = true;
        const [shown] = await dr.engine.guests(consult);
        expect(shown).toMatchObject({ state: 'in', role: null, by: rosa.member });
        await dr.engine.endGuest(consult, shown?.id ?? guest);
        expect(roster().some((entry) => entry.guest !== null)).toBe(false);
    });
});

test('what a link carries is read back, and what is not whole is none', () => {
    const secret = fromBase64('A'.repeat(42) + 'E=');
    expect(readGuestFragment(`#CODE-1.${'A'.repeat(42)}E`)).toEqual({ code: 'CODE-1', secret });
    for (const broken of [
        '',
        '#',
        '#CODE-1',
        `#CODE-1.${'A'.repeat(42)}`,
        `#.${'A'.repeat(43)}`,
        `#a b.${'A'.repeat(43)}`,
    ])
        expect(readGuestFragment(broken)).toBeNull();
});
