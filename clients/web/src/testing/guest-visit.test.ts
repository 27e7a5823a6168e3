/** A guest's page against the double and real members: coming, waiting, being in, and every end. Spec 08, "Guests". */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import type { Random } from '~/link/ports';
import { GuestVisit, type GuestState, WAITING_MS } from '~/model/guest/visit';
import { systemRandom } from '~/platform/clock';
import { BrowserVisitStore, VISIT_DATABASE } from '~/platform/visit-store';
import type { ConsultId, DeviceId, MemberId } from '~/protocol/ids';
import { readGuestFragment } from '~/sealing/opening/guest-link';
import { SigningKey } from '~/sealing/opening/signing-key';

import { ConsultTown } from './consult-town';
import type { Person, Town } from './people';

let place: ConsultTown;
let town: Town;
let rosa: Person;
let consult: ConsultId;
let url: string;
let guest: MemberId;
let page: Page;

/** The double's clock has whole milliseconds. */
const wholeMs: Random = {
    ...systemRandom,
    uniform: (low, high) => Math.floor(systemRandom.uniform(low, high)),
};

/** One tab: what it shows, and its visit. */
class Page {
    readonly shown: GuestState[] = [];
    readonly visit: GuestVisit;
    readonly ended: Promise<void>;

    constructor(link: string | null) {
        const { clock, relay } = town;
        const store = new BrowserVisitStore();
        const ports = { clock, random: wholeMs, http: relay.http(), store, dialer: relay.dialer() };
        this.visit = new GuestVisit(ports, (state) => this.shown.push(state));
        this.ended = this.visit.run(link === null ? null : readGuestFragment(new URL(link).hash));
    }

    get standing() {
        return this.shown.at(-1)?.standing ?? { kind: 'coming' as const };
    }

    async until(kind: string): Promise<void> {
        await town.until(
            () => this.standing.kind === kind,
            `the guest to be ${kind}, not ${this.standing.kind}`,
        );
    }

    async over(): Promise<string> {
        await this.until('over');
        await this.ended;
        return this.standing.kind === 'over' ? this.standing.why : '';
    }
}

const device = (): DeviceId => {
    const found = town.relay.guests.get(guest).device;
    if (found === null) throw new Error('nobody came');
    return found;
};
const stores = async () => (await indexedDB.databases()).map(({ name }) => name);

beforeEach(async () => {
    place = await ConsultTown.create();
    ({ town, rosa } = place);
    ({ id: consult } = await place.accepted());
    ({ url, guest } = await rosa.engine.inviteGuest(consult, 'interpreter'));
    page = new Page(url);
});

afterEach(async () => {
    await page.visit.leave();
    await place.stop();
});

describe('a guest who came', () => {
    beforeEach(async () => {
        await page.until('waiting');
    });

    test('is not in before a person let it in, and then sees who is there by their roles', async () => {
        await town.rest(5);
        expect(page.standing.kind).toBe('waiting');
        await rosa.engine.letGuestIn(consult, guest);
        await page.until('in');
        const { untilMs } = town.relay.guests.get(guest);
        const present = [
            { role: 'psychiatrist', people: 1 },
            { role: 'responder', people: 1 },
        ];
        expect(page.standing).toEqual({ kind: 'in', role: 'interpreter', untilMs, present });
    });

    test('comes back to its seat when its page is loaded anew, without the link', async () => {
        await rosa.engine.letGuestIn(consult, guest);
        await page.until('in');
        const again = new Page(null);
        await again.until('in');
        expect(device()).toBeTruthy();
        await again.visit.leave();
    });

    test('keeps its keys where nobody can read them out', async () => {
        const kept = await new BrowserVisitStore().load();
        expect(kept?.keys.identity.privateKey.extractable).toBe(false);
        expect(kept?.keys.held.map(({ pair }) => pair.privateKey.extractable)).toEqual([false]);
    });

    test('waits through a lost network, and says so', async () => {
        town.relay.down = true;
        await town.until(() => page.shown.at(-1)?.online === false, 'the word of it');
        expect(page.standing.kind).toBe('waiting');
        town.relay.down = false;
        await town.until(() => page.shown.at(-1)?.online === true);
    });
});

describe('the end of a visit leaves nothing behind, and is told:', () => {
    afterEach(async () => {
        expect(await stores()).not.toContain(VISIT_DATABASE);
    });

    const isIn = async () => {
        await page.until('waiting');
        await rosa.engine.letGuestIn(consult, guest);
        await page.until('in');
    };

    test('a member ended it, within two seconds', async () => {
        await isIn();
        await rosa.engine.endGuest(consult, guest);
        const atMs = town.clock.nowMs();
        expect(['ended', 'removed']).toContain(await page.over());
        expect(town.clock.nowMs() - atMs).toBeLessThan(2_000);
    });

    test('a member took it out of the roster alone', async () => {
        await isIn();
        // A server that goes on letting the device in changes nothing of that.
        town.relay.guests.end = () => undefined;
        await rosa.engine.endGuest(consult, guest);
        expect(await page.over()).toBe('removed');
    });

    test('it left by itself, and the members drop it', async () => {
        await isIn();
        const gone = device();
        await page.visit.leave();
        expect(await page.over()).toBe('left');
        expect(town.relay.guests.get(guest).state).toBe('ended');
        await town.until(() => !place.rosterOf(consult).includes(gone), 'the roster without it');
    });

    test('its time is over', async () => {
        await isIn();
        await town.clock.pass(4 * 3_600_000);
        expect(['time_over', 'removed']).toContain(await page.over());
    });

    test('nobody let it in', async () => {
        await page.until('waiting');
        await town.clock.pass(WAITING_MS);
        expect(await page.over()).toBe('not_let_in');
    });

    test('the server shows commits that do not hold under the root that it named', async () => {
        await page.until('waiting');
        await page.visit.leave();
        const link = await rosa.engine.inviteGuest(consult, 'interpreter');
        const other = (await SigningKey.create()).public;
        const { guests } = town.relay;
        const take = guests.take.bind(guests);
        guests.take = async (given) => {
            const answer = await take(given);
            const written = JSON.parse(new TextDecoder().decode(answer.body)) as Record<string, unknown>;
            const root_pub = btoa(String.fromCharCode(...other));
            return { ...answer, body: new TextEncoder().encode(JSON.stringify({ ...written, root_pub })) };
        };
        page = new Page(link.url);
        expect(await page.over()).toBe('not_trusted');
    });
});

describe('a link that does not serve', () => {
    test('was used: the second device is told, and nothing of it stays', async () => {
        await page.until('waiting');
        await page.visit.leave();
        page = new Page(url);
        expect(await page.over()).toBe('link_over');
        const link = await rosa.engine.inviteGuest(consult, 'interpreter');
        const first = new Page(link.url);
        await first.until('waiting');
        await new BrowserVisitStore().wipe();
        const second = new Page(link.url);
        expect(await second.over()).toBe('used');
        expect(await stores()).not.toContain(VISIT_DATABASE);
        await first.visit.leave();
    });

    test('is older than fifteen minutes', async () => {
        await page.until('waiting');
        await page.visit.leave();
        const link = await rosa.engine.inviteGuest(consult, 'interpreter');
        town.relay.guests.get(link.guest).expiresMs = town.clock.nowMs();
        page = new Page(link.url);
        expect(await page.over()).toBe('link_over');
    });

    test('is none', async () => {
        await page.until('waiting');
        await page.visit.leave();
        page = new Page(null);
        expect(await page.over()).toBe('no_link');
    });
});
