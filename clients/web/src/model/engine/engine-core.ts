/**
 * The engine itself: where this device stands, from an empty store to an end, and the commands that a screen may give.
 *
 *     new -- enrol --> pending -- approved --> active -- revoked, signed out, shift over, other tab --> ended
 *     (start) -- a store with a PIN --> locked -- unlock --> pending or active
 *     active <-- the server wants the person --> person
 */
import { Api, type TokenSource } from '~/link/api';
import { ApiError } from '~/link/errors';
import { Session } from '~/link/session';
import { CloseCode, WireError } from '~/protocol/errors';
import type { DeviceKeys } from '~/sealing/opening/keys';

import type { EndReason, EngineEvent, Link, Me, Snapshot, Standing, StoreTrouble } from '../engine';
import {
    type Clock,
    type Dialer,
    type Http,
    type LocalStore,
    type Random,
    StoreDamaged,
    StoreGone,
    type Stores,
    WrongPin,
} from '../ports';
import { Announcer } from './announcer';
import { acceptOffered, authorityKeyOf, offerAuthority } from './authority';
import { enrol, ownShortCode } from './enrolment';
import { EngineFailure } from './errors';
import { FullStore } from './full-store';
import {
    type Identity,
    keepIdentity,
    keepMe,
    type KnownMe,
    loadIdentity,
    loadKeys,
    loadMe,
    sessionShelf,
} from './identity';
import { Life } from './life';
import { meOf } from './me';
import { type PersonHost, PersonAtDevice, watched } from './person';
import { Work } from './work';

const APPROVAL_POLL_MS = 3_000;
const CLOCK_LOOK_MS = 10_000;
const SHIFT_SLACK_MS = 60_000;
/** A note that is written to see whether there is space, and how large it is. */
const SPACE = 'space';
const SPACE_BYTES = 65_536;
/** How long a person who signs out waits for the server to hear of it. */
const SIGN_OUT_WAIT_MS = 3_000;

/** What the machine gives the engine. */
export interface EnginePorts {
    readonly clock: Clock;
    readonly random: Random;
    readonly http: Http;
    readonly dialer: Dialer;
    readonly store: LocalStore;
    /** Where this page came from: enrolment links begin with it. */
    readonly origin: string;
}

/** An enrolled device whose store is open. */
interface Opened {
    readonly identity: Identity;
    readonly keys: DeviceKeys;
    readonly stores: Stores;
    readonly session: Session;
    /** The session's tokens, where it is heard that the person is wanted. */
    readonly tokens: TokenSource;
    readonly api: Api;
}

export class EngineCore implements PersonHost {
    readonly announcer: Announcer;
    readonly person: PersonAtDevice;
    readonly openApi: Api;
    private life: Life;
    private standing: Standing = { kind: 'new' };
    private reach: Link['state'] = 'connecting';
    private trouble: StoreTrouble = 'none';
    private opened: Opened | null = null;
    private atWork: Work | null = null;
    /** As the server said last; 0: not a shared device. */
    private shiftUntilMs = 0;

    constructor(readonly ports: EnginePorts) {
        const { clock, http, random } = ports;
        this.announcer = new Announcer((act, delayMs) => clock.after(delayMs, act));
        this.openApi = new Api(http, clock, random);
        this.person = new PersonAtDevice(this);
        this.life = this.newLife();
    }

    // ---- life

    async start(listen: (events: readonly EngineEvent[]) => void): Promise<Snapshot> {
        const state = await this.ports.store.state();
        if (state.kind === 'locked') this.standing = { kind: 'locked', by: 'pin', tries: state.tries };
        if (state.kind === 'closed') await this.open(await this.ports.store.open());
        const snapshot = await this.snapshot();
        this.announcer.start(listen);
        this.atWork?.start();
        return snapshot;
    }

    /** Close sockets and stores, keep everything. */
    stop(): void {
        this.shut();
        this.stand({ kind: 'ended', why: 'other_tab' });
        this.announcer.flush();
    }

