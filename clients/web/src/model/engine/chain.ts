/**
 * One sealed channel on this device: its verified chain of members and keys, what it opens, what it may send.
 *
 * `SealedChannel` (sealing's) decides and holds secrets; this feeds it: fetches boxes and missing commits, replays what
 * the log brings, commits when this device must, and turns every broken rule into an alarm. Whoever sends next cleans up
 * first: a revoked or expired device is dropped by a commit of the sender's own before anything is sealed, so nobody waits
 * for somebody else. Two commits for one epoch cannot both stand: the server stores one, and the loser adopts it and
 * makes its change again if it is still missing.
 *
 * All that changes the chain goes through one queue, so that what is awaited in between cannot be overtaken.
 *
 * A server may say of a missing box that retention took it, because nothing of its epoch is kept (spec 04, "Boxes"). That
 * word is taken until it is seen to be false: a frame of that epoch, or its keys needed for sending, raise the alarm.
 */
import { ApiError } from '~/link/errors';
import type { Bytes } from '~/protocol/bytes';
import { WireError } from '~/protocol/errors';
import { address, type ChannelAddress, type ChannelId, type DeviceId } from '~/protocol/ids';
import type { Entry } from '~/protocol/messages';
import { pack, unpack } from '~/protocol/pack';
import { type CommitPost, commitPost as commitPostField } from '~/protocol/resources';
import { SealingError, type SealingCode } from '~/sealing/errors';
import type { Body } from '~/sealing/opening/body';
import { type Installed, SealedChannel } from '~/sealing/opening/channel';
import { boxFor, type Change, Committer, type MadeCommit } from '~/sealing/opening/committer';
import type { Delivery } from '~/sealing/opening/delivery';
import { live as liveReceipt, REPLAY } from '~/sealing/public/acceptance';
import { type CommitReason, parseCommit, REASON_MEMBER } from '~/sealing/public/commit';
import { hex } from '~/sealing/public/encoding';
import { DURABLE } from '~/sealing/public/entries';
import { LOG_START } from '~/sealing/public/seen';
import { decodeSigned, type Signed } from '~/sealing/public/signed';

import type { AlarmKind } from '../engine';
import type { Draft } from '../ports';
import { ChannelAlarmed, NotPermitted, Refused } from './errors';
import { Grants } from './grants';
import type { Home } from './home';
import { noteOfNumbers, readNumbers } from './notes';
import { Opener } from './opener';
import { Queue } from './queue';
import type { Reading } from './reading';
import { Sealer } from './sealer';

export const COMMIT_ATTEMPTS = 8;
const BOXES_PAGE = 500;

const ALARM_KINDS: Partial<Record<SealingCode, AlarmKind>> = {
    E_FORK: 'fork',
    E_DIR_FORK: 'directory_fork',
    E_DIR_BEHIND: 'withheld',
};

/** What the server says of a commit that was made on an older view than its own. */
const STALE_VIEWS: ReadonlySet<string> = new Set(['E_DIR_BEHIND', 'E_REVOKED', 'E_DEVKEY', 'E_CHAIN']);
const NO_DELIVERY: Delivery = { box: null, boxList: null };

export class Chain {
    readonly contentLog: ChannelAddress;
    readonly epochsLog: ChannelAddress;
    readonly grantsLog: ChannelAddress;
    /** All that changes the chain, one after the other. */
    readonly queue = new Queue();
    private readonly opener: Opener;
    private readonly sealer: Sealer;
    private readonly grants: Grants;
    private broken = '';
    private looking = '';
    /** Whether what was installed is on disk: the store may have been full. */
    private kept = true;
    private readonly forgotten = new Set<number>();

    private constructor(
        readonly id: ChannelId,
        readonly sealed: SealedChannel,
        private readonly home: Home,
        private readonly changed: (installed: Installed) => void,
        private unboxed: ReadonlySet<number>,
    ) {
        this.contentLog = address('content', id);
        this.epochsLog = address('epochs', id);
        this.grantsLog = address('grants', id);
        this.opener = new Opener(this, home);
        this.sealer = new Sealer(this, home);
        this.grants = new Grants(this, home);
    }

