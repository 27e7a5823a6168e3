/**
 * Sealing and opening message frames. Spec 04, "Frame".
 *
 * A sender instance is one process or tab, for one epoch and class. Its `sid` is random, so nothing about nonces is
 * ever persisted: a crash or a second tab cannot reuse a counter. The signature is inside the ciphertext: authorship
 * survives history grants and evidence exports, and a member holding the group's key still cannot forge another.
 *
 * Calls overlap, since WebCrypto answers later. A sender takes its counter before it waits for anything, so no two
 * frames ever share a nonce. A receiver decrypts side by side and takes effect in the order in which it was called: of
 * one frame opened twice at once, the first is opened and the second refused.
 */

import type { DeviceId } from '~/protocol/ids';
import { refuse } from '../errors';
import { type ChannelLine, type Directories, certificateFor } from '../public/acceptance';
import { type Commit, rosterEntry } from '../public/commit';
import { type Bytes, type Hex, PREFIX, concat, pae, unhex, utf8 } from '../public/encoding';
import { CAP_SEND } from '../public/entries';
import {
    type FrameHeader,
    HEADER_BYTES,
    MAX_FRAME_BYTES,
    PADDING_BYTES,
    TAG_BYTES,
    packHeader,
    parseFrame,
} from '../public/frame';
import { SIGNATURE_BYTES, verifyRaw } from '../public/signed';
import { aesOpen, aesSeal, nonceOf } from './aes';
import { type Body, decodeBody, encodeBody, pad, unpad } from './body';
import { ReplayState, instanceOf } from './replay';
import { type ClassSecrets, type SenderKey, senderKey } from './schedule';
import type { SigningKey } from './signing-key';

export const MAX_CACHED_KEYS = 1024;
export const SID_BYTES = 16;
const MAX_COUNTER = 2n ** 64n - 1n;

/** What a sender signs inside its frame. */
export function messageInput(commitHash: Hex, header: Bytes, padded: Bytes): Bytes {
    return pae(utf8(`${PREFIX}msg`), unhex(commitHash), header, padded);
}

/** One sender instance. Discard it when the epoch ends; never restore one from disk. */
export class FrameSender {
    readonly #identity: SigningKey;
    readonly #commit: Commit;
    readonly #header: FrameHeader;
    readonly #key: Promise<SenderKey>;
    #next: bigint;

