/**
 * Emptying the outbox: one message at a time in each channel, in order, until each was answered.
 *
 * It seals what is composed, writes the exact frame down, publishes it, and acts on the answer: `accepted` ends it; `stale`
 * alone permits sealing anew; anything that may succeed later is repeated with the same bytes; a refusal for good is kept
 * for the person to see, and the next one's turn comes. One under way in a channel keeps order: nothing overtakes a
 * message that has to be sealed again. Spec chapter 03, "Publishing", and 05, "Sending again".
 */
import { ApiError, Offline } from '~/link/errors';
import { askedMs, backoffMs, type Reply } from '~/link/connection';
import { mayRetry, WireError, wireLabel } from '~/protocol/errors';
import type { ChannelAddress } from '~/protocol/ids';
import type { ClientMessage } from '~/protocol/messages';
import { SealingError } from '~/sealing/errors';
import type { Bytes } from '~/protocol/bytes';

import type { Draft, Outbox, Random, Waiting } from '../ports';
import { ChannelAlarmed, NotPermitted, Refused } from './errors';
import { type Life, Wake } from './life';

/** How long a channel that may not send waits before it looks again, unless something changes. */
const BLOCKED_MS = 30_000;
/** How long a message waits for its channel's commits to come over the link, before they are fetched. */
const CHAIN_WAIT_MS = 1_000;

/** How often a message that nothing wrote down is sealed anew. */
const NOW_ATTEMPTS = 4;

const WAIT_CODES: ReadonlySet<number> = new Set([
    WireError.token_expired,
    WireError.not_subscribed,
    WireError.pending,
    WireError.conflict,
]);

/** What sending needs of a channel. */
export interface SendingChannel {
    readonly epoch: number;
    /** Whether every commit that the server named on this link is here. */
    readonly isNewest: boolean;
    /** Fetch commits that are not here yet. Rejects with `ApiError`. */
    sync(): Promise<void>;
    /** Put right what keeps this device from sending, then seal in the newest epoch. */
    sealNow(draft: Draft): Promise<{ readonly frame: Bytes; readonly epoch: number }>;
}

/** Who is told how messages fare. */
export interface SendListener {
    accepted(draft: Draft, generation: number, offset: number): Promise<void>;
    refused(draft: Draft, code: number): void;
    /** Nothing goes out here for now; the code says why, empty: it goes again. */
    blocked(log: ChannelAddress, why: string): void;
}

export class Sending {
    private online = false;
    private readonly awake = new Map<ChannelAddress, Wake>();

    constructor(
        private readonly life: Life,
        private readonly outbox: Outbox,
        private readonly request: (build: (req: number) => ClientMessage) => Promise<Reply>,
        private readonly channelOf: (log: ChannelAddress) => SendingChannel | null,
        private readonly listener: SendListener,
        private readonly random: Random,
    ) {}

    /** Something waits in this channel, or what kept it from sending may have changed. */
    nudge(log: ChannelAddress): void {
        const awake = this.awake.get(log);
        if (awake !== undefined) {
            awake.set();
            return;
        }
        const wake = new Wake(this.life);
        this.awake.set(log, wake);
        this.life.begin(() => this.empty(log, wake));
    }

    /** Look again everywhere. */
    nudgeAll(): void {
        this.life.begin(async () => {
            for (const log of await this.outbox.channels()) this.nudge(log);
        });
    }

    /**
     * Say a message that nothing wrote down, for a device whose store is full: now, or not at all. Resolves when the server
     * has it. Rejects with `Offline`, `Refused`, and with whatever keeps this device from sending.
     */
    async now(draft: Draft): Promise<void> {
        const channel = this.channelOf(draft.channel);
        if (channel === null) throw new Refused(WireError.not_found);
        if (!this.online) throw new Offline();
        for (let attempt = 1; ; attempt++) {
            if (!channel.isNewest) await channel.sync();
            const { frame } = await channel.sealNow(draft);
            const reply = await this.publish(draft, frame);
            if (reply.kind === 'accepted') return;
            if (reply.kind !== 'refused') throw new Offline();
            if (reply.error !== WireError.stale || attempt >= NOW_ATTEMPTS) throw new Refused(reply.error);
            await channel.sync();
        }
    }

    setOnline(online: boolean): void {
        this.online = online;
        if (online) {
            for (const wake of this.awake.values()) wake.set();
            this.nudgeAll();
        }
    }