    async unlock(pin: string): Promise<void> {
        let stores;
        try {
            stores = await this.ports.store.unlock(pin);
        } catch (error) {
            if (error instanceof WrongPin) await this.wrongPin(error.triesLeft);
            throw error;
        }
        if (this.opened !== null) {
            // The store was open all along, and stays so: it was the person who had to be known.
            return;
        }
        await this.open(stores);
        this.atWork?.start();
    }

    private async wrongPin(tries: number): Promise<void> {
        if (this.standing.kind === 'locked') {
            this.stand(tries > 0 ? { kind: 'locked', by: 'pin', tries } : { kind: 'new' });
        } else if (tries === 0) {
            // The store was wiped under a device at work, whose screen alone was locked.
            await this.end('signed_out');
        }
    }

    async enrol(request: {
        readonly code: string;
        readonly root: string;
        readonly pin?: string;
        readonly authoritySeed?: string;
    }): Promise<void> {
        if (this.opened !== null) throw new EngineFailure('failed');
        const { authoritySeed: seed } = request;
        const authority = seed === undefined ? null : await authorityKeyOf(seed);
        const { identity, keys, stores } = await enrol(this.ports.store, this.openApi, request);
        if (authority !== null) await offerAuthority(stores.vault, authority);
        await this.hold(identity, keys, stores);
    }

    /** End the session on the server if it can be reached, and wipe everything here whether or not it can. */
    async signOut(): Promise<void> {
        const { opened } = this;
        if (opened !== null) {
            // Whatever goes wrong with it, and however long it takes: what stands here goes.
            const told = opened.session.signOut().catch(() => undefined);
            const waited = new Promise<void>((go) => this.ports.clock.after(SIGN_OUT_WAIT_MS, go));
            await Promise.race([told, waited]);
        }
        await this.end('signed_out');
    }

    /** Everything of this device goes, here and now. */
    async end(why: Exclude<EndReason, 'other_tab'>): Promise<void> {
        this.shut();
        // The screen first: whoever holds a lost device has no second more to read it.
        this.stand({ kind: 'ended', why });
        this.announcer.flush();
        if (why === 'failed') return;
        try {
            await this.ports.store.wipe();
        } catch {
            this.setTrouble('broken');
            this.announcer.flush();
        }
    }

    /** The device at work. Fails while it is none. */
    work(): Work {
        if (this.atWork === null || this.standing.kind !== 'active') throw new EngineFailure('failed');
        return this.atWork;
    }

    /** The vault of an enrolled device. */
    get vault(): Stores['vault'] {
        if (this.opened === null) throw new EngineFailure('failed');
        return this.opened.stores.vault;
    }

    get api(): Api {
        if (this.opened === null) throw new EngineFailure('failed');
        return this.opened.api;
    }

    get session(): Session {
        if (this.opened === null) throw new EngineFailure('failed');
        return this.opened.session;
    }

    get identity(): Identity {
        if (this.opened === null) throw new EngineFailure('failed');
        return this.opened.identity;
    }

    // ---- opening

    private async open(stores: Stores): Promise<void> {
        const identity = await loadIdentity(stores.vault);
        const keys = await loadKeys(stores.vault);
        if (identity === null || keys === null) {
            // Enrolment was cut off before the server had answered: nothing here is worth anything.
            stores.close();
            await this.ports.store.wipe();
            this.stand({ kind: 'new' });
            return;
        }
        await this.hold(identity, keys, stores);
    }

