/**
 * Guests of consults: links that this device made, who came by them, and who sits in the signed roster (spec 08, "Guests").
 *
 * The server lists guests and is not believed: whether somebody is in is told by the roster; whose keys came by a link of this
 * device, by the link's secret, which never left it but in the link itself. A guest whom the server hides is shown all the same.
 *
 * Levels, not edges: at each look, whoever ended is dropped from the roster by a member that is online.
 *
 * Note written: `guest links`.
 */
import { ApiError } from '~/link/errors';
import { fromHex, toHex } from '~/protocol/bytes';
import { WireError } from '~/protocol/errors';
import type { ConsultId, DeviceId, MemberId } from '~/protocol/ids';
import type { Consult, Guest } from '~/protocol/oncall';
import {
    guestPath,
    type GuestPublic,
    guestSeat,
    isGuestMac,
    LINK_SECRET_BYTES,
} from '~/sealing/opening/guest-link';
import { GUEST_LIFETIME_MS } from '~/sealing/public/acceptance';
import { REASON_MEMBER, type RosterEntry, rosterEntry } from '~/sealing/public/commit';

import type { GuestInvite, GuestRole, GuestView } from '../on-call';
import { EngineFailure, isExpected } from './errors';
import { noteOf, readNote } from './notes';
import { same } from './people';
import type { Room } from './room';
import type { Work } from './work';

const NOTE = 'guest links';
/** Less than the time between two rounds of the consults: each round looks, and what is said in between does not. */
const AGAIN_MS = 8_000;

/** A link of this device. The secret in hexadecimal; it opens nothing once the guest's time is over. */
interface Link {
    readonly guest: MemberId;
    readonly consult: ConsultId;
    readonly role: GuestRole;
    readonly code: string;
    readonly secret: string;
    readonly madeMs: number;
}

/** A guest in the signed roster, and who put it there. */
interface Seat {
    readonly entry: RosterEntry;
    readonly keys: GuestPublic;
    readonly untilMs: number;
    readonly by: MemberId | null;
}

interface Told {
    readonly views: readonly GuestView[];
    readonly seats: string;
    readonly askedMs: number;
}

export class Guests {
    private links: readonly Link[] = [];
    private readonly told = new Map<ConsultId, Told>();
    private readonly busy = new Set<ConsultId>();

    constructor(private readonly work: Work) {}

    async restore(): Promise<void> {
        this.links = (readNote(await this.work.home.history.note(NOTE)) ?? []) as readonly Link[];
    }

    // ---- what a person does

    async invite(consult: ConsultId, role: GuestRole): Promise<GuestInvite> {
        const { home, consults } = this.work;
        const row = consults.row(consult);
        const { guest, code, expiresMs } = await consults.api.createGuest(consult, role);
        const secret = home.random.bytes(LINK_SECRET_BYTES);
        const link = { guest, consult, role, code, secret: toHex(secret), madeMs: home.nowMs() };
        await this.keep([...this.links, link]);
        await this.ask(row);
        return { guest, url: this.work.parts.origin + guestPath({ code, secret }), expiresMs };
    }

    async of(consult: ConsultId): Promise<readonly GuestView[]> {
        return await this.ask(this.work.consults.row(consult));
    }

    async letIn(consult: ConsultId, guest: MemberId): Promise<void> {
        const { home, consults, rooms } = this.work;
        const row = consults.row(consult);
        const link = this.links.find((one) => one.guest === guest && one.consult === consult);
        // Nobody else can tell whose keys they are.
        if (link === undefined) throw new EngineFailure('not_permitted');
        const came = await consults.api.guest(guest);
        const untilMs = Math.min(came.untilMs, link.madeMs + GUEST_LIFETIME_MS);
        if (came.state === 'ended' || home.nowMs() >= untilMs) throw new EngineFailure('guest_over');
        if (came.state === 'open') throw new EngineFailure('conflict');
        if (!(await isGenuine(link, came, came.mac))) throw new EngineFailure('not_genuine');
        const seat = await guestSeat(came, home.directories.agency, untilMs);
        const { chain } = rooms.get(row.channel);
        await chain.commit(() =>
            chain.roster.includes(seat.deviceId) ? null : { reason: REASON_MEMBER, guests: [seat] },
        );
        await this.ask(row);
    }

    async end(consult: ConsultId, guest: MemberId): Promise<void> {
        const { consults, rooms } = this.work;
        const row = consults.row(consult);
        const view = this.told.get(consult)?.views.find(({ id }) => id === guest);
        try {
            await consults.api.endGuest(guest);
        } catch (error) {
            // One that the server never listed is dropped from the roster all the same.
            if (!isNone(error) || view?.state !== 'in') throw error;
        }
        await this.keep(this.links.filter((one) => one.guest !== guest));
        if (view?.state === 'in' && view.device !== null)
            await rooms.get(row.channel).chain.remove([view.device]);
        await this.ask(row);
    }

    // ---- what comes

    /** Somebody came by a link, or went. */
    stir(consult: ConsultId): void {
        this.begin(consult, () => this.lookNow(consult));
    }

    /** Something about the consult or its roster may have changed. Waits for nobody. */
    look(row: Consult): void {
        const told = this.told.get(row.id);
        const seats = [...this.seats(row).keys()].sort().join();
        const watched = told !== undefined || this.links.some(({ consult }) => consult === row.id);
        if (!watched && seats === '') return;
        const fresh = told?.seats === seats && this.work.home.nowMs() - told.askedMs < AGAIN_MS;
        if (!fresh) this.begin(row.id, () => this.lookNow(row.id));
    }

