/**
 * Opening what a channel's log brings: each entry becomes a `Reading`, opened or with the reason why not.
 *
 * Nothing that fails a check is shown. An entry opens once: the frame's own window, the id in its envelope and the local
 * copy each would have to be deceived. What members sign about the log is held against what came here. Spec chapter 04,
 * "Frame" and "Seen"; chapter 05, "Bodies".
 */
import { type Bytes, NO_BYTES } from '~/protocol/bytes';
import { BodyError, readContent } from '~/protocol/bodies';
import type { ChannelAddress, ChannelId, DeviceId } from '~/protocol/ids';
import type { Entry } from '~/protocol/messages';
import { Lane } from '~/protocol/words';
import { type SealingCode, SealingError } from '~/sealing/errors';
import { type Body, encodeBody } from '~/sealing/opening/body';
import type { SealedChannel } from '~/sealing/opening/channel';
import { hex, sha256 } from '~/sealing/public/encoding';
import { parseFrame } from '~/sealing/public/frame';
import type { LogHead } from '~/sealing/public/seen';

import { type LocalEntry, Verdict } from '../ports';
import type { Home } from './home';
import { type Reading, unread } from './reading';

const PENDING_CLAIMS = 64;
const REOPENED_ENTRIES = 100;
const TEXT = new TextEncoder();
/** What says that somebody changed, moved or repeated a frame on its way. */
const CHANGED: ReadonlySet<SealingCode> = new Set(['E_REPLAY', 'E_AEAD', 'E_SIG', 'E_FORMAT']);

/** The channel that is read. */
export interface OpenedPlace {
    readonly id: ChannelId;
    readonly contentLog: ChannelAddress;
    readonly sealed: SealedChannel;
    /** The keys of an epoch are wanted and not held. */
    missed(epoch: number): Promise<void>;
}

export class Opener {
    private claims: { readonly device: DeviceId; readonly claim: LogHead }[] = [];
    private foreignHistory = false;

    constructor(
        private readonly place: OpenedPlace,
        private readonly home: Home,
    ) {}

    /**
     * Open one entry of the content log, in the order of offsets. Rejects with `E_UNKNOWN_EPOCH`: hold it until keys came,
     * 30 s at most, then `giveUp`.
     */
    async read(entry: Entry): Promise<Reading> {
        if (entry.payload.length === 0) {
            await this.noteSeen(entry);
            // An empty value is one that the server deleted; an empty message one that retention took. What comes with a hash
            // is never "opened": kept as such it would be read as a body on the next start, and a server chooses its bytes.
            const deleted = entry.lane !== Lane.log && entry.hash.length === 0;
            const verdict = deleted ? Verdict.opened : Verdict.pruned;
            return unread(local(entry, verdict, entry.hash), deleted ? '' : 'pruned');
        }
        let reading: Reading;
        try {
            reading = await this.judge(entry, await this.open(entry.payload, false));
        } catch (error) {
            if (!(error instanceof SealingError) || error.code === 'E_UNKNOWN_EPOCH') throw error;
            await this.noteSeen(entry);
            return await this.failed(entry, error);
        }
        const { body } = reading;
        if (body?.seen != null && reading.entry.verdict === Verdict.opened) {
            this.claim(entry.device, body.seen);
        }
        await this.noteSeen(entry);
        return reading;
    }

    /** The keys did not come in time: keep the frame, say "cannot decrypt". */
    async giveUp(entry: Entry): Promise<Reading> {
        await this.noteSeen(entry);
        return unread(local(entry, Verdict.unknownEpoch, entry.payload), 'no_key');
    }

    /** Try the frames that could not be opened before; those that opened, or failed for good, now, page by page. */
    async *reopen(): AsyncGenerator<readonly Reading[], void, undefined> {
        for (let after = 0; ;) {
            const page = await this.home.history.unopened(this.place.contentLog, after, REOPENED_ENTRIES);
            const settled: Reading[] = [];
            for (const kept of page) {
                const reading = await this.settled(kept);
                if (reading !== null) settled.push(reading);
            }
            if (settled.length > 0) yield settled;
            if (page.length < REOPENED_ENTRIES) return;
            after = page.at(-1)?.offset ?? after;
        }
    }

