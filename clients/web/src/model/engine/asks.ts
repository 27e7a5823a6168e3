/**
 * Consults on their way to the server: on disk before the person is told that they were asked for, then sent with the very same
 * bytes until the server has them, over any number of reloads (spec 08, "Requesting").
 *
 * For two minutes, by a clock that does not jump. What found no way by then waits for a person, who has the phone tree before
 * them and decides: by then they may have called, and a late page wakes somebody for nothing.
 */
import { ApiError } from '~/link/errors';
import type { Bytes } from '~/protocol/bytes';
import { WireError } from '~/protocol/errors';
import { type ChannelId, type ConsultId, idOf } from '~/protocol/ids';
import { UNSENT_S } from '~/protocol/limits';
import type { Consult } from '~/protocol/oncall';

import type { ConsultRequest } from '../on-call';
import { StoreFull } from '../ports';
import { type Asked, AskedRows } from './asked';
import { ConsultOpening } from './consult-opening';
import type { Consults } from './consults';
import { EngineFailure, isExpected, NotPermitted } from './errors';
import { Wake } from './life';
import type { Work } from './work';

const RETRY_MS = 2_000;
/** One try may not eat the two minutes. */
const TRY_MS = 15_000;
const REMAKES = 6;
/** Waiting or unsent at once on one device; a person does not ask for more. */
const MOST = 20;

export class Asks {
    private readonly asked = new Map<ConsultId, Asked>();
    /** Until when each is tried, by the monotonic clock. */
    private readonly untilMs = new Map<ConsultId, number>();
    private readonly rows: AskedRows;
    private readonly opening: ConsultOpening;
    private readonly wakes = new Map<ConsultId, Wake>();

    constructor(
        private readonly work: Work,
        private readonly consults: Consults,
    ) {
        this.rows = new AskedRows(work.parts.stores.vault);
        this.opening = new ConsultOpening(work);
    }

    async restore(): Promise<void> {
        for (const one of await this.rows.all()) {
            this.asked.set(one.id, one);
            this.setDeadline(one);
        }
    }

    start(): void {
        for (const id of this.asked.keys()) this.begin(id);
    }

    all(): readonly Asked[] {
        return [...this.asked.values()].filter(({ state }) => state !== 'withdrawn');
    }

    get(id: ConsultId): Asked | null {
        return this.asked.get(id) ?? null;
    }

    /** There may be a way now. */
    hurry(): void {
        for (const wake of this.wakes.values()) wake.set();
    }

    /** On disk when it resolves. Fails with `outbox_full`, `too_long`. */
    async ask(request: ConsultRequest): Promise<ConsultId> {
        if (this.asked.size >= MOST) throw new EngineFailure('outbox_full');
        const { home } = this.work;
        const id = idOf<ConsultId>(home.random.bytes(16));
        this.opening.check(id, request);
        const asked: Asked = { id, request, askedMs: home.nowMs(), state: 'waiting', post: null };
        try {
            await this.keep(asked);
        } catch (error) {
            if (!(error instanceof StoreFull)) throw error;
            await this.askNow(asked);
        }
        this.setDeadline(asked);
        this.begin(id);
        return id;
    }

    /** Nothing can be written down here: the server's disk counts instead. Rejects with `StoreFull` where it cannot be had now. */
    private async askNow(asked: Asked): Promise<void> {
        const { life } = this.work.parts;
        life.begin(() => life.untilSpace());
        try {
            const post = await this.opening.make(asked, await this.consults.tree.roster());
            const sent: Asked = { ...asked, state: 'sent', post };
            this.asked.set(sent.id, sent);
            await this.post(post);
            this.consults.tellAsked(sent);
        } catch (error) {
            this.asked.delete(asked.id);
            throw isExpected(error) ? new StoreFull() : error;
        }
    }

    /** A person decided that one which found no way is to be sent after all. */
    async again(id: ConsultId): Promise<void> {
        const asked = this.asked.get(id);
        if (asked?.state !== 'unsent') throw new EngineFailure('not_found');
        const again: Asked = { ...asked, askedMs: this.work.home.nowMs(), state: 'waiting' };
        await this.keep(again);
        this.setDeadline(again);
        this.begin(id);
    }

    /** A person took one back. The server may have it all the same: it is told as soon as there is a way. */
    async withdraw(asked: Asked): Promise<void> {
        if (asked.post === null) await this.drop(asked.id);
        else {
            await this.keep({ ...asked, state: 'withdrawn' });
            this.begin(asked.id);
            this.wakes.get(asked.id)?.set();
        }
        this.consults.gone(asked.id);
    }

    /** Its person took it back, and the server is being told. */
    isWithdrawn(id: ConsultId): boolean {
        return this.asked.get(id)?.state === 'withdrawn';
    }

    /** The server has it. */
    async confirmed(row: Consult): Promise<void> {
        const asked = this.asked.get(row.id);
        if (asked === undefined || asked.state === 'withdrawn') return;
        await this.join(asked, row.channel);
        if (this.isWithdrawn(row.id)) return;
        await this.drop(row.id);
    }