    private async hold(identity: Identity, keys: DeviceKeys, stores: Stores): Promise<void> {
        const { clock } = this.ports;
        const sign = keys.identity.signRaw.bind(keys.identity);
        const shelf = sessionShelf(stores.vault);
        const session = new Session(this.openApi, keys.deviceId, sign, shelf, clock);
        const tokens = watched(session, (by) => this.personWanted(by));
        const api = this.openApi.with(tokens);
        this.opened = { identity, keys, stores, session, tokens, api };
        stores.onGone(() => this.life.begin(() => this.end('failed')));
        if (!stores.persisted) this.setTrouble('not_persistent');
        if (identity.approved) {
            await this.beginWork(this.opened);
            return;
        }
        this.stand({ kind: 'pending', shortCode: await ownShortCode(keys), device: keys.deviceId });
        this.life.begin(() => this.awaitApproval());
    }

    /** Whether the server answers a device that waits; from when it is at work on, its own link says so. */
    private heard(reach: Link['state']): void {
        if (this.reach === reach) return;
        this.reach = reach;
        this.announcer.put({ kind: 'link', link: this.noLink() });
    }

    private async awaitApproval(): Promise<void> {
        for (;;) {
            const { opened } = this;
            if (opened === null) return;
            try {
                await opened.tokens.token();
            } catch (error) {
                if (!(error instanceof ApiError)) throw error;
                this.heard(error.told ? 'online' : 'offline');
                // Approved, and waited for: `shown` goes on.
                if (this.standing.kind === 'person') return;
                if (error.told && error.number === WireError.revoked) {
                    await this.end('revoked');
                    return;
                }
                await this.life.sleep(Math.max(APPROVAL_POLL_MS, error.retryMs));
                continue;
            }
            this.life.check();
            await this.approved(opened);
            return;
        }
    }

    private async approved(opened: Opened): Promise<void> {
        const identity = { ...opened.identity, approved: true };
        await keepIdentity(opened.stores.vault, identity);
        this.opened = { ...opened, identity };
        await this.beginWork(this.opened);
        this.atWork?.start();
    }

    // ---- the person

    get isWanted(): boolean {
        return this.standing.kind === 'person';
    }

    private personWanted(by: 'passkey' | 'oidc'): void {
        const { opened } = this;
        if (opened === null) return;
        if (this.standing.kind === 'pending' || this.standing.kind === 'active') {
            this.stand({ kind: 'person', by, device: opened.identity.device });
            this.life.begin(() => this.keepAsked(opened, by));
        }
    }

    /** The person showed who they are. */
    async shown(): Promise<void> {
        const { opened, atWork } = this;
        if (opened === null) return;
        if (atWork === null) await this.approved(opened);
        else {
            const me = await this.me(await loadMe(opened.stores.vault));
            if (!this.isWanted) return;
            this.stand({ kind: 'active', me });
            atWork.again();
        }
    }

    /** A page that is opened anew knows what is asked before any server says so. */
    private async keepAsked(opened: Opened, by: 'passkey' | 'oidc'): Promise<void> {
        const known = await loadMe(opened.stores.vault);
        if (known.personBy !== by) await keepMe(opened.stores.vault, { ...known, personBy: by });
    }

    /** Whether anything may be shown: nobody asks for the person, or the proof still counts. */
    private async proofCounts({ session, stores }: Opened, nowMs: number): Promise<boolean> {
        const { personBy } = await loadMe(stores.vault);
        if (personBy === 'device') return true;
        if (!(await session.stands())) return false;
        return session.personUntilMs === 0 || nowMs < session.personUntilMs;
    }

    /** Proofs and shifts end by the clock. */
    private async watchTheClock(opened: Opened, work: Work): Promise<void> {
        for (;;) {
            const nowMs = work.home.nowMs();
            const { personBy, shiftUntilMs } = await loadMe(opened.stores.vault);
            const { personUntilMs } = opened.session;
            if (shiftUntilMs > 0 && nowMs >= shiftUntilMs) {
                await this.end('shift_over');
                return;
            }
            if (personBy !== 'device' && personUntilMs > 0 && nowMs >= personUntilMs)
                this.personWanted(personBy);
            await this.life.sleep(CLOCK_LOOK_MS);
        }
    }

