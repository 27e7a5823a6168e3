/**
 * How a receiver follows one log: position, gaps, resets, batches (spec 03, "Following a log").
 *
 * Theory of operation. A push is a hint: any batch may be lost, doubled or late. The *position* is what the receiver has
 * for certain, and it moves only along gapless ranges. Whatever does not fit leads to one remedy, subscribing again
 * from the position, and the store heals it. So a receiver that keeps subscribing ends with the log itself, whatever
 * happened on the way.
 *
 * `Follower` performs nothing: each input returns what to do next. The caller owns it, sends what `subscribe` returns,
 * and stores entries *together with* the new position.
 */

import type { ChannelAddress } from '~/protocol/ids';
import type { Batch, Entry, Subscribed } from '~/protocol/messages';

/** `Subscribed.status`: what became of the position that was asked for. */
export const Resume = { ok: 0, gap: 1, reset: 2 } as const;

/** How far a log has been received without a gap. (0, 0): nothing yet, of no generation. */
export interface Position {
    readonly generation: number;
    readonly offset: number;
}

export const NOWHERE: Position = Object.freeze({ generation: 0, offset: 0 });

export type FollowStep =
    /** Store these entries and `position` in one transaction, then show them. */
    | { readonly kind: 'take'; readonly entries: readonly Entry[]; readonly position: Position }
    /** Payloads behind `since` up to `floor` were pruned: say so; hashes follow in their place. */
    | { readonly kind: 'trimmed'; readonly since: number; readonly floor: number }
    /** The store's history is another one: drop the local copy, post again what it may have lost. */
    | { readonly kind: 'dropped'; readonly before: Position; readonly position: Position }
    /** Something was missed: send `Follower.subscribe()`. */
    | { readonly kind: 'again' }
    /** The head that the server named at subscription is reached; what follows is live. */
    | { readonly kind: 'caught_up'; readonly head: number };

/** One receiver of one log, from `position` on (restored from the receiver's own store). */
export class Follower {
    readonly channel: ChannelAddress;
    #position: Position;
    #awaiting = false;
    #live = false;
    #caughtUp = false;
    #head = 0;
    #beatenAt = -1;

    constructor(channel: ChannelAddress, position: Position = NOWHERE) {
        this.channel = channel;
        this.#position = position;
    }

    get position(): Position {
        return this.#position;
    }

    /** Whether the server confirmed the subscription on this socket and its head was reached. */
    get live(): boolean {
        return this.#live && this.#caughtUp;
    }

    /** The newest head that the server named; the log is known to reach at least this far. */
    get head(): number {
        return this.#head;
    }

    /** Where to ask from; put it into a `Subscribe`. Until its answer nothing asks again. */
    subscribe(): Position {
        this.#awaiting = true;
        return this.#position;
    }

    /** The socket is gone, and with it the subscription. Call `subscribe` on the next one. */
    onDisconnected(): void {
        this.#awaiting = false;
        this.#live = false;
        this.#caughtUp = false;
        this.#beatenAt = -1;
    }

    /** The subscription was refused; nothing is awaited any more. */
    onRefused(): void {
        this.#awaiting = false;
        this.#live = false;
    }

    /**
     * The server's answer, also one that nobody asked for (the generation changed under way). One that our position does
     * not fit is believed all the same: the server compared generations.
     */
    onSubscribed(
        answer: Pick<Subscribed, 'status' | 'generation' | 'head' | 'floor'>,
    ): readonly FollowStep[] {
        const steps: FollowStep[] = [];
        const before = this.#position;
        const foreign = before.generation !== 0 && before.generation !== answer.generation;
        const reset = answer.status === Resume.reset || foreign || before.offset > answer.head;
        const position = { generation: answer.generation, offset: reset ? 0 : before.offset };
        this.#awaiting = false;
        this.#live = true;
        this.#caughtUp = false;
        this.#beatenAt = -1;
        this.#head = answer.head;
        this.#position = position;
        // A receiver that had nothing has nothing to drop: for it, a reset is an ordinary beginning.
        if (reset && before.offset > 0) steps.push({ kind: 'dropped', before, position });
        if (answer.status === Resume.gap && position.offset < answer.floor) {
            steps.push({ kind: 'trimmed', since: position.offset, floor: answer.floor });
        }
        return [...steps, ...this.#reached()];
    }

    /** Entries of the range (after, to]: taken if they continue the position, else ignored or asked again. */
    onBatch(batch: Pick<Batch, 'after' | 'to' | 'entries'>): readonly FollowStep[] {
        const known = this.#position.offset;
        if (!this.#live || batch.to <= known) return [];
        if (batch.after > known) return this.#again();
        const entries = batch.entries.filter((entry) => known < entry.offset && entry.offset <= batch.to);
        let last = known;
        for (const entry of entries) {
            if (entry.offset <= last) return this.#again();
            last = entry.offset;
        }
        this.#position = { generation: this.#position.generation, offset: batch.to };
        this.#head = Math.max(this.#head, batch.to);
        return [{ kind: 'take', entries, position: this.#position }, ...this.#reached()];
    }

    /**
     * A heartbeat named the log's head. Beyond the position of a live follower it means a lost push; one that still
     * catches up is left alone as long as it moves.
     */
    onHead(head: number): readonly FollowStep[] {
        if (!this.#live || head <= this.#position.offset) return [];
        this.#head = Math.max(this.#head, head);
        if (this.#caughtUp || this.#beatenAt === this.#position.offset) return this.#again();
        this.#beatenAt = this.#position.offset;
        return [];
    }

    /**
     * A heartbeat did not name this log: the server pushes it no more, because the right to it was lost, or has not come
     * yet. It may be back: ask, unless an answer is still awaited.
     */
    onUnnamed(): readonly FollowStep[] {
        if (this.#awaiting) return [];
        this.#live = false;
        this.#caughtUp = false;
        return this.#again();
    }

    /** The caller itself had to throw a batch away: ask again once there is room. */
    onOverflow(): readonly FollowStep[] {
        return this.#live ? this.#again() : [];
    }

    #again(): readonly FollowStep[] {
        return this.#awaiting ? [] : [{ kind: 'again' }];
    }

    #reached(): readonly FollowStep[] {
        if (this.#caughtUp || this.#position.offset < this.#head) return [];
        this.#caughtUp = true;
        return [{ kind: 'caught_up', head: this.#head }];
    }
}
