/**
 * A member's view of one channel: its verified chain, and the secrets it holds of it.
 *
 * Everything that may change a channel's state goes through `SealedChannel`, and is all or nothing. WebCrypto answers
 * later, so calls overlap: each verifies and computes first and then changes the state in one step that waits for
 * nothing. Commits are taken one after the other, in the order of the calls. Spec 04, "Channels and epochs".
 */

import type { ChannelId, DeviceId } from '~/protocol/ids';
import { SealingError, refuse } from '../errors';
import { InTurn } from '../in-turn';
import {
    ChannelLine,
    type Directories,
    REPLAY,
    type Receipt,
    certificateFor,
    verifyCommit,
} from '../public/acceptance';
import {
    type Commit,
    type CommitReason,
    REASON_MEMBER,
    REASON_PERIODIC,
    REASON_REVOKE,
    type RosterEntry,
    getsEpochSecret,
    parseCommit,
    rosterEntry,
} from '../public/commit';
import { NO_KID } from '../public/device-key';
import { type Bytes, type Hex, hex } from '../public/encoding';
import { CAP_SEND, DURABLE, EPHEMERAL, MEDIA } from '../public/entries';
import { type LogHead, type Seen, SeenLog } from '../public/seen';
import type { Signed } from '../public/signed';
import type { Body } from './body';
import type { OpenedBox } from './boxes';
import { type Alarm, type Delivery, openDelivery } from './delivery';
import { FrameReceiver, FrameSender, type OpenedFrame, SID_BYTES } from './frames';
import { decodeEpoch, decodeHead, encodeEpoch, encodeHead } from './kept';
import type { DeviceKeys } from './keys';
import { type Random, secureRandom } from './random';
import { type ClassSecrets, checkCommitments } from './schedule';
import { type StaleMember, staleMembersOf } from './stale';
import { type Unsaved, UnsavedRecords } from './unsaved';

export const REKEY_MS = 4 * 3_600_000;
export const REKEY_MESSAGES = 2 ** 16;
/** How long ephemeral and media secrets outlive their epoch. */
export const SHORT_LIVED_MS = 60_000;
export const REKEY_STEP_MS = 300;
/** How many of the last log heads are kept: a claim about an older one is compared by the next, which covers it. */
const KEPT_SEEN = 256;

/** A commit became the head. `dormant`: it has no box, because no valid DeviceKey was out. */
export interface Installed {
    readonly commit: Commit;
    readonly opened: boolean;
    readonly dormant: boolean;
    readonly alarm: Alarm | null;
}

/** One channel on one device. Owned by one caller; what it exports is secret. */
export class SealedChannel {
    readonly deviceId: DeviceId;
    readonly line: ChannelLine;
    #seen = new SeenLog();
    #evidence: readonly [Signed, Signed] | null = null;
    #chain: Bytes | null = null;
    /** Durable messages of the newest epoch. */
    #messages = 0;
    readonly #secrets = new Map<number, Map<number, Bytes>>();
    /** When an epoch was over, by epoch, for those of which something is held. */
    readonly #endedMs = new Map<number, number>();
    readonly #receiver: FrameReceiver;
    /** By class, of the newest epoch. */
    readonly #senders = new Map<number, FrameSender>();
    readonly #unsaved = new UnsavedRecords();
    readonly #turn = new InTurn();

    constructor(channelId: ChannelId, deviceId: DeviceId) {
        this.deviceId = deviceId;
        this.line = new ChannelLine(channelId);
        this.#receiver = new FrameReceiver(this.line, this.#secrets);
    }

    // ---- looking

    get channelId(): ChannelId {
        return this.line.channelId;
    }

    /** The newest commit; `E_STATE` before genesis. */
    get head(): Commit {
        return this.line.head ?? refuse('E_STATE', 'no commit yet');
    }

    /** What the next commit mixes in; for the committer alone. */
    get chain(): Bytes | null {
        return this.#chain;
    }

    /** This device's own entry in the newest roster. */
    get entry(): RosterEntry | null {
        return this.line.head && rosterEntry(this.line.head, this.deviceId);
    }

    /** What this member has seen of the log; `sawEntry` adds to it. */
    get seen(): Pick<SeenLog, 'head' | 'kept' | 'compare'> {
        return this.#seen;
    }

    /** Two signed branches, when there are: this channel is stopped for good. */
    get forkEvidence(): readonly [Signed, Signed] | null {
        return this.#evidence;
    }