    /** From the local copy; empty before its genesis was received. `changed` hears of every commit. */
    static async restore(id: ChannelId, home: Home, changed: (installed: Installed) => void): Promise<Chain> {
        const { history } = home;
        const sealed = await restoreSealed(id, home);
        const unboxed = new Set(readNumbers(await history.note(unboxedNote(id))));
        return new Chain(id, sealed, home, changed, unboxed);
    }

    /** The newest epoch verified here; -1 before genesis. */
    get epoch(): number {
        return this.sealed.line.epoch;
    }

    /** Who can read: the devices of the newest roster, records keys not included. */
    get roster(): DeviceId[] {
        return this.sealed.line.head?.roster.map((entry) => entry.deviceId) ?? [];
    }

    /** Whether this device is in the newest roster. */
    get member(): boolean {
        return this.sealed.entry !== null;
    }

    /** The running hash of the log lane, as far as it was received. */
    get seen(): SealedChannel['seen']['head'] {
        return this.sealed.seen.head;
    }

    /** Why nothing is sent here until a person decided; empty when all is well. */
    get stopped(): string {
        if (this.sealed.forkEvidence !== null) return 'E_FORK';
        const { directories } = this.home;
        if (directories.forked) return 'E_DIR_FORK';
        if (this.roster.some((device) => directories.ghosts.has(device))) return 'ghost_device';
        return this.broken !== '' ? this.broken : this.looking;
    }

    // ---- commits

    /** Commits that the log brought. Rejects with `ApiError` when boxes cannot be fetched: take them again. */
    async takeEpochs(entries: readonly Entry[], live: boolean): Promise<void> {
        const commits = entries
            .filter((entry) => entry.payload.length > 0)
            .map((entry) => ({ epoch: entry.offset - 1, data: entry.payload }));
        await this.queue.run(() => this.installAll(commits, live));
    }

    /** Fetch commits that are not here yet, over HTTP. Rejects with `ApiError`. */
    async sync(): Promise<void> {
        await this.queue.run(() => this.fetch());
    }

    /**
     * A commit was refused, and a person wants to go on: fetch the chain anew from the last epoch that holds. When what the
     * server shows now does not hold either, it stays stopped, and the alarm was raised again. Rejects with `ApiError`, and
     * then nothing changed. A fork stays one: two signed branches do not go away.
     */
    async lookAgain(): Promise<void> {
        await this.queue.run(async () => {
            this.looking = this.broken;
            this.broken = '';
            try {
                await this.fetch();
            } catch (error) {
                if (this.broken === '') this.broken = this.looking;
                throw error;
            } finally {
                this.looking = '';
            }
        });
    }

    private async fetch(): Promise<void> {
        for (;;) {
            const before = this.epoch;
            const batch = await this.home.api.log(this.epochsLog, before + 1);
            const commits = batch.entries
                .filter((entry) => entry.payload.length > 0)
                .map((entry) => ({ epoch: entry.offset - 1, data: entry.payload }));
            await this.installAll(commits, false);
            if (this.epoch === before) return;
        }
    }

    private async installAll(
        commits: readonly { epoch: number; data: Bytes }[],
        live: boolean,
    ): Promise<void> {
        const fresh = commits.filter(({ epoch }) => epoch > this.epoch);
        const [first] = fresh;
        const boxes =
            first === undefined ? new Map<number, Delivery>() : await this.boxes(first.epoch, fresh.length);
        try {
            for (const { epoch, data } of commits) {
                let signed: Signed;
                try {
                    signed = decodeSigned(data);
                } catch (error) {
                    await this.refuse(sealingError(error));
                    break;
                }
                if (await this.install(signed, boxes.get(epoch) ?? NO_DELIVERY, live)) this.kept = false;
                if (this.broken !== '') break;
            }
        } finally {
            // What was installed is kept even when what follows cannot be fetched now: the next try finds it here.
            if (!this.kept) await this.keep();
        }
    }