    private async beginWork(opened: Opened): Promise<void> {
        const { clock, random, dialer, origin } = this.ports;
        const { life } = this;
        const work = await Work.restore({
            ...opened,
            clock,
            random,
            dialer,
            origin,
            life,
            put: (event) => this.announcer.put(event),
            stopped: (code) => this.stopped(code),
            meChanged: () => this.life.begin(() => this.learnMe()),
        });
        life.check();
        this.atWork = work;
        const known = await loadMe(opened.stores.vault);
        this.shiftUntilMs = known.shiftUntilMs;
        const me = await this.me(known);
        const counts = await this.proofCounts(opened, work.home.nowMs());
        // What was awaited may have been overtaken by the end of this device.
        life.check();
        life.begin(() => this.watchTheClock(opened, work));
        if (known.personBy === 'device' || counts) this.stand({ kind: 'active', me });
        else this.stand({ kind: 'person', by: known.personBy, device: opened.identity.device });
    }

    private stopped(code: number): void {
        const revoked = code === (CloseCode.revoked as number);
        // A shared device is revoked when its shift ends: that is no alarm. Nothing is waited for: who is revoked sees
        // nothing any more.
        const nowMs = this.atWork?.home.nowMs() ?? 0;
        const over = this.shiftUntilMs > 0 && nowMs >= this.shiftUntilMs - SHIFT_SLACK_MS;
        this.life.begin(() => this.end(over ? 'shift_over' : revoked ? 'revoked' : 'failed'));
    }

    // ---- who this is

    /** Ask the server who this is, once a session stands. */
    private async learnMe(): Promise<void> {
        const { opened } = this;
        if (opened === null) return;
        try {
            const agency = await opened.api.agency();
            const { roles } = await opened.api.me();
            const { shiftUntilMs } = await opened.api.device(opened.identity.device);
            const before = await loadMe(opened.stores.vault);
            const known: KnownMe = {
                agencyLabel: agency.label,
                personBy: agency.person,
                roles,
                shiftUntilMs,
                video: agency.video,
                videoPhone: agency.videoPhone,
            };
            this.shiftUntilMs = shiftUntilMs;
            if (JSON.stringify(known) !== JSON.stringify(before)) await keepMe(opened.stores.vault, known);
            if (this.standing.kind === 'person' && known.personBy === 'device') {
                // The agency asks for nobody any more.
                this.stand({ kind: 'active', me: await this.me(known) });
            }
            await this.tellMe(known);
        } catch (error) {
            unlessApi(error);
        }
    }

    async tellMe(known?: KnownMe): Promise<void> {
        if (this.standing.kind !== 'active' || this.opened === null) return;
        const me = await this.me(known ?? (await loadMe(this.opened.stores.vault)));
        // Meanwhile the person may have been asked for, or the device have ended: then nothing is shown again.
        if (!this.isActive()) return;
        if (JSON.stringify(me) === JSON.stringify(this.standing.me)) return;
        this.stand({ kind: 'active', me });
    }

    /** A method, since it changes over awaits. */
    private isActive(): boolean {
        return this.standing.kind === 'active';
    }

    private async me(known: KnownMe): Promise<Me> {
        if (this.opened === null || this.atWork === null) throw new EngineFailure('failed');
        const { identity, stores } = this.opened;
        const { home } = this.atWork;
        await acceptOffered(stores.vault, home.directories);
        return await meOf(identity, known, home, stores.vault);
    }

    // ---- telling