    /** Until nothing waits in this channel any more. */
    private async empty(log: ChannelAddress, wake: Wake): Promise<void> {
        let attempt = 0;
        try {
            for (;;) {
                const waiting = await this.outbox.first(log);
                this.life.check();
                if (waiting === null) break;
                if (!this.online) {
                    await wake.wait();
                    attempt = 0;
                    continue;
                }
                // Of a full store: what was written is sent with the same bytes again, the rest waits for space.
                const done = await this.life.untilWritten(() => this.turn(log, wake, waiting, attempt));
                attempt = done ? 0 : attempt + 1;
            }
        } finally {
            this.awake.delete(log);
        }
        // A message may have come in between the last look and the goodbye.
        if ((await this.outbox.first(log)) !== null) this.nudge(log);
    }

    /** One try. True when the next message's turn has come, or this one may go again at once. */
    private async turn(log: ChannelAddress, wake: Wake, waiting: Waiting, attempt: number): Promise<boolean> {
        const channel = this.channelOf(log);
        if (channel === null || channel.epoch < 0) {
            await wake.wait(BLOCKED_MS);
            return false;
        }
        if (waiting.frame === null && attempt === 0 && !channel.isNewest) {
            // Who was let in while this device was away shall read what it sends now.
            await wake.wait(CHAIN_WAIT_MS);
            return false;
        }
        try {
            const done = await this.send(channel, wake, waiting, attempt);
            this.listener.blocked(log, '');
            return done;
        } catch (error) {
            this.life.check();
            return await this.failed(error, log, wake, waiting, attempt);
        }
    }

    private async failed(
        error: unknown,
        log: ChannelAddress,
        wake: Wake,
        waiting: Waiting,
        attempt: number,
    ): Promise<boolean> {
        if (error instanceof Offline) {
            await wake.wait(backoffMs(attempt, this.random));
        } else if (error instanceof ChannelAlarmed) {
            this.listener.blocked(log, error.code);
            await wake.wait(BLOCKED_MS);
        } else if (error instanceof NotPermitted || error instanceof SealingError) {
            await this.refuse(waiting, WireError.forbidden);
            return true;
        } else if (error instanceof Refused) {
            this.listener.blocked(log, wireLabel(error.code));
            await wake.wait(BLOCKED_MS);
        } else if (error instanceof ApiError) {
            await wake.wait(Math.max(askedMs(error.retryMs), backoffMs(attempt, this.random)));
        } else {
            throw error;
        }
        return false;
    }

    private async send(
        channel: SendingChannel,
        wake: Wake,
        waiting: Waiting,
        attempt: number,
    ): Promise<boolean> {
        const { draft } = waiting;
        const frame = waiting.frame ?? (await this.seal(channel, draft));
        if (frame === null) return true;
        const { id } = draft;
        const reply = await this.publish(draft, frame);
        this.life.check();
        if (reply.kind === 'accepted') {
            await this.outbox.accept(id, reply.offset, reply.generation);
            await this.listener.accepted(draft, reply.generation, reply.offset);
            return true;
        }
        if (reply.kind !== 'refused') throw new Offline();
        if (reply.error === WireError.stale) {
            await this.outbox.unseal(id, frame);
            await channel.sync();
            if (attempt > 0) await wake.wait(backoffMs(attempt, this.random));
            return false;
        }
        if (mayRetry(reply.error) || WAIT_CODES.has(reply.error)) {
            await wake.wait(Math.max(askedMs(reply.retryMs), backoffMs(attempt, this.random)));
            return false;
        }
        await this.refuse(waiting, reply.error);
        return true;
    }

    private async publish(draft: Draft, payload: Bytes): Promise<Reply> {
        const { channel, lane, key, id, urgency, mark } = draft;
        return await this.request((req) => ({
            kind: 'publish',
            req,
            channel,
            lane,
            key,
            id,
            payload,
            urgency,
            mark,
        }));
    }

    /** The frame to send, written down; null when the message was taken back meanwhile. */
    private async seal(channel: SendingChannel, draft: Draft): Promise<Bytes | null> {
        if (!channel.isNewest) await channel.sync();
        let sealed;
        try {
            sealed = await channel.sealNow(draft);
        } catch (error) {
            if (!(error instanceof NotPermitted)) throw error;
            // For good is judged on the newest chain only: this device may have been let in a commit later.
            await channel.sync();
            sealed = await channel.sealNow(draft);
        }
        this.life.check();
        return await this.outbox.seal(draft.id, sealed.frame, sealed.epoch);
    }

    private async refuse(waiting: Waiting, code: number): Promise<void> {
        await this.outbox.refuse(waiting.draft.id, code);
        this.listener.refused(waiting.draft, code);
    }
}
