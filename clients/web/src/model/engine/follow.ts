/**
 * Following the logs of one channel: pushes in, entries opened, stored with their position, and told.
 *
 * One worker a channel takes from a bounded queue, so that a channel whose keys are late holds nobody else up. When the
 * queue is full a push is thrown away and the log asked for again later: the store is the queue, the memory is not. Keys
 * come first: epochs and grants are worked off before content, and content whose epoch is not known yet waits for them,
 * 30 s at most, then it is kept as "cannot decrypt" and tried again when keys come.
 *
 * Entries and the position that they reach are stored together before anything is told. Spec chapter 03, "Following".
 */
import { ApiError, Offline } from '~/link/errors';
import { askedMs } from '~/link/connection';
import { fromHex } from '~/protocol/bytes';
import { WireError } from '~/protocol/errors';
import { Follower, type FollowStep, NOWHERE, type Position } from '~/protocol/follow';
import type { ChannelAddress } from '~/protocol/ids';
import type { Batch, Entry, Refused, Subscribed } from '~/protocol/messages';
import { SealingError } from '~/sealing/errors';

import type { History } from '../ports';
import type { Chain } from './chain';
import { type Life, Wake } from './life';
import type { Reading } from './reading';

const QUEUE_PUSHES = 256;
const HOLD_MS = 30_000;
const AGAIN_MS = 2_000;
const AGAIN_CAP_MS = 30_000;
const STORE_ENTRIES = 100;

/** A session stands; it is over; a person wants to go on after a refused commit; a heartbeat's word about a log, or none. */
type Item =
    | Subscribed
    | Batch
    | { readonly kind: 'up' }
    | { readonly kind: 'down' }
    | { readonly kind: 'look_again' }
    | { readonly kind: 'head'; readonly offset: number }
    | { readonly kind: 'unnamed' };

/** How a follower asks the server for a log: `Subscribed` was also pushed, before its batches. Rejects with `Offline`. */
export type Subscribe = (log: ChannelAddress, position: Position) => Promise<Subscribed | Refused>;

/** Who is told what following brought, in order, after it was stored. */
export interface FollowListener {
    /** Before they are stored: those that must sound here, and since when. */
    pressing(
        readings: readonly Reading[],
    ): readonly { readonly id: Reading['entry']['id']; readonly sinceMs: number }[];
    /** There is no space for them now: what must sound does, all the same. They come again, when they are stored. */
    unwritten(readings: readonly Reading[]): void;
    readings(readings: readonly Reading[]): Promise<void>;
    /** Commits or grants were worked off. */
    chained(): void;
    /** What the keys open was told. */
    granted(): Promise<void>;
    trimmed(): Promise<void>;
    /** The old copy still stands: the owner reads from it what must be posted again. */
    dropping(generation: number): Promise<void>;
    dropped(): Promise<void>;
    caughtUp(): void;
    /** Every commit that the server knows is here. */
    newest(): void;
    /** The server says that this log is not ours. */
    lost(): void;
}

export class ChannelFollow {
    private readonly keys: { readonly log: ChannelAddress; readonly item: Item }[] = [];
    private readonly content: Item[] = [];
    private readonly overflowed = new Set<ChannelAddress>();
    private readonly wake: Wake;
    /** All up to the head that the content's follower has reached was read and told as well, which takes as long as keys do. */
    private readUp = false;
    /** The content was caught up and nobody was told yet: the first commit has still to come. */
    private untold = false;

    private constructor(
        private readonly life: Life,
        private readonly chain: Chain,
        private readonly history: History,
        private readonly subscribeTo: Subscribe,
        private readonly listener: FollowListener,
        private readonly followers: Map<ChannelAddress, Follower>,
    ) {
        this.wake = new Wake(life);
    }

    static async restore(
        life: Life,
        chain: Chain,
        history: History,
        subscribe: Subscribe,
        listener: FollowListener,
    ): Promise<ChannelFollow> {
        const followers = new Map<ChannelAddress, Follower>();
        for (const log of [chain.epochsLog, chain.grantsLog, chain.contentLog]) {
            followers.set(log, new Follower(log, (await history.place(log))?.position ?? NOWHERE));
        }
        return new ChannelFollow(life, chain, history, subscribe, listener, followers);
    }

    get logs(): readonly ChannelAddress[] {
        return [...this.followers.keys()];
    }

    /**
     * Whether all of the content up to the head that the server named is here. Before the first commit was processed
     * nothing is: an empty log of a channel without members says nothing.
     */
    get caughtUp(): boolean {
        return this.readUp && this.follower(this.chain.contentLog).live && this.chain.epoch >= 0;
    }

    /** Whether every commit that the server named on this connection was processed. */
    get newest(): boolean {
        const epochs = this.follower(this.chain.epochsLog);
        return epochs.live && this.chain.epoch + 1 >= epochs.head;
    }

    /** How far the content was received. */
    get position(): Position {
        return this.follower(this.chain.contentLog).position;
    }