    private async boxes(fromEpoch: number, count: number): Promise<Map<number, Delivery>> {
        const found = new Map<number, Delivery>();
        while (count > 0) {
            let page;
            try {
                page = await this.home.api.boxes(this.id, fromEpoch, Math.min(count, BOXES_PAGE));
            } catch (error) {
                if (!(error instanceof ApiError) || !error.told || !isGone(error.number)) throw error;
                // Removed meanwhile: the chain is still verified, without secrets.
                return found;
            }
            for (const { epoch, box, boxHashes, boxListSignature } of page) {
                const boxList = { hashes: boxHashes, signature: boxListSignature };
                found.set(epoch, { box, boxList });
                if (box === null && boxHashes.length === 0 && boxListSignature.length === 0) {
                    this.forgotten.add(epoch);
                }
            }
            const last = page.at(-1);
            if (last === undefined) break;
            fromEpoch = last.epoch + 1;
            count -= page.length;
        }
        return found;
    }

    /** Process one commit; false when it stood already or was refused (which is reported). */
    private async install(signed: Signed, delivery: Delivery, live: boolean): Promise<boolean> {
        const { home } = this;
        let receivedMs = live ? home.nowMs() : null;
        for (let fetched = false; ;) {
            try {
                const nowMs = home.nowMs();
                const receipt = receivedMs === null ? REPLAY : liveReceipt(receivedMs);
                const installed = await this.sealed.processCommit(
                    signed,
                    delivery,
                    home.keys,
                    home.directories.byAgency,
                    { nowMs, receipt },
                );
                await this.installed(installed);
                return true;
            } catch (caught) {
                const error = sealingError(caught);
                if (error.code === 'E_DUPLICATE') return false;
                if (error.code === 'E_DIR_BEHIND' && !fetched) {
                    fetched = true;
                    await home.directories.sync();
                } else if (
                    error.code === 'E_CLOCK' &&
                    receivedMs !== null &&
                    (await madeMs(signed)) < receivedMs
                ) {
                    // A push that was under way for long (this machine slept) is history by now; as such it has no clock.
                    receivedMs = null;
                } else {
                    await this.refuse(error);
                    return false;
                }
            }
        }
    }

    private async installed(installed: Installed): Promise<void> {
        const { alarm, commit } = installed;
        this.opener.claim(commit.committer, commit.seen);
        if (alarm !== null) {
            if (alarm.code === 'E_BOX' && this.forgotten.has(alarm.epoch)) {
                await this.keepUnboxed(new Set([...this.unboxed, alarm.epoch]));
            } else {
                this.withheld(alarm.code);
            }
        }
        this.changed(installed);
    }

    /** The keys of an epoch are wanted and not held: an alarm when the server said that nobody needs them. */
    async missed(epoch: number): Promise<void> {
        if (!this.unboxed.has(epoch)) return;
        await this.keepUnboxed(new Set([...this.unboxed].filter((one) => one !== epoch)));
        this.withheld('E_BOX');
    }

    private async keepUnboxed(epochs: ReadonlySet<number>): Promise<void> {
        await this.home.history.keepNotes(new Map([[unboxedNote(this.id), noteOfNumbers(epochs)]]));
        this.unboxed = epochs;
    }

    /** Keys that the server should have given are not there, or do not hold. */
    withheld(code: string): void {
        this.home.report({ channel: this.id, kind: 'withheld', code, stopsSending: false });
    }

    /** A commit breaks a rule. The chain cannot go on here, so nothing may be sealed to its old members. */
    private async refuse(error: SealingError): Promise<void> {
        this.broken = error.code;
        // Both branches, before anything else: no crash takes the evidence, nor the stop.
        try {
            if (error.code === 'E_FORK') await this.keep();
        } finally {
            const kind = ALARM_KINDS[error.code] ?? 'refused_commit';
            this.home.report({ channel: this.id, kind, code: error.code, stopsSending: true });
        }
    }

    // ---- what this device commits

