/**
 * A guest's visit, from the link to its end (spec 08, "Guests"): an interpreter's browser, which is nobody's device.
 *
 * Keys are made here and cannot be read out. They are on disk before the link is presented, so that a lost answer costs nothing and
 * a page that is loaded anew comes back to its seat; and they are wiped with everything else at the end, whatever the end was.
 *
 * A guest has nothing pinned: it takes the agency's root from the server that the link named. From then on every certificate and
 * every commit must hold under that root, so that a server cannot show one room and open another without the guest's screen
 * saying so; but who the agency is, the guest knows from whoever sent the link.
 */
import { Api } from '~/link/api';
import { ApiError } from '~/link/errors';
import { type GuestPost, OnCallApi } from '~/link/on-call-api';
import type { Clock, Dialer, Http, Random } from '~/link/ports';
import { type KeptSession, Session } from '~/link/session';
import { WireError } from '~/protocol/errors';
import type { ConsultId } from '~/protocol/ids';
import type { GuestTaken } from '~/protocol/oncall';
import { SealingError } from '~/sealing/errors';
import { type GuestSecret, guestPost } from '~/sealing/opening/guest-link';
import { DeviceKeys, type DeviceKeysRecord } from '~/sealing/opening/keys';
import { GUEST_LIFETIME_MS } from '~/sealing/public/acceptance';

import type { GuestRole } from '../on-call';
import { GuestLine } from './guest-line';
import { type Present, SeatedRoom } from './seated-room';

export const WAITING_LOOK_MS = 2_000;
/** The end of a guest is on its screen within two seconds. */
export const ROOM_LOOK_MS = 1_000;
const OFFLINE_LOOK_MS = 3_000;
/** Whoever is not let in by then was forgotten: a new link is asked for. */
export const WAITING_MS = 30 * 60_000;

export type GuestEnd =
    /** No link, and nothing that was begun. */
    | 'no_link'
    /** Another device was first, or there never was such a link. */
    | 'used'
    /** Fifteen minutes are over, or it was taken back. */
    | 'link_over'
    | 'not_let_in'
    /** Four hours are over. */
    | 'time_over'
    /** Somebody ended it, or the consult is over. */
    | 'ended'
    /** The roster has this guest no more. */
    | 'removed'
    | 'left'
    /** What the server shows does not hold. */
    | 'not_trusted'
    /** This browser, or this page, broke. What was begun stands. */
    | 'failed';

export type GuestStanding =
    | { readonly kind: 'coming' }
    | { readonly kind: 'waiting'; readonly sinceMs: number }
    | {
          readonly kind: 'in';
          readonly role: GuestRole;
          readonly present: readonly Present[];
          readonly untilMs: number;
      }
    | { readonly kind: 'over'; readonly why: GuestEnd };

export interface GuestState {
    readonly standing: GuestStanding;
    readonly online: boolean;
    /** The server's clock. */
    readonly nowMs: number;
}

/** What outlives a reload, and nothing outlives the visit. */
export interface KeptVisit {
    readonly post: GuestPost;
    readonly keys: DeviceKeysRecord;
    readonly taken: GuestTaken | null;
    /** By the server's clock. */
    readonly beganMs: number;
}

/** On disk when `keep` resolves; nothing is left when `wipe` does. */
export interface VisitStore {
    load(): Promise<KeptVisit | null>;
    keep(visit: KeptVisit): Promise<void>;
    wipe(): Promise<void>;
}

export interface VisitPorts {
    readonly clock: Clock;
    readonly random: Random;
    readonly http: Http;
    readonly store: VisitStore;
    readonly dialer: Dialer;
}

/** Thrown to end the visit. */
class Over extends Error {
    constructor(readonly why: GuestEnd) {
        super(why);
    }
}

export class GuestVisit {
    private readonly api: Api;
    private standing: GuestStanding = { kind: 'coming' };
    private online = true;
    private aheadMs = 0;
    private kept: KeptVisit | null = null;
    private room: SeatedRoom | null = null;
    private visitor: OnCallApi | null = null;
    private line: GuestLine | null = null;
    private tellLine: (line: GuestLine, consult: ConsultId) => void = () => undefined;
    private wake: () => void = () => undefined;
    private isLeaving = false;
    private isOver = false;

    constructor(
        private readonly ports: VisitPorts,
        private readonly put: (state: GuestState) => void,
    ) {
        this.api = new Api(ports.http, ports.clock, ports.random);
    }

    /** Come by `link`, or go on with what was begun; resolves at the end of the visit, which was told. */
    async run(link: GuestSecret | null): Promise<void> {
        try {
            await this.meetServer();
            this.kept = await this.begin(link);
            const keys = await DeviceKeys.restore(this.kept.keys);
            const taken = await this.take(this.kept, keys);
            await this.stay(taken, keys);
        } catch (error) {
            await this.finish(whyOf(error));
        }
    }

    /** Hear of the call's line once the guest is in the room; it ends with the visit. */
    onLine(tell: (line: GuestLine, consult: ConsultId) => void): void {
        this.tellLine = tell;
    }

    /** Look now: the page is seen again, or the network came back. */
    hurry(): void {
        this.wake();
    }

    /** The guest goes. Keys are wiped here whether or not the server can be told. */
    async leave(): Promise<void> {
        const { visitor, kept } = this;
        this.isLeaving = true;
        try {
            if (visitor !== null && kept?.taken) await visitor.endGuest(kept.taken.guest);
        } catch (error) {
            if (!(error instanceof ApiError)) throw error;
        } finally {
            await this.finish('left');
        }
    }

    // ---- coming

