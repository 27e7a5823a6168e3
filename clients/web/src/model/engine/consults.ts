/**
 * The consults that concern this person: the server's row of each, what is sealed about it, and what rings. Spec 08.
 *
 * Rows come when a notice says that one changed, and all of them at each new link and every ten seconds while one goes on: a
 * ring is a level, so a lost word silences nobody and a late one rings nobody twice.
 *
 * Note written: `consults`.
 */
import { every } from '~/link/api';
import { backoffMs } from '~/link/connection';
import { ApiError } from '~/link/errors';
import { OnCallApi } from '~/link/on-call-api';
import { WireError } from '~/protocol/errors';
import type { ChannelId, ConsultId, IncidentId, PageId } from '~/protocol/ids';
import type { Consult } from '~/protocol/oncall';

import type { ConsultAction, ConsultRequest, ConsultView } from '../on-call';
import { askedView, type Asked } from './asked';
import { Asks } from './asks';
import { ConsultTending } from './consult-tending';
import { consultView } from './consult-view';
import { EngineFailure, isExpected } from './errors';
import { Guests } from './guests';
import { noteOf, readNote } from './notes';
import type { Notice } from './notices';
import { same } from './people';
import { PhoneTree } from './phone-tree';
import { Ringer, type RingWhy } from './ringer';
import type { Said } from './said';
import type { Room } from './room';
import type { Work } from './work';

const NOTE = 'consults';
const LOOK_MS = 10_000;
/** How long one that is over is shown. */
const SHOWN_MS = 86_400_000;
/** Rows kept, the newest; a desk has a handful. */
const MOST = 500;
const ENDED_PAGES = 3;
/** A test page that comes later than this rings nobody. */
const TEST_MS = 60_000;
const MOST_PAGES = 200;

export class Consults {
    readonly api: OnCallApi;
    readonly asks: Asks;
    readonly ringer: Ringer;
    readonly guests: Guests;
    private readonly tending: ConsultTending;
    private readonly rows = new Map<ConsultId, Consult>();
    private readonly told = new Map<ConsultId, ConsultView>();
    /** Asked for now; true where something stirred meanwhile. */
    private readonly asking = new Map<ConsultId, boolean>();
    private readonly received = new Set<PageId>();
    private listing = false;
    private unkept = false;
    private keeping = false;
    private phones!: PhoneTree;

    constructor(private readonly work: Work) {
        this.api = new OnCallApi(work.home.api);
        this.asks = new Asks(work, this);
        this.ringer = new Ringer(work.parts.life, work.parts.put);
        this.guests = new Guests(work);
        this.tending = new ConsultTending(work);
    }

    async restore(): Promise<void> {
        const { history, nowMs } = this.work.home;
        this.phones = await PhoneTree.restore(this.api, history, nowMs);
        await this.asks.restore();
        await this.guests.restore();
        const rows = (readNote(await history.note(NOTE)) ?? []) as readonly Consult[];
        for (const row of rows) this.set(row);
    }

    start(): void {
        const { life } = this.work.parts;
        this.asks.start();
        life.begin(() => this.ringer.run());
        life.begin(() => this.look());
    }

    get tree(): PhoneTree {
        return this.phones;
    }

    // ---- looking

    views(): ConsultView[] {
        const asked = this.asks.all().filter(({ id }) => !this.rows.has(id));
        return [
            ...asked.map((one) => askedView(one, this.me)),
            ...[...this.rows.values()].map((row) => this.view(row)),
        ];
    }

    /** Fails with `not_found` where this person has no such consult. */
    row(id: ConsultId): Consult {
        const row = this.rows.get(id);
        if (row === undefined) throw new EngineFailure('not_found');
        return row;
    }

    /** The consult of a channel. */
    ofChannel(channel: ChannelId): Consult | null {
        return [...this.rows.values()].find((row) => row.channel === channel || row.side === channel) ?? null;
    }

    // ---- what a person does

    async request(request: ConsultRequest): Promise<ConsultId> {
        return await this.asks.ask(request);
    }

    /** Rejects with `already_accepted`, `not_permitted`, `conflict`. */
    async act(id: ConsultId, action: ConsultAction): Promise<void> {
        const asked = this.asks.get(id);
        if (asked !== null && !this.rows.has(id)) {
            if (action !== 'cancel') throw new EngineFailure('conflict');
            await this.asks.withdraw(asked);
            return;
        }
        if (action === 'accept') await this.tending.accepts(id);
        try {
            this.take(await this.api.act(id, action));
        } catch (error) {
            // Whatever it was, the row is not what the person saw.
            if (error instanceof ApiError && error.told) this.stir(id);
            throw error;
        }
    }

    async nameSide(id: ConsultId, side: ChannelId): Promise<ChannelId> {
        const row = await this.api.act(id, 'side', side);
        this.take(row);
        return row.side ?? side;
    }