    private async snapshot(): Promise<Snapshot> {
        const work = this.atWork;
        const { standing, trouble: store } = this;
        if (work === null || standing.kind !== 'active') {
            const link = work?.linkView() ?? this.noLink();
            // That something urgent waits is said also before the person is known; what it is, is not.
            const urgent = work !== null && standing.kind === 'person' ? await work.urgentRows() : [];
            return { ...EMPTY, standing, link, store, urgent };
        }
        const nowMs = work.home.nowMs();
        const rooms = work.rooms.all();
        return {
            standing,
            link: work.linkView(),
            store,
            members: work.people.memberViews(),
            units: work.people.unitViews(),
            channels: rooms.map((room) => room.view()),
            incidents: work.incidents.views(),
            statuses: rooms.flatMap((room) => [...room.present.statuses.values()]),
            positions: rooms.flatMap((room) => room.present.positions(nowMs)),
            alarms: work.alarms.views(),
            urgent: await work.urgentRows(),
            pending: work.pending,
            consults: work.consults.views(),
        };
    }

    /** Everything of the snapshot as events: for a device that came to work after the screen began to listen. */
    private async tellAll(): Promise<void> {
        const all = await this.snapshot();
        const put = (event: EngineEvent): void => this.announcer.put(event);
        put({ kind: 'link', link: all.link });
        for (const member of all.members) put({ kind: 'member', member });
        for (const unit of all.units) put({ kind: 'unit', unit });
        for (const incident of all.incidents) put({ kind: 'incident', incident });
        for (const channel of all.channels) put({ kind: 'channel', channel });
        for (const status of all.statuses) put({ kind: 'status', status });
        for (const position of all.positions) put({ kind: 'position', position });
        for (const alarm of all.alarms) put({ kind: 'alarm', alarm });
        for (const row of all.urgent) put({ kind: 'row', row });
        for (const consult of all.consults) put({ kind: 'consult', consult });
        if (all.pending.length > 0) put({ kind: 'pending', pending: all.pending });
    }

    private stand(standing: Standing): void {
        const began = this.standing.kind !== 'active' && standing.kind === 'active';
        this.standing = standing;
        this.announcer.put({ kind: 'standing', standing });
        if (began) this.life.begin(() => this.tellAll());
    }

    private setTrouble(trouble: StoreTrouble): void {
        if (this.trouble === trouble) return;
        this.trouble = trouble;
        this.announcer.put({ kind: 'store', store: trouble });
    }

    private noLink(): Link {
        return { state: this.reach, sinceMs: this.ports.clock.nowMs(), clockOffsetMs: 0, freshMs: 0 };
    }

    // ---- ends

    /** Something in the background broke. Never in silence: a person who goes on writing must know that nothing leaves. */
    private fault(error: unknown): void {
        if (error instanceof StoreDamaged || error instanceof StoreGone) this.setTrouble('broken');
        void this.end('failed');
    }

    private shut(): void {
        this.life.end();
        this.opened?.stores.close();
        this.opened = null;
        this.atWork = null;
        this.life = this.newLife();
    }

    private newLife(): Life {
        const life: Life = new Life(
            this.ports.clock,
            (error) => this.fault(error),
            () => full.untilSpace(),
        );
        const full = new FullStore(
            life,
            () => this.tryStore(),
            (isFull) => this.tellFull(isFull),
        );
        return life;
    }

    /** A person's act found the store full: it failed, and the notice stands until there is space. */
    storeFull(): void {
        const { life } = this;
        life.begin(() => life.untilSpace());
    }

    private async tryStore(): Promise<void> {
        const history = this.opened?.stores.history;
        await history?.keepNotes(new Map([[SPACE, new Uint8Array(SPACE_BYTES)]]));
        await history?.keepNotes(new Map([[SPACE, null]]));
    }

    private tellFull(isFull: boolean): void {
        const usual = this.opened?.stores.persisted === false ? 'not_persistent' : 'none';
        this.setTrouble(isFull ? 'full' : usual);
    }
}

const EMPTY = {
    members: [],
    units: [],
    channels: [],
    incidents: [],
    statuses: [],
    positions: [],
    alarms: [],
    urgent: [],
    pending: [],
    consults: [],
} as const;

function unlessApi(error: unknown): void {
    if (!(error instanceof ApiError)) throw error;
}