    async forget(consult: ConsultId): Promise<void> {
        this.told.delete(consult);
        if (this.links.some((one) => one.consult === consult))
            await this.keep(this.links.filter((one) => one.consult !== consult));
    }

    // ---- inside

    private begin(consult: ConsultId, act: () => Promise<void>): void {
        if (!this.work.isOnline || this.busy.has(consult)) return;
        this.busy.add(consult);
        this.work.parts.life.begin(async () => {
            try {
                await act();
            } catch (error) {
                // Whatever breaks off is done at the next look.
                if (!isExpected(error)) throw error;
            } finally {
                this.busy.delete(consult);
            }
        });
    }

    private async lookNow(consult: ConsultId): Promise<void> {
        const row = this.work.consults.row(consult);
        const room = this.work.rooms.find(row.channel);
        const ended = (await this.listed(row)).filter(({ state }) => state === 'ended');
        const gone = new Set(ended.map(({ device }) => device));
        const leaving = room === null ? [] : room.chain.roster.filter((device) => gone.has(device));
        if (room !== null && leaving.length > 0) {
            // Any online member does it; who is first in rank is first in time, and the others find it done.
            await this.work.upkeep.turn(room);
            await room.sync();
            await room.chain.remove(leaving);
        }
        await this.ask(row);
    }

    /** Ask the server, hold it against the roster, and tell what is new. Rejects with `ApiError`. */
    private async ask(row: Consult): Promise<readonly GuestView[]> {
        const { home, parts } = this.work;
        const listed = await this.listed(row);
        const seats = this.seats(row);
        const views = await this.views(listed, seats, parts.origin);
        const before = this.told.get(row.id);
        const askedMs = home.nowMs();
        this.told.set(row.id, { views, seats: [...seats.keys()].sort().join(), askedMs });
        if (!same(before?.views, views)) parts.put({ kind: 'guests', consult: row.id, guests: views });
        return views;
    }

    /** The server's list; empty for who does not take part, and once the consult is over. */
    private async listed(row: Consult): Promise<readonly Guest[]> {
        try {
            return await this.work.consults.api.guests(row.id);
        } catch (error) {
            const over = error instanceof ApiError && error.told && error.number === WireError.conflict;
            if (isNone(error) || over) return [];
            throw error;
        }
    }

    private async views(
        listed: readonly Guest[],
        seats: ReadonlyMap<DeviceId, Seat>,
        origin: string,
    ): Promise<GuestView[]> {
        const { directories } = this.work.home;
        const hidden = new Map(seats);
        const views: GuestView[] = [];
        for (const guest of listed) {
            const { device } = guest;
            const seat = (device === null ? undefined : seats.get(device)) ?? null;
            if (device !== null) hidden.delete(device);
            const link = this.links.find((one) => one.guest === guest.guest);
            const came = seat?.keys ?? (device === null ? null : guest);
            const state = seat !== null ? 'in' : guest.state === 'in' ? 'waiting' : guest.state;
            views.push({
                id: guest.guest,
                role: link?.role ?? guest.role,
                state,
                url: link !== undefined && state === 'open' ? origin + pathOf(link) : null,
                expiresMs: guest.expiresMs,
                untilMs: seat?.untilMs ?? guest.untilMs,
                device,
                genuine: link === undefined || came === null ? null : await isGenuine(link, came, guest.mac),
                by: seat === null ? directories.memberOf(guest.madeBy) : seat.by,
            });
        }
        for (const [device, { untilMs, by }] of hidden) {
            const id = device as string as MemberId;
            const rest = { role: null, state: 'in', url: null, expiresMs: 0, genuine: null } as const;
            views.push({ id, device, untilMs, by, ...rest });
        }
        return views;
    }

    /** The guests of the newest signed roster. */
    private seats(row: Consult): ReadonlyMap<DeviceId, Seat> {
        const room = this.work.rooms.find(row.channel);
        const seats = new Map<DeviceId, Seat>();
        for (const entry of room?.chain.sealed.line.head?.roster ?? []) {
            if (room === null || entry.guest === null) continue;
            const { public: publicKey, hpkePublic, notAfterMs } = entry.guest;
            seats.set(entry.deviceId, {
                entry,
                keys: { publicKey, hpkePublic },
                untilMs: notAfterMs,
                by: this.voucherOf(room, entry.deviceId),
            });
        }
        return seats;
    }

    /** Who committed the entry: of the first commit since which it stands without a break. */
    private voucherOf({ chain }: Room, device: DeviceId): MemberId | null {
        const { commits } = chain.sealed.line;
        for (let epoch = chain.epoch; epoch >= 0; epoch--) {
            const commit = commits.get(epoch);
            if (commit === undefined) return null;
            const before = commits.get(epoch - 1);
            if (before === undefined || rosterEntry(before, device) === null)
                return this.work.home.directories.memberOf(commit.committer);
        }
        return null;
    }

    /** On disk before anything is done with them; those whose time is over are not kept. */
    private async keep(links: readonly Link[]): Promise<void> {
        const sinceMs = this.work.home.nowMs() - GUEST_LIFETIME_MS;
        const lasting = links.filter(({ madeMs }) => madeMs > sinceMs);
        await this.work.home.history.keepNotes(new Map([[NOTE, noteOf(lasting)]]));
        this.links = lasting;
    }
}

function pathOf({ code, secret }: Link): string {
    return guestPath({ code, secret: fromHex(secret) });
}

async function isGenuine(link: Link, keys: GuestPublic, mac: Guest['mac']): Promise<boolean> {
    return await isGuestMac(fromHex(link.secret), keys, mac);
}

function isNone(error: unknown): boolean {
    return error instanceof ApiError && error.told && error.number === WireError.not_found;
}