    /** Hand over what arrived; never waits. A full queue forgets batches and asks again later. */
    push(log: ChannelAddress, item: Item): void {
        const isContent = log === this.chain.contentLog;
        const queue: readonly unknown[] = isContent ? this.content : this.keys;
        const comesAgain = item.kind === 'batch' || item.kind === 'head' || item.kind === 'unnamed';
        if (queue.length >= QUEUE_PUSHES && comesAgain) {
            this.overflowed.add(log);
            return;
        }
        if (isContent) this.content.push(item);
        else this.keys.push({ log, item });
        this.wake.set();
    }

    up(): void {
        for (const log of this.logs) this.push(log, { kind: 'up' });
    }

    /** The session is over: what is still queued of it stays good, for ranges are checked. */
    down(): void {
        for (const log of this.logs) this.push(log, { kind: 'down' });
    }

    /** After a refused commit: fetch the channel's chain anew, and go on if it holds now. */
    lookAgain(): void {
        this.push(this.chain.epochsLog, { kind: 'look_again' });
    }

    /** Work off what is pushed until the life ends. */
    async run(): Promise<void> {
        for (;;) {
            this.life.check();
            if ((await this.workKeys()) || (await this.workContent())) continue;
            this.askForOverflowed();
            if (this.keys.length === 0 && this.content.length === 0) await this.wake.wait();
        }
    }

    // ---- working off

    private async workKeys(): Promise<boolean> {
        const next = this.keys.shift();
        if (next === undefined) return false;
        const { log } = next;
        let { item } = next;
        if (item.kind === 'look_again') {
            await this.keepTrying(() => this.chain.lookAgain());
            // What was pushed may have been made up: what counts is what was verified.
            this.followers.set(log, new Follower(log, this.verified(this.follower(log).position)));
            item = { kind: 'up' };
        }
        // Before the batch itself moves the follower: one that catches up brings history, however new its end is.
        const live = this.follower(log).live;
        for (const step of this.steps(log, item)) await this.performKeys(log, step, live);
        return true;
    }

    private async workContent(): Promise<boolean> {
        const item = this.content.shift();
        if (item === undefined) return false;
        const steps = this.steps(this.chain.contentLog, item);
        if (steps.some(({ kind }) => kind === 'caught_up')) this.readUp = false;
        for (const step of steps) await this.performContent(step);
        return true;
    }

    private steps(log: ChannelAddress, item: Item): readonly FollowStep[] {
        const follower = this.follower(log);
        switch (item.kind) {
            case 'subscribed':
                return follower.onSubscribed(item);
            case 'batch':
                return follower.onBatch(item);
            case 'head':
                return follower.onHead(item.offset);
            case 'unnamed':
                return follower.onUnnamed();
            case 'up':
            case 'look_again':
                follower.onDisconnected();
                return [{ kind: 'again' }];
            case 'down':
                follower.onDisconnected();
                return [];
        }
    }

    private askForOverflowed(): void {
        const logs = [...this.overflowed];
        this.overflowed.clear();
        for (const log of logs) {
            if (this.follower(log).onOverflow().length > 0) this.subscribe(log);
        }
    }

    private async performKeys(log: ChannelAddress, step: FollowStep, live: boolean): Promise<void> {
        const isEpochs = log === this.chain.epochsLog;
        switch (step.kind) {
            case 'take':
                await this.takeKeys(log, step.entries, step.position, live);
                break;
            case 'dropped':
                await this.drop(log, step.position);
                if (isEpochs) {
                    await this.keepTrying(() => this.chain.postLostCommits(this.follower(log).head));
                }
                break;
            case 'again':
                this.subscribe(log);
                break;
            case 'caught_up':
                if (isEpochs) this.listener.newest();
                break;
            case 'trimmed':
                break;
        }
    }

    private async takeKeys(
        log: ChannelAddress,
        entries: readonly Entry[],
        reached: Position,
        live: boolean,
    ): Promise<void> {
        const isEpochs = log === this.chain.epochsLog;
        if (isEpochs) {
            await this.keepTrying(() => this.chain.takeEpochs(entries, live));
        } else if (await this.keepTrying(() => this.chain.takeGrants(entries))) {
            await this.takeLate();
            await this.life.untilWritten(() => this.listener.granted());
        }
        const position = isEpochs ? this.verified(reached) : reached;
        await this.life.untilWritten(() => this.history.take(log, [], { position, floor: 0, seen: null }));
        if (isEpochs) await this.takeLate();
        this.listener.chained();
        this.tellCaughtUp();
    }

    /** What can be opened only now. */
    private async takeLate(): Promise<void> {
        for await (const late of this.chain.reopen()) {
            await this.life.untilWritten(() => this.listener.readings(late));
        }
    }

    private async drop(log: ChannelAddress, position: Position): Promise<void> {
        await this.life.untilWritten(() => this.history.drop(log, { position, floor: 0, seen: null }));
    }