    /** What became of a kept frame, written down; null while its key is still missing. */
    private async settled(kept: LocalEntry): Promise<Reading | null> {
        const entry = { ...kept, payload: kept.value, hash: NO_BYTES };
        let reading: Reading;
        try {
            reading = await this.judge(entry, await this.open(entry.payload, true));
        } catch (error) {
            if (!(error instanceof SealingError)) throw error;
            if (error.code === 'E_NO_KEY' || error.code === 'E_UNKNOWN_EPOCH') return null;
            reading = await this.failed(entry, error);
        }
        const { life, history } = this.home;
        await life.untilWritten(() => history.settle(this.place.contentLog, reading.entry));
        return reading;
    }

    /** Compare what a member signed about the log with what came here. */
    claim(device: DeviceId, claim: LogHead): void {
        if (this.foreignHistory || claim.seq === 0) return;
        try {
            if (this.place.sealed.compareSeen(claim) === 'ahead' && this.claims.length < PENDING_CLAIMS) {
                this.claims.push({ device, claim });
            }
        } catch (error) {
            if (!(error instanceof SealingError)) throw error;
            this.tellHistory(error, device);
        }
    }

    /** The log's history is another one: what was said of the old one proves nothing. */
    beginAgain(): void {
        this.claims = [];
        this.foreignHistory = true;
    }

    private async open(frame: Bytes, again: boolean): Promise<Body> {
        const directories = this.home.directories.byAgency;
        try {
            return (await this.place.sealed.open(frame, directories, { again })).body;
        } catch (error) {
            if (again || !(error instanceof SealingError) || error.code !== 'E_REPLAY') throw error;
            // The window outlived a crash that the local store did not, or the log begins anew: whether this
            // message was taken before is for the store to say (`judge`).
            return (await this.place.sealed.open(frame, directories, { again: true })).body;
        }
    }

    /** What a frame that opened is worth: is it the message that its envelope says, and a new one? */
    private async judge(entry: Entry, body: Body): Promise<Reading> {
        const { history } = this.home;
        const takenAt = await history.knownAt(this.place.contentLog, entry.device, entry.id);
        const sender = parseFrame(entry.payload).sender;
        if (body.msgId !== entry.id || sender !== entry.device) {
            throw new SealingError('E_FORMAT', 'another message than the envelope says');
        }
        if (takenAt !== null && takenAt !== entry.offset) {
            throw new SealingError('E_REPLAY', 'a message taken before');
        }
        try {
            const content = readContent(body.type, body.data);
            return { entry: local(entry, Verdict.opened, encodeBody(body)), body, content, code: '' };
        } catch (error) {
            if (!(error instanceof BodyError)) throw error;
            const kept = local(entry, Verdict.unreadable, TEXT.encode(error.code));
            return { entry: kept, body, content: null, code: error.code };
        }
    }

    private async failed(entry: Entry, error: SealingError): Promise<Reading> {
        if (error.code === 'E_NO_KEY') {
            await this.place.missed(parseFrame(entry.payload).epoch);
            return unread(local(entry, Verdict.notGranted, entry.payload), 'not_granted');
        }
        // One signed branch here, an unproven one there: tell, and let the commits prove it.
        if (error.code === 'E_FORK') this.tellHistory(error, entry.device);
        if (CHANGED.has(error.code)) {
            this.home.report({
                channel: this.place.id,
                kind: 'changed_frame',
                code: error.code,
                stopsSending: false,
                device: entry.device,
            });
        }
        return unread(local(entry, Verdict.unreadable, TEXT.encode(error.code)), error.code);
    }

    private async noteSeen(entry: Entry): Promise<void> {
        const { seen } = this.place.sealed;
        if (entry.lane !== Lane.log || entry.offset <= seen.head.seq) return;
        const hash = entry.hash.length > 0 ? hex(entry.hash) : await sha256(entry.payload);
        await this.place.sealed.sawEntry(entry.offset, hash);
        const waiting = this.claims;
        this.claims = [];
        for (const { device, claim } of waiting) this.claim(device, claim);
    }

    private tellHistory(error: SealingError, device: DeviceId): void {
        const { id: channel } = this.place;
        this.home.report({ channel, kind: 'history', code: error.code, stopsSending: false, device });
    }
}

function local(entry: Entry, verdict: Verdict, value: Bytes): LocalEntry {
    const { offset, lane, key, device, id, atMs, urgency, mark } = entry;
    return { offset, lane, key, device, id, atMs, urgency, mark, verdict, value };
}