    /** By the server's clock: this device's may be days ahead. */
    private async meetServer(): Promise<void> {
        await this.until(async () => {
            const { serverMs } = await this.api.server();
            this.aheadMs = serverMs - this.ports.clock.nowMs();
            return true;
        });
    }

    private async begin(link: GuestSecret | null): Promise<KeptVisit> {
        const { store } = this.ports;
        const begun = await store.load();
        if (begun !== null && (link === null || link.code === begun.post.code)) return begun;
        if (link === null) throw new Over('no_link');
        const made = await DeviceKeys.createGuest(this.nowMs + GUEST_LIFETIME_MS);
        const post = await guestPost(link, made);
        await store.keep({ post, keys: made.export(), taken: null, beganMs: this.nowMs });
        const kept = await store.load();
        if (kept === null) throw new Over('failed');
        return kept;
    }

    private async take(kept: KeptVisit, keys: DeviceKeys): Promise<GuestTaken> {
        if (kept.taken !== null) return kept.taken;
        const api = new OnCallApi(this.api);
        const taken = await this.until(() => api.takeGuestLink(kept.post).catch(linkRefused));
        if (taken.device !== keys.deviceId) throw new Over('not_trusted');
        this.kept = { ...kept, taken };
        await this.ports.store.keep(this.kept);
        return taken;
    }

    // ---- staying

    private async stay(taken: GuestTaken, keys: DeviceKeys): Promise<void> {
        const { clock } = this.ports;
        const sign = keys.identity.signRaw.bind(keys.identity);
        // Not kept: after a reload its key signs in anew.
        const session = new Session(this.api, keys.deviceId, sign, memoryShelf(), clock);
        const api = this.api.with(session);
        this.visitor = new OnCallApi(api);
        const room = await SeatedRoom.of(api, taken, keys, () => this.nowMs);
        this.room = room;
        const sinceMs = this.kept?.beganMs ?? this.nowMs;
        await this.until(async (): Promise<null> => {
            if (this.nowMs >= Math.min(taken.untilMs, room.untilMs)) throw new Over('time_over');
            switch (await room.look()) {
                case 'outside':
                    if (this.nowMs >= sinceMs + WAITING_MS) throw new Over('not_let_in');
                    this.stand({ kind: 'waiting', sinceMs });
                    break;
                case 'in': {
                    const { device, consult, role } = taken;
                    if (this.line === null) {
                        this.line = new GuestLine(
                            { device, consult, role, room, tokens: session, sign },
                            this.ports,
                        );
                        this.tellLine(this.line, consult);
                    }
                    await this.line.look();
                    this.stand({ kind: 'in', role, present: room.present, untilMs: room.untilMs });
                    break;
                }
                case 'removed':
                    throw new Over('removed');
            }
            return null;
        });
    }

    /**
     * Act again and again until it gives something; what only a lost network or a busy server broke off is tried again. Rejects
     * with `Over` once the visit is.
     */
    private async until<T>(act: () => Promise<T | null>): Promise<T> {
        for (;;) {
            try {
                const found = await act();
                this.tellOnline(true);
                if (found !== null) return found;
            } catch (error) {
                if (!(error instanceof ApiError) || isFinal(error)) throw error;
                this.tellOnline(false);
            }
            if (!this.hasEnded()) await this.sleep();
            if (this.hasEnded()) throw new Over('left');
        }
    }

    private async sleep(): Promise<void> {
        const usualMs = this.room?.isIn === true ? ROOM_LOOK_MS : WAITING_LOOK_MS;
        await new Promise<void>((resolve) => {
            const cancel = this.ports.clock.after(this.online ? usualMs : OFFLINE_LOOK_MS, resolve);
            this.wake = () => {
                cancel();
                resolve();
            };
        });
    }

    /** A method, since it changes over awaits. */
    private hasEnded(): boolean {
        return this.isOver;
    }

    // ---- telling

    private get nowMs(): number {
        return this.ports.clock.nowMs() + this.aheadMs;
    }

    private stand(standing: GuestStanding): void {
        if (this.isOver) return;
        this.standing = standing;
        this.tell();
    }

    private tellOnline(online: boolean): void {
        if (this.online === online || this.isOver) return;
        this.online = online;
        this.tell();
    }

    private tell(): void {
        this.put({ standing: this.standing, online: this.online, nowMs: this.nowMs });
    }

    private async finish(why: GuestEnd): Promise<void> {
        if (this.isOver) return;
        this.isOver = true;
        this.line?.end();
        this.wake();
        // Whoever leaves is refused from then on: that is no news.
        this.standing = { kind: 'over', why: this.isLeaving ? 'left' : why };
        try {
            // A page that broke is loaded anew, and goes on.
            if (why !== 'failed') await this.ports.store.wipe();
        } finally {
            this.tell();
        }
    }
}

function memoryShelf() {
    let kept: KeptSession | null = null;
    return {
        load: () => Promise.resolve(kept),
        keep: (session: KeptSession | null) => {
            kept = session;
            return Promise.resolve();
        },
    };
}

/** Refusals that asking again cannot help. */
function isFinal({ told, mayRetry, number }: ApiError): boolean {
    return told && !mayRetry && number !== WireError.token_expired;
}

function linkRefused(error: unknown): never {
    if (!(error instanceof ApiError) || !isFinal(error)) throw error;
    throw new Over(error.number === WireError.expired ? 'link_over' : 'used');
}

function whyOf(error: unknown): GuestEnd {
    if (error instanceof Over) return error.why;
    if (error instanceof SealingError) return 'not_trusted';
    if (!(error instanceof ApiError)) return 'failed';
    if (error.number === WireError.revoked) return 'ended';
    return error.number === WireError.expired ? 'time_over' : 'failed';
}