    // ---- on its way

    private begin(id: ConsultId): void {
        if (this.wakes.has(id)) return;
        const { life } = this.work.parts;
        this.wakes.set(id, new Wake(life));
        life.begin(async () => {
            try {
                await this.send(id);
            } finally {
                this.wakes.delete(id);
            }
        });
    }

    private async send(id: ConsultId): Promise<void> {
        for (let made = 0; ;) {
            const asked = this.asked.get(id);
            if (asked === undefined || asked.state === 'unsent') return;
            try {
                if (asked.state === 'withdrawn') {
                    await this.takeBack(asked);
                    return;
                }
                if (asked.state === 'sent') {
                    const row = await this.consults.fetch(id);
                    if (!this.asked.has(id)) return;
                    // The server was restored from a backup, and has it no more.
                    if (row === null) await this.keep({ ...asked, state: 'waiting' });
                } else if (this.leftMs(id) <= 0) {
                    await this.giveUp(asked);
                    return;
                } else if (asked.post === null && made >= REMAKES) {
                    await this.giveUp(asked);
                    return;
                } else {
                    await this.attempt(asked);
                    if (asked.post === null) made += 1;
                    continue;
                }
            } catch (error) {
                if (!isExpected(error)) throw error;
                if (await this.refused(asked, error)) continue;
            }
            await this.wakes.get(id)?.wait(RETRY_MS);
        }
    }

    private async attempt(asked: Asked): Promise<void> {
        if (asked.post === null) {
            const post = await this.opening.make(asked, await this.consults.tree.roster());
            // Withdrawn or given up meanwhile: nothing of it leaves.
            if (this.asked.get(asked.id) !== asked) return;
            await this.keep({ ...asked, post });
            return;
        }
        await this.post(asked.post);
        const now = this.asked.get(asked.id);
        if (now === undefined) return;
        if (now.state !== 'withdrawn') await this.keep({ ...now, state: 'sent' });
    }

    private async post(data: Bytes): Promise<void> {
        const abort = new AbortController();
        const callOff = this.work.parts.clock.after(TRY_MS, () => abort.abort());
        try {
            await this.consults.api.postConsult(data, abort.signal);
        } finally {
            callOff();
        }
    }

    /** What came of a failed attempt: true where something changed, so that it goes on at once. */
    private async refused(asked: Asked, error: unknown): Promise<boolean> {
        if (asked.state !== 'waiting') return false;
        if (error instanceof NotPermitted) {
            await this.giveUp(asked);
            return true;
        }
        if (!(error instanceof ApiError) || error.mayRetry || !error.told) return false;
        switch (error.number) {
            case WireError.unauthenticated:
            case WireError.token_expired:
            case WireError.pending:
                return false;
            case WireError.stale:
            case WireError.sealing_refused:
                // Provably not stored: made on an older view than the server's. A new one, under the same id.
                if (asked.post === null) break;
                await this.keep({ ...asked, post: null });
                return true;
            case WireError.conflict: {
                // Its id stands there: an earlier try came through after all.
                const row = await this.consults.fetch(asked.id);
                if (row !== null) return true;
                break;
            }
        }
        await this.giveUp(asked);
        return true;
    }

    private async giveUp(asked: Asked): Promise<void> {
        const now = this.asked.get(asked.id);
        if (now?.state === 'waiting') await this.keep({ ...now, state: 'unsent' });
    }

    private async takeBack({ id }: Asked): Promise<void> {
        try {
            await this.consults.api.act(id, 'cancel');
        } catch (error) {
            const gone = error instanceof ApiError && error.told && !error.mayRetry;
            if (!gone) throw error;
        }
        await this.drop(id);
    }

    private async join({ id, request, post }: Asked, channel: ChannelId): Promise<void> {
        if (post !== null) await this.opening.join(id, request, post, channel);
    }

    // ---- keeping

    private async keep(asked: Asked): Promise<void> {
        await this.rows.keep(asked);
        this.asked.set(asked.id, asked);
        if (asked.state !== 'withdrawn') this.consults.tellAsked(asked);
    }

    private async drop(id: ConsultId): Promise<void> {
        await this.rows.drop(id);
        this.asked.delete(id);
        this.untilMs.delete(id);
    }

    /** What is left of its two minutes; a clock that was set wrong meanwhile gives or takes no more than those. */
    private setDeadline({ id, askedMs }: Asked): void {
        const leftMs = askedMs + UNSENT_S * 1_000 - this.work.home.nowMs();
        const boundMs = Math.min(UNSENT_S * 1_000, Math.max(0, leftMs));
        this.untilMs.set(id, this.work.parts.clock.monotonicMs() + boundMs);
    }

    private leftMs(id: ConsultId): number {
        return (this.untilMs.get(id) ?? 0) - this.work.parts.clock.monotonicMs();
    }
}