    /** The class secrets held of an epoch: a copy, empty when none. */
    secrets(epoch: number): ClassSecrets {
        return new Map(this.#secrets.get(epoch));
    }

    epochsHeld(keyClass: number = DURABLE): readonly number[] {
        const held = [...this.#secrets].filter(([, secrets]) => secrets.has(keyClass));
        return held.map(([epoch]) => epoch).sort((a, b) => a - b);
    }

    /** Who in the roster is revoked or expired by the *newest* directories. */
    staleMembers(directories: Directories, nowMs: number): readonly StaleMember[] {
        return staleMembersOf(this.head, directories, nowMs);
    }

    /**
     * Refuse to seal to a roster that is no longer right.
     *
     * `E_FORK`: stop here, alarm, voice, a new channel. `E_AUTHZ`: not a member, or may not. `E_REVOKED`, `E_EXPIRED`,
     * `E_UNKNOWN_DEVICE` or `E_RECORDS`: commit the removal, then send; nobody waits for someone else. `E_NO_KEY`: ask
     * for a re-seal, or commit.
     */
    canSend(directories: Directories, nowMs: number, keyClass: number = DURABLE): void {
        const { head, entry } = this;
        if (this.#evidence !== null) refuse('E_FORK', 'two branches of this channel');
        if (entry === null || !((entry.classMask >> keyClass) & 1)) {
            return refuse('E_AUTHZ', 'not a member for this class');
        }
        if (entry.guest === null) {
            const certificate = certificateFor(directories, entry.agencyId, this.deviceId);
            if (!((certificate?.caps ?? 0) & CAP_SEND)) refuse('E_AUTHZ', 'may not send');
        }
        for (const stale of this.staleMembers(directories, nowMs)) {
            refuse(stale.code, 'a recipient is revoked or expired: commit first');
        }
        if (!this.#secrets.get(head.epoch)?.has(keyClass)) refuse('E_NO_KEY', 'no secret of this epoch');
    }

    /**
     * Why the next epoch is due, if it is: a stale recipient, four hours, 2^16 messages, or no secrets of an epoch that
     * this device is a member of.
     */
    needsRekey(directories: Directories, nowMs: number): CommitReason | null {
        const { head, entry } = this;
        if (entry === null || !getsEpochSecret(entry)) return null;
        const stale = this.staleMembers(directories, nowMs);
        if (stale.some(({ code }) => code === 'E_REVOKED' || code === 'E_RECORDS')) return REASON_REVOKE;
        if (stale.length > 0) return REASON_MEMBER;
        const old = nowMs - head.tsMs >= REKEY_MS || this.#messages >= REKEY_MESSAGES;
        return old || !this.#secrets.get(head.epoch)?.size ? REASON_PERIODIC : null;
    }

    /** How long to wait before committing what anyone may: own rank among those online x 300 ms. */
    rekeyDelayMs(online: ReadonlySet<DeviceId>, jitterMs: number): number {
        const before = this.head.roster.filter(
            (e) => getsEpochSecret(e) && e.deviceId < this.deviceId && online.has(e.deviceId),
        );
        return before.length * REKEY_STEP_MS + jitterMs;
    }

    // ---- commits

    /**
     * Verify the next commit, open one's own box, and make it the head.
     *
     * `receipt` is with a clock on live receipt; `REPLAY` for stored history. Refuses as `verifyCommit` does, and then
     * nothing changed, except that `E_FORK` keeps both signed branches in `forkEvidence` and stops sending. A missing or
     * bad box does not refuse: the chain advances without secrets, and `alarm` says so.
     */
    processCommit(
        signed: Signed,
        delivery: Delivery,
        keys: DeviceKeys,
        directories: Directories,
        { nowMs, receipt = REPLAY }: { readonly nowMs: number; readonly receipt?: Receipt },
    ): Promise<Installed> {
        return this.#turn.run(async () => {
            const commit = await this.#verify(signed, directories, receipt);
            const entry = rosterEntry(commit, this.deviceId);
            const dormant = entry?.kid === NO_KID;
            const { opened, alarm } =
                entry === null || dormant
                    ? NOTHING_DUE
                    : await openDelivery(commit, entry, delivery, keys, directories);
            this.#install(commit, opened, nowMs);
            return { commit, opened: opened !== null, dormant, alarm };
        });
    }

    async #verify(signed: Signed, directories: Directories, receipt: Receipt): Promise<Commit> {
        try {
            return await verifyCommit(this.line, signed, directories, receipt);
        } catch (error) {
            if (error instanceof SealingError && error.code === 'E_FORK') {
                const standing = this.line.commits.get((await parseCommit(signed)).epoch);
                if (standing !== undefined) this.#evidence = [standing.signed, signed];
                this.#unsaved.head();
            }
            throw error;
        }
    }

    #install(commit: Commit, opened: OpenedBox | null, nowMs: number): void {
        const before = this.line.head;
        this.line.install(commit);
        if (before !== null) {
            this.#endedMs.set(before.epoch, nowMs);
            this.#unsaved.epoch(before.epoch);
        }
        this.#chain = opened?.chain ?? null;
        if (opened !== null) this.#secrets.set(commit.epoch, new Map(opened.classes));
        this.#senders.clear();
        this.#messages = 0;
        this.#unsaved.head();
        this.#unsaved.epoch(commit.epoch);
        this.forgetShortLived(nowMs);
    }