    /** The person has the page before them. */
    async seen(id: ConsultId): Promise<void> {
        const { page } = this.row(id).me;
        if (page !== null) await this.api.receipt(page, 'seen');
    }

    // ---- what comes

    noticed(notice: Notice, atMs: number): void {
        switch (notice.kind) {
            case 'page':
                this.receive(notice.page);
                this.stir(notice.consult);
                break;
            case 'consult':
                this.stir(notice.consult);
                break;
            case 'guest':
                this.guests.stir(notice.consult);
                break;
            case 'test':
                this.receive(notice.page);
                // Its screen asked for this page, and knows it by its id.
                if (Math.abs(this.work.home.nowMs() - atMs) <= TEST_MS)
                    this.ringer.once(notice.page as string as ConsultId);
                break;
            case 'warning':
                this.work.parts.life.begin(() => this.work.duty.look().catch(unlessExpected));
                break;
            case 'lists':
                break;
        }
    }

    /** There is a link. */
    online(): void {
        this.asks.hurry();
        this.work.parts.life.begin(() => this.refresh().catch(unlessExpected));
    }

    /** A channel opened here, or was left: what hangs on it may have changed. */
    roomChanged(channel: ChannelId, subject: string | null): void {
        for (const row of this.rows.values()) {
            if (row.channel !== channel && row.side !== channel && row.incident !== subject) continue;
            this.tell(row);
            this.tending.look(row);
        }
    }

    /** Everything anew. Rejects with `ApiError`. */
    async refresh(): Promise<void> {
        if (this.listing) return;
        this.listing = true;
        try {
            const listed = new Map<ConsultId, Consult>();
            for (const row of await this.ended()) listed.set(row.id, row);
            for (const row of await every((after) => this.api.consults('active', after)))
                listed.set(row.id, row);
            this.takeAll([...listed.values()]);
            for (const row of [...this.rows.values()].filter((one) => !isOver(one))) {
                if (listed.has(row.id)) this.tending.look(row);
                else await this.fetch(row.id);
            }
        } catch (error) {
            // A role that may see none.
            if (!(error instanceof ApiError) || error.number !== WireError.forbidden) throw error;
        } finally {
            this.listing = false;
        }
    }

    /** The newest of one; null: there is none for this person. Rejects with `ApiError`. */
    async fetch(id: ConsultId): Promise<Consult | null> {
        try {
            const row = await this.api.consult(id);
            this.take(row);
            return row;
        } catch (error) {
            const none = error instanceof ApiError && error.told && error.number === WireError.not_found;
            if (!none) throw error;
            const known = this.rows.get(id);
            if (known !== undefined) await this.forget(known);
            return null;
        }
    }

    // ---- telling

    tellAsked(asked: Asked): void {
        if (this.rows.has(asked.id)) return;
        this.put(askedView(asked, this.me));
    }

    gone(id: ConsultId): void {
        this.told.delete(id);
        this.work.parts.put({ kind: 'consult_gone', consult: id });
    }

    // ---- inside

    private async look(): Promise<void> {
        for (;;) {
            await this.work.parts.life.sleep(LOOK_MS);
            await this.forgetOld();
            if (!this.work.isOnline) continue;
            await this.tree.look();
            if ([...this.rows.values()].every(isOver)) continue;
            await this.refresh().catch(unlessExpected);
        }
    }

    private async forgetOld(): Promise<void> {
        const nowMs = this.work.home.nowMs();
        for (const row of [...this.rows.values()]) {
            if (isOver(row) && nowMs - row.endedMs > SHOWN_MS) await this.forget(row);
        }
    }

    /** Of the last day: a few pages, the server's newest first or last. */
    private async ended(): Promise<readonly Consult[]> {
        const found: Consult[] = [];
        const sinceMs = this.work.home.nowMs() - SHOWN_MS;
        for (let after = '', pages = 0; pages < ENDED_PAGES; pages++) {
            const page = await this.api.consults('ended', after);
            found.push(...page.items.filter((row) => row.endedMs >= sinceMs));
            if (page.next === '' || page.next === after) break;
            after = page.next;
        }
        return found;
    }

    /** One changed: ask for it, and once more if it changed meanwhile. */
    private stir(id: ConsultId): void {
        if (this.asking.has(id)) {
            this.asking.set(id, true);
            return;
        }
        this.asking.set(id, false);
        const { life, random } = this.work.parts;
        life.begin(async () => {
            try {
                for (let attempt = 0; ;) {
                    this.asking.set(id, false);
                    try {
                        await this.fetch(id);
                        attempt = 0;
                        if (this.asking.get(id) !== true) return;
                    } catch (error) {
                        if (!isExpected(error)) throw error;
                        // The next link asks for all of them.
                        if (!this.work.isOnline) return;
                        await life.sleep(backoffMs(attempt, random));
                        attempt += 1;
                    }
                }
            } finally {
                this.asking.delete(id);
            }
        });
    }