    /** `E_NO_KEY` without a secret of the class; `E_FORMAT` for a class that has no frames, or another size of sid. */
    constructor(
        identity: SigningKey,
        deviceId: DeviceId,
        commit: Commit,
        secrets: ClassSecrets,
        { keyClass, sid, first = 0n }: { keyClass: number; sid: Hex; first?: bigint },
    ) {
        const secret = secrets.get(keyClass) ?? refuse('E_NO_KEY', 'no secret for this class');
        if (!PADDING_BYTES.has(keyClass) || sid.length !== 2 * SID_BYTES) {
            refuse('E_FORMAT', 'frame class or sid');
        }
        this.#identity = identity;
        this.#commit = commit;
        this.#header = {
            keyClass,
            suite: commit.suite,
            channelId: commit.channelId,
            epoch: commit.epoch,
            commitPrefix: commit.hash.slice(0, 32) as Hex,
            sender: deviceId,
            sid,
            seq: first,
        };
        this.#next = first;
        this.#key = senderKey(secret, commit.hash, deviceId, sid, keyClass);
        // Whoever seals is told; nobody else needs to be.
        this.#key.catch(() => undefined);
    }

    /** The frame; `E_FORMAT` when it exceeds the largest payload, `E_ENCODING` for bad data. */
    async seal(body: Body): Promise<Bytes> {
        const padded = pad(encodeBody(body), paddingOf(this.#header.keyClass));
        if (HEADER_BYTES + SIGNATURE_BYTES + padded.length + TAG_BYTES > MAX_FRAME_BYTES) {
            refuse('E_FORMAT', 'body too large');
        }
        const seq = this.#next;
        if (seq > MAX_COUNTER) refuse('E_STATE', 'counter used up');
        // Taken before the first await: whatever happens to this frame, its nonce is not used again.
        this.#next = seq + 1n;
        const header = packHeader({ ...this.#header, seq });
        const signature = await this.#identity.signRaw(messageInput(this.#commit.hash, header, padded));
        const { key, salt } = await this.#key;
        const sealed = await aesSeal(key, nonceOf(salt, seq), concat([signature, padded]), header);
        return concat([header, sealed]);
    }
}

/**
 * A frame whose sender and content hold.
 *
 * `oldEpoch`: it was sealed before the newest commit; on live receipt, more than a few seconds after that commit,
 * screens mark it. `missing`: how many of this sender instance's frames before it have not been seen; gaps are shown.
 */
export interface OpenedFrame {
    readonly header: FrameHeader;
    readonly body: Body;
    readonly oldEpoch: boolean;
    readonly missing: number;
}

/**
 * Opens the frames of one channel, once each. A frame that fails leaves everything as it was.
 *
 * Holds the replay state, and the sender keys in use (1,024 at most, the least used go first).
 */
export class FrameReceiver {
    readonly replay = new ReplayState();
    readonly #line: ChannelLine;
    readonly #secrets: ReadonlyMap<number, ClassSecrets>;
    readonly #keys = new Map<string, SenderKey>();
    /** Settles when every frame given before has taken effect or failed. */
    #turn: Promise<void> = Promise.resolve();

    constructor(line: ChannelLine, secrets: ReadonlyMap<number, ClassSecrets>) {
        this.#line = line;
        this.#secrets = secrets;
    }

    /**
     * The verified content of a frame.
     *
     * `again` reads a stored log entry once more (history, paging backwards): replay and order are then the store's
     * matter. Refuses with `E_FORMAT`, `E_UNKNOWN_EPOCH` (fetch commits and boxes, try again within 30 s), `E_FORK`
     * (sealed on another branch: fetch that commit; only two signed commits are proof), `E_AUTHZ`,
     * `E_UNKNOWN_DEVICE`, `E_NO_KEY` (not granted), `E_REPLAY`, `E_AEAD`, `E_SIG`, `E_STALE_POSITION`, `E_ENCODING`.
     * Drop, count and report; never show a frame "as far as possible".
     */
    async open(frame: Bytes, directories: Directories, { again = false } = {}): Promise<OpenedFrame> {
        if (again) {
            const { header, body } = await this.#read(frame, directories, () => undefined);
            return { header, body, oldEpoch: header.epoch < this.#line.epoch, missing: 0 };
        }
        const before = this.#turn;
        let end = (): void => undefined;
        this.#turn = new Promise((resolve) => (end = resolve));
        try {
            const { header, body } = await this.#read(frame, directories, (h) => this.replay.checkFresh(h));
            await before;
            // From here to the end nothing waits: what was true of the replay state is asked again, then changed.
            this.replay.checkFresh(header);
            this.replay.checkOrder(header, body);
            const missing = this.replay.keep(header, body);
            return { header, body, oldEpoch: header.epoch < this.#line.epoch, missing };
        } finally {
            void before.then(end);
        }
    }

    /** Drop cached sender keys; called when secrets are deleted. */
    forgetKeys(): void {
        this.#keys.clear();
    }

    async #read(
        frame: Bytes,
        directories: Directories,
        check: (header: FrameHeader) => void,
    ): Promise<{ header: FrameHeader; body: Body }> {
        const header = parseFrame(frame);
        const commit = this.#commitOf(header);
        const publicKey = senderPublic(header, commit, directories);
        const secret = this.#secrets.get(header.epoch)?.get(header.keyClass);
        if (secret === undefined) refuse('E_NO_KEY', 'not granted');
        check(header);
        const name = instanceOf(header);
        const { sender, sid, keyClass } = header;
        const key = this.#keys.get(name) ?? (await senderKey(secret, commit.hash, sender, sid, keyClass));
        const body = await openContent(frame, header, commit, key, publicKey);
        // Its secret may have been deleted meanwhile, and then no key made of it is kept either.
        if (this.#secrets.get(header.epoch)?.get(keyClass) === secret) this.#keepKey(name, key);
        return { header, body };
    }

    #commitOf(header: FrameHeader): Commit {
        if (header.channelId !== this.#line.channelId) refuse('E_FORMAT', 'another channel');
        const commit = this.#line.commits.get(header.epoch);
        if (commit === undefined) return refuse('E_UNKNOWN_EPOCH', 'commit not known here');
        if (header.suite !== commit.suite) refuse('E_FORMAT', 'another suite');
        if (!commit.hash.startsWith(header.commitPrefix)) refuse('E_FORK', 'sealed on another branch');
        return commit;
    }

    #keepKey(name: string, key: SenderKey): void {
        this.#keys.delete(name);
        this.#keys.set(name, key);
        if (this.#keys.size <= MAX_CACHED_KEYS) return;
        for (const leastUsed of this.#keys.keys()) {
            this.#keys.delete(leastUsed);
            return;
        }
    }
}

function senderPublic(header: FrameHeader, commit: Commit, directories: Directories): Bytes {
    const entry = rosterEntry(commit, header.sender);
    if (entry === null || !((entry.classMask >> header.keyClass) & 1)) {
        return refuse('E_AUTHZ', 'sender not in the roster for this class');
    }
    if (entry.guest !== null) return entry.guest.public;
    const certificate = certificateFor(directories, entry.agencyId, header.sender);
    if (certificate === null) return refuse('E_UNKNOWN_DEVICE', 'sender not certified');
    if (!(certificate.caps & CAP_SEND)) refuse('E_AUTHZ', 'sender may not send');
    return certificate.public;
}

async function openContent(
    frame: Bytes,
    header: FrameHeader,
    commit: Commit,
    { key, salt }: SenderKey,
    publicKey: Bytes,
): Promise<Body> {
    const clear = frame.slice(0, HEADER_BYTES);
    const content = await aesOpen(key, nonceOf(salt, header.seq), frame.slice(HEADER_BYTES), clear);
    if (content === null) return refuse('E_AEAD', 'frame does not open');
    const padded = content.slice(SIGNATURE_BYTES);
    await verifyRaw(publicKey, content.slice(0, SIGNATURE_BYTES), messageInput(commit.hash, clear, padded));
    return decodeBody(unpad(padded, paddingOf(header.keyClass)));
}

function paddingOf(keyClass: number): number {
    return PADDING_BYTES.get(keyClass) ?? refuse('E_FORMAT', 'no frames of this class');
}