    /** Take granted secrets, each held against the commitment signed then (`E_COMMITMENT`); all of them or none. */
    async addSecrets(granted: ReadonlyMap<number, ClassSecrets>): Promise<void> {
        for (const [epoch, secrets] of granted) {
            const commit = this.line.commits.get(epoch) ?? refuse('E_UNKNOWN_EPOCH', 'commit not known here');
            await checkCommitments(commit, secrets);
        }
        for (const [epoch, secrets] of granted) {
            this.#secrets.set(epoch, new Map([...(this.#secrets.get(epoch) ?? []), ...secrets]));
            this.#unsaved.epoch(epoch);
        }
    }

    // ---- frames

    /** The frame of a body in the newest epoch; refuses as `canSend` does. */
    async seal(
        body: Body,
        keys: DeviceKeys,
        directories: Directories,
        options: { readonly nowMs: number; readonly keyClass?: number; readonly random?: Random },
    ): Promise<Bytes> {
        const { nowMs, keyClass = DURABLE, random = secureRandom } = options;
        this.canSend(directories, nowMs, keyClass);
        const { head } = this;
        let sender = this.#senders.get(keyClass);
        if (sender === undefined) {
            const sid = hex(random(SID_BYTES));
            const secrets = this.secrets(head.epoch);
            sender = new FrameSender(keys.identity, this.deviceId, head, secrets, { keyClass, sid });
            this.#senders.set(keyClass, sender);
        }
        const frame = await sender.seal(body);
        if (keyClass === DURABLE) this.#count(head.epoch);
        return frame;
    }

    /** The verified content of a frame; see `FrameReceiver.open`. */
    async open(
        frame: Bytes,
        directories: Directories,
        options: { readonly again?: boolean } = {},
    ): Promise<OpenedFrame> {
        const opened = await this.#receiver.open(frame, directories, options);
        if (options.again !== true) {
            const { keyClass, epoch } = opened.header;
            this.#unsaved.epoch(epoch);
            if (keyClass === DURABLE) this.#count(epoch);
            else this.#unsaved.head();
        }
        return opened;
    }