    /** Epoch n stands at offset n + 1. One that was refused is asked for again, after a restart too. */
    private verified(position: Position): Position {
        return {
            generation: position.generation,
            offset: Math.min(position.offset, this.chain.epoch + 1),
        };
    }

    private async performContent(step: FollowStep): Promise<void> {
        const log = this.chain.contentLog;
        switch (step.kind) {
            case 'take':
                await this.takeContent(step.entries, step.position);
                break;
            case 'dropped':
                await this.life.untilWritten(() => this.listener.dropping(step.position.generation));
                await this.drop(log, step.position);
                this.chain.beginAgain();
                await this.life.untilWritten(() => this.listener.dropped());
                break;
            case 'trimmed':
                await this.listener.trimmed();
                break;
            case 'again':
                this.subscribe(log);
                break;
            case 'caught_up':
                this.readUp = true;
                this.untold = true;
                this.tellCaughtUp();
                break;
        }
    }

    private tellCaughtUp(): void {
        if (!this.untold || !this.caughtUp) return;
        this.untold = false;
        this.listener.caughtUp();
    }

    /**
     * Entries in portions: each is stored with the offset that it reaches. One whose id stands in the portion already waits
     * for the next: whether a message was taken before, the store alone can say.
     */
    private async takeContent(entries: readonly Entry[], position: Position): Promise<void> {
        let readings: Reading[] = [];
        const here = new Set<string>();
        for (const entry of entries) {
            const name = `${entry.device} ${entry.id}`;
            if (here.has(name) || readings.length >= STORE_ENTRIES) {
                const offset = readings.at(-1)?.entry.offset ?? 0;
                await this.store(readings, { generation: position.generation, offset });
                readings = [];
                here.clear();
            }
            readings.push(await this.read(entry));
            here.add(name);
        }
        await this.store(readings, position);
    }

    private async store(readings: readonly Reading[], position: Position): Promise<void> {
        this.life.check();
        const { seen } = this.chain;
        const place = { position, floor: 0, seen: { seq: seen.seq, hash: fromHex(seen.hash) } };
        const entries = readings.map((reading) => reading.entry);
        const log = this.chain.contentLog;
        await this.life.untilWritten(
            () => this.history.take(log, entries, place, this.listener.pressing(readings)),
            () => this.listener.unwritten(readings),
        );
        if (readings.length > 0) await this.life.untilWritten(() => this.listener.readings(readings));
    }

    /** Open an entry; one of an unknown epoch is held until its keys come or 30 s are over. */
    private async read(entry: Entry): Promise<Reading> {
        const clock = this.life.clock;
        const untilMs = clock.monotonicMs() + HOLD_MS;
        for (let asked = false; ;) {
            try {
                return await this.life.untilWritten(() => this.chain.read(entry));
            } catch (error) {
                if (!(error instanceof SealingError) || error.code !== 'E_UNKNOWN_EPOCH') throw error;
            }
            this.life.check();
            const leftMs = untilMs - clock.monotonicMs();
            if (leftMs <= 0 || this.chain.stopped !== '') return await this.chain.giveUp(entry);
            if (await this.workKeys()) continue;
            if (!asked) {
                asked = true;
                await this.chain.sync().catch(unlessApi);
                continue;
            }
            await this.wake.wait(Math.min(leftMs, AGAIN_MS));
            asked = false;
        }
    }

    /** The server's HTTP half may be away, or the store full: the position must not move on without them. */
    private async keepTrying<T>(act: () => Promise<T>): Promise<T> {
        for (let delayMs = AGAIN_MS; ; delayMs = Math.min(AGAIN_CAP_MS, delayMs * 2)) {
            try {
                return await this.life.untilWritten(act);
            } catch (error) {
                if (!(error instanceof ApiError)) throw error;
                if (error.number === WireError.not_found || error.number === WireError.forbidden) {
                    this.listener.lost();
                }
            }
            await this.life.sleep(delayMs);
        }
    }

    // ---- asking

    private subscribe(log: ChannelAddress): void {
        const position = this.follower(log).subscribe();
        this.life.begin(() => this.ask(log, position));
    }

    private async ask(log: ChannelAddress, position: Position): Promise<void> {
        let answer;
        try {
            answer = await this.subscribeTo(log, position);
        } catch (error) {
            if (!(error instanceof Offline)) throw error;
            // The next session subscribes anew.
            this.follower(log).onRefused();
            return;
        }
        if (answer.kind === 'subscribed') return;
        this.follower(log).onRefused();
        if (answer.error < 200) {
            await this.life.sleep(Math.max(askedMs(answer.retryMs), AGAIN_MS));
            this.push(log, { kind: 'up' });
        } else if (answer.error === WireError.not_found) {
            this.listener.lost();
        }
    }

    private follower(log: ChannelAddress): Follower {
        const found = this.followers.get(log);
        if (found === undefined) throw new Error('no log of this channel');
        return found;
    }
}

function unlessApi(error: unknown): void {
    if (!(error instanceof ApiError)) throw error;
}