    private take(row: Consult): void {
        this.takeAll([row]);
    }

    private takeAll(rows: readonly Consult[]): void {
        const changed: Consult[] = [];
        for (const row of rows) {
            if (row.me.ringing && row.me.page !== null) this.receive(row.me.page);
            const before = this.rows.get(row.id);
            // An older answer that came late is none.
            if (before !== undefined && (before.revision > row.revision || same(before, row))) continue;
            if (this.asks.isWithdrawn(row.id)) continue;
            this.set(row);
            changed.push(row);
        }
        for (const row of changed) {
            this.tell(row);
            this.tending.look(row);
            this.work.parts.life.begin(() => this.asks.confirmed(row));
        }
        if (changed.length > 0) this.keep();
    }

    private set(row: Consult): void {
        this.rows.set(row.id, row);
        this.ringer.set(row.id, ringOf(row));
    }

    private async forget(row: Consult): Promise<void> {
        this.rows.delete(row.id);
        this.ringer.set(row.id, null);
        this.keep();
        await this.tending.forget(row.id);
        await this.guests.forget(row.id);
        if (this.work.rooms.find(row.channel) === null) await this.work.said.forget(row.channel);
        this.gone(row.id);
    }

    /** Soon, and once there is space: nobody waits for it, since all of it can be fetched again. */
    private keep(): void {
        this.unkept = true;
        if (this.keeping) return;
        this.keeping = true;
        const { life, history } = this.work.home;
        life.begin(async () => {
            while (this.unkept) {
                this.unkept = false;
                await life.untilWritten(() => history.keepNotes(new Map([[NOTE, noteOf(this.newest())]])));
            }
            this.keeping = false;
        });
    }

    private newest(): Consult[] {
        return [...this.rows.values()].sort((a, b) => b.requestedMs - a.requestedMs).slice(0, MOST);
    }

    /** It came here. Said once: the page's paths tell when it was first. */
    private receive(page: PageId): void {
        if (this.received.has(page)) return;
        this.received.add(page);
        if (this.received.size > MOST_PAGES) {
            for (const oldest of this.received) {
                this.received.delete(oldest);
                break;
            }
        }
        this.work.parts.life.begin(() =>
            this.api.receipt(page, 'delivered').then(undefined, (error: unknown) => {
                this.received.delete(page);
                unlessExpected(error);
            }),
        );
    }

    private tell(row: Consult): void {
        const view = this.view(row);
        if (!same(this.told.get(row.id), view)) this.put(view);
    }

    private put(view: ConsultView): void {
        this.told.set(view.id, view);
        this.work.parts.put({ kind: 'consult', consult: view });
    }

    private view(row: Consult): ConsultView {
        return consultView(row, {
            me: this.me,
            said: this.said(row),
            reads: (channel) => this.work.rooms.find(channel)?.chain.member === true,
            context: this.hasContext(row.incident),
        });
    }

    /** Nobody forgets what they asked themselves, also before their channel has come back. */
    private said(row: Consult): Said | null {
        const asked = this.asks.get(row.id);
        if (asked === null) return this.work.said.of(row.channel);
        return { consult: row.id, member: this.me, summary: asked.request.summary, grantTo: [] };
    }

    private hasContext(incident: IncidentId): boolean {
        const { operations } = this.work.incidents.channelsOf(incident);
        const chain = operations === null ? null : (this.work.rooms.find(operations)?.chain ?? null);
        if (chain === null) return false;
        const since = memberSince(chain);
        // Admitted and granted nothing yet: what was before is closed.
        return since === 0 || chain.sealed.epochsHeld().some((epoch) => epoch < since);
    }

    private get me() {
        return this.work.parts.identity.member;
    }
}

/** The epoch from which on this device has been in the roster, without a break. */
function memberSince({ sealed, epoch }: Room['chain']): number {
    let since = epoch;
    const isIn = (at: number): boolean =>
        sealed.line.commits.get(at)?.roster.some(({ deviceId }) => deviceId === sealed.deviceId) === true;
    while (since > 0 && isIn(since - 1)) since -= 1;
    return since;
}

function isOver({ state }: Consult): boolean {
    return state === 'ended' || state === 'cancelled';
}

/** What a row rings as for this person. */
function ringOf({ me, state, takenBy }: Consult): RingWhy | null {
    // The last step's pages ring on while nobody takes it: to a supervisor that is the alarm.
    const alarms = state === 'exhausted' || state === 'requested';
    if (alarms && takenBy === null && me.may.includes('take')) return 'alarm';
    return me.ringing ? 'page' : null;
}

function unlessExpected(error: unknown): void {
    if (!isExpected(error)) throw error;
}