    /**
     * Commit what `plan` asks for, on whatever head there is then. False when nothing was left to do.
     *
     * Rejects with `ChannelAlarmed`, `NotPermitted`, `Refused`, and with `ApiError` when the server cannot be reached:
     * whether the commit stands is then unknown, and the log will tell.
     */
    async commit(plan: () => Change | null | Promise<Change | null>): Promise<boolean> {
        return await this.queue.run(async () => {
            for (let attempt = 0; attempt < COMMIT_ATTEMPTS; attempt++) {
                this.checkAlarms();
                const change = await plan();
                if (change === null) return false;
                await this.missed(this.epoch);
                if (await this.post(change)) return true;
            }
            throw new Refused(WireError.conflict);
        });
    }

    private async post(change: Change): Promise<boolean> {
        const { home } = this;
        await home.directories.sync();
        await home.directories.learnKeys();
        let made: MadeCommit;
        try {
            made = await committer(home).commit(this.sealed, change, home.nowMs());
        } catch (error) {
            throw new NotPermitted(sealingError(error).code);
        }
        const post = commitPost(made);
        try {
            await home.api.postCommit(this.id, post);
        } catch (error) {
            if (!(error instanceof ApiError)) throw error;
            return await this.lost(error);
        }
        await home.history.keepPosted(this.id, made.commit.epoch, pack(commitPostField.write(post)));
        if (await this.install(made.commit.signed, deliveryOf(made, home.keys.deviceId), false))
            await this.keep();
        return true;
    }

    /** Another commit was first, or the server knows more than we do: adopt it and say "not yet". */
    private async lost(error: ApiError): Promise<boolean> {
        if (
            error.number === WireError.conflict ||
            error.number === WireError.stale ||
            STALE_VIEWS.has(error.sealingCode)
        ) {
            await this.home.directories.sync();
            await this.fetch();
            return false;
        }
        if (error.mayRetry) throw error;
        throw new Refused(error.number, error.sealingCode);
    }

    /** Let certified devices of this agency in. They read from the next message on. */
    async admit(devices: readonly DeviceId[]): Promise<boolean> {
        const { agency } = this.home.directories;
        return await this.commit(() => {
            const there = new Set(this.roster);
            const missing = devices.filter((device) => !there.has(device)).sort();
            if (missing.length === 0) return null;
            return {
                reason: REASON_MEMBER,
                admit: missing.map((deviceId) => ({ deviceId, agencyId: agency })),
            };
        });
    }

    /** Take devices out. They can read what they have read, and nothing from now on. */
    async remove(devices: readonly DeviceId[]): Promise<boolean> {
        return await this.commit(() => {
            const there = this.roster.filter((device) => devices.includes(device));
            return there.length === 0 ? null : { reason: REASON_MEMBER, remove: new Set(there) };
        });
    }

    /** Commit when a member was revoked, time or count is up, or keys are missing here. */
    async rekeyIfDue(): Promise<boolean> {
        const plan = (): Change | null => {
            const reason = this.rekeyDue();
            return reason === null ? null : { reason };
        };
        return plan() !== null && (await this.commit(plan));
    }

    /** Why the next epoch is due, if it is. */
    rekeyDue(): CommitReason | null {
        if (this.epoch < 0 || this.stopped !== '') return null;
        return this.sealed.needsRekey(this.home.directories.byAgency, this.home.nowMs());
    }

    // ---- sending

    /** Seal a composed body in the newest epoch, once nothing keeps this device from sending: see `Sealer.sealNow`. */
    async sealNow(draft: Draft, keyClass: number = DURABLE): Promise<{ frame: Bytes; epoch: number }> {
        return await this.sealer.sealNow(draft, keyClass);
    }

    /** Rejects with `ChannelAlarmed` while sending is stopped here. */
    checkAlarms(): void {
        if (this.stopped !== '') throw new ChannelAlarmed(this.stopped);
    }

    // ---- opening

    /** Open one entry of the content log, in the order of offsets: see `Opener.read`. */
    async read(entry: Entry): Promise<Reading> {
        return await this.opener.read(entry);
    }

    /** The keys did not come in time: keep the frame, say "cannot decrypt". */
    async giveUp(entry: Entry): Promise<Reading> {
        return await this.opener.giveUp(entry);
    }