    #count(epoch: number): void {
        if (epoch !== this.line.epoch) return;
        this.#messages++;
        this.#unsaved.head();
    }

    /** Take the next log entry of the channel into the running hash; see `SeenLog.append`. */
    async sawEntry(seq: number, frameHash: Hex): Promise<LogHead> {
        const head = await this.#seen.append(seq, frameHash);
        this.#unsaved.head();
        return head;
    }

    /** Start the running hash where a commit says: a joiner's at the `seen` of the commit that admitted it. */
    startSeen(at: LogHead): void {
        this.#seen = new SeenLog(at);
        this.#unsaved.head();
    }

    /** Compare a member's claim about the log; `E_LOG_FORK` is the fork alarm. */
    compareSeen(claim: LogHead): Seen {
        return this.#seen.compare(claim);
    }

    // ---- forgetting

    /**
     * Delete ephemeral and media secrets of epochs that ended 60 s ago or more; how many.
     *
     * Call it once a minute; each commit calls it too.
     */
    forgetShortLived(nowMs: number): number {
        let gone = 0;
        for (const [epoch, endedMs] of this.#endedMs) {
            const secrets = this.#secrets.get(epoch);
            if (endedMs + SHORT_LIVED_MS > nowMs) continue;
            this.#endedMs.delete(epoch);
            for (const keyClass of [EPHEMERAL, MEDIA]) if (secrets?.delete(keyClass)) gone++;
            this.#unsaved.epoch(epoch);
        }
        if (gone > 0) this.#receiver.forgetKeys();
        return gone;
    }

    /** Delete all secrets of epochs before `beforeEpoch` (retention); of how many epochs. */
    forgetDurable(beforeEpoch: number): number {
        const gone = [...this.#secrets.keys()].filter((epoch) => epoch < beforeEpoch);
        for (const epoch of gone) this.#forget(epoch);
        this.#receiver.forgetKeys();
        return gone.length;
    }

    /** Delete every secret: the incident's keys were archived, or this device was removed. */
    forgetAll(): void {
        for (const epoch of [...this.#secrets.keys()]) this.#forget(epoch);
        this.#chain = null;
        this.#senders.clear();
        this.#receiver.forgetKeys();
        this.#unsaved.head();
    }

    #forget(epoch: number): void {
        this.#secrets.delete(epoch);
        this.#endedMs.delete(epoch);
        this.#unsaved.epoch(epoch);
    }

    // ---- keeping

    /**
     * The records that changed since they were last saved: write them in one transaction, then call `saved` with what
     * was given here. What changes in between stays unsaved.
     */
    unsaved(): Unsaved {
        return this.#unsaved.collect(
            () => this.exportHead(),
            (epoch) => this.exportEpoch(epoch),
        );
    }

    saved(written: Unsaved): void {
        this.#unsaved.saved(written);
    }

    /** The small record; senders are not in it: after a restart each starts anew with a random sid. */
    exportHead(): Bytes {
        const { head } = this.line;
        return encodeHead({
            channelId: this.channelId,
            deviceId: this.deviceId,
            newest: head && { epoch: head.epoch, hash: head.hash },
            chain: this.#chain,
            messages: this.#messages,
            evidence: this.#evidence,
            seen: this.#seen.kept().slice(-KEPT_SEEN),
            ephemeral: this.#receiver.replay.exportNewest(),
        });
    }

    /** The record of one epoch; `E_UNKNOWN_EPOCH`. */
    exportEpoch(epoch: number): Bytes {
        const commit = this.line.commits.get(epoch) ?? refuse('E_UNKNOWN_EPOCH', 'commit not known here');
        return encodeEpoch({
            channelId: this.channelId,
            epoch,
            signed: commit.signed,
            secrets: this.#secrets.get(epoch) ?? new Map<number, Bytes>(),
            endedMs: this.#endedMs.get(epoch) ?? null,
            windows: this.#receiver.replay.exportEpoch(epoch),
        });
    }

    /**
     * A channel from its records, which the caller's store kept sealed and whole.
     *
     * Of the epochs the newest two must be among them, to tell a fork from noise; others may be given later, by `recall`,
     * when a frame of theirs is to be read or a commit of their time comes again (`E_CHAIN`). `E_ENCODING` for what is no
     * record, `E_STATE` for records that do not belong together.
     */
    static async restore(head: Bytes, epochs: Iterable<Bytes>): Promise<SealedChannel> {
        const kept = decodeHead(head);
        const channel = new SealedChannel(kept.channelId, kept.deviceId);
        for (const record of epochs) await channel.recall(record);
        if (kept.newest !== null && channel.line.head?.hash !== kept.newest.hash) {
            refuse('E_STATE', 'the newest epoch is missing');
        }
        if (kept.newest === null && channel.line.head !== null) refuse('E_STATE', 'an epoch too many');
        if (channel.line.epoch > 0 && !channel.line.commits.has(channel.line.epoch - 1)) {
            refuse('E_STATE', 'the epoch before the newest is missing');
        }
        channel.#chain = kept.chain;
        channel.#messages = kept.messages;
        channel.#evidence = kept.evidence;
        channel.#seen = SeenLog.restore(kept.seen);
        channel.#receiver.replay.restoreNewest(kept.ephemeral);
        channel.#unsaved.clear();
        return channel;
    }

    /** Take an epoch's record back in; the epoch. Nothing changes when it is here already. */
    async recall(record: Bytes): Promise<number> {
        const kept = decodeEpoch(record);
        const commit = await parseCommit(kept.signed);
        const { epoch } = commit;
        if (commit.channelId !== this.channelId || epoch !== kept.epoch) refuse('E_STATE', 'another channel');
        const [before, after] = [this.line.commits.get(epoch - 1), this.line.commits.get(epoch + 1)];
        const follows = before === undefined || before.hash === commit.prevHash;
        if (!follows || (after !== undefined && after.prevHash !== commit.hash)) {
            refuse('E_STATE', 'epochs that do not follow each other');
        }
        if (this.line.commits.has(epoch)) return epoch;
        this.#receiver.replay.restoreEpoch(epoch, kept.windows);
        this.line.install(commit);
        if (kept.secrets.size > 0) this.#secrets.set(epoch, new Map(kept.secrets));
        if (kept.endedMs !== null) this.#endedMs.set(epoch, kept.endedMs);
        return epoch;
    }
}

const NOTHING_DUE = { opened: null, alarm: null };