    /** Try the frames that could not be opened before; those that opened now, page by page. */
    reopen(): AsyncGenerator<readonly Reading[], void, undefined> {
        return this.opener.reopen();
    }

    /** The body of a stream value. Rejects with `SealingError`; it is then dropped, the next will do. */
    async openStream(device: DeviceId, frame: Bytes): Promise<Body> {
        const opened = await this.sealed.open(frame, this.home.directories.byAgency);
        if (opened.header.sender !== device) throw new SealingError('E_AUTHZ', "another device's frame");
        return opened.body;
    }

    // ---- earlier context

    /** Give a member the durable keys of epochs, all that this device can read. Rejects with `NotPermitted`, `ApiError`. */
    async grant(to: DeviceId, epochs = this.sealed.epochsHeld(DURABLE)): Promise<void> {
        await this.grants.give(to, epochs);
    }

    /** Grants that the log brought: whether any was for this device. Rejects with `ApiError`. */
    async takeGrants(entries: readonly Entry[]): Promise<boolean> {
        return await this.grants.take(entries);
    }

    // ---- keeping

    /** Write chain and secrets down, as far as they changed. */
    async keep(): Promise<void> {
        this.kept = false;
        const { history } = this.home;
        const generation = (await history.place(this.epochsLog))?.position.generation ?? 0;
        const unsaved = this.sealed.unsaved();
        const head = unsaved.head ?? this.sealed.exportHead();
        await history.keepChain(this.id, generation, head, unsaved.epochs);
        this.sealed.saved(unsaved);
        this.kept = true;
    }

    /** Delete every secret of this channel, here and on disk; its verified chain of members stays. */
    async forget(): Promise<void> {
        this.sealed.forgetAll();
        await this.keep();
    }

    /** The content log's history is another one: forget the running hash of the old one. */
    beginAgain(): void {
        this.sealed.startSeen(LOG_START);
        this.opener.beginAgain();
    }

    /**
     * The store lost commits (a restored backup): post again those that this device made. `serverEpochs` is how many the
     * server has. Rejects with `ApiError`.
     */
    async postLostCommits(serverEpochs: number): Promise<void> {
        for (const { post } of await this.home.history.posted(this.id, serverEpochs)) {
            try {
                await this.home.api.postCommit(this.id, commitPostField.read(unpack(post)));
            } catch (error) {
                if (!(error instanceof ApiError) || error.mayRetry) throw error;
                return;
            }
        }
    }
}

async function restoreSealed(id: ChannelId, home: Home): Promise<SealedChannel> {
    const { history, keys } = home;
    const kept = await history.chain(id);
    const sealed =
        kept === null
            ? new SealedChannel(id, keys.deviceId)
            : await SealedChannel.restore(kept.head, kept.epochs.values());
    // The running hash was written with the entries that it covers; the chain's own copy may be older.
    const seen = (await history.place(address('content', id)))?.seen ?? null;
    if (seen === null) sealed.startSeen(LOG_START);
    else if (sealed.seen.head.seq !== seen.seq || sealed.seen.head.hash !== hex(seen.hash)) {
        sealed.startSeen({ seq: seen.seq, hash: hex(seen.hash) });
    }
    return sealed;
}

/** What makes commits with this device's keys. */
export function committer(home: Home): Committer {
    return new Committer(home.keys, home.directories.byAgency, home.directories.book);
}

/** A commit with its boxes, as HTTP carries it. */
export function commitPost(made: MadeCommit): CommitPost {
    return { commit: made.commit.signed, boxes: made.boxes, boxListSignature: made.boxList.signature };
}

export function deliveryOf(made: MadeCommit, device: DeviceId): Delivery {
    return { box: boxFor(made, device), boxList: made.boxList };
}

/** A broken rule; anything else is thrown on. */
export function sealingError(error: unknown): SealingError {
    if (error instanceof SealingError) return error;
    throw error;
}

async function madeMs(signed: Signed): Promise<number> {
    return (await parseCommit(signed)).tsMs;
}

function isGone(code: number): boolean {
    return code === WireError.not_found || code === WireError.forbidden;
}

function unboxedNote(id: ChannelId): string {
    return `unboxed ${id}`;
}
