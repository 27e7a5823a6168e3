/**
 * Media keys: SFrame (RFC 9605, AES_128_GCM_SHA256_128) from an epoch's media secret. Spec 04, "Media".
 *
 * `base_key = KDF(class_secret[3], "SFrame 1.0 Base Key", [commit_hash, call_id], 16)`;
 * `KID = random 40-bit context << 16 | roster index << 8 | epoch & 0xff`. There is no authentication of single senders
 * among members (RFC 9605 says so). How the frame lies around the codec's clear bytes, and what a receiver drops, is
 * chapter 09's, "Sealed frames".
 *
 * Who derives an epoch's base key holds the media secret; whoever seals and opens frames is given a `MediaEpoch`, from which no
 * key can be read out. KIDs and counters have up to 64 bits, so they are `bigint`.
 */

import type { DeviceId } from '~/protocol/ids';
import type { MediaKind } from '~/protocol/video';
import {
    FRAME_BYTES,
    TRAILER_BYTES,
    clearBytes,
    frameMetadata,
    putTogether,
    takeApart,
} from '~/protocol/video-frames';
import { refuse } from '../errors';
import type { Commit } from '../public/commit';
import { type Bytes, type Hex, concat, kdf, u64, unhex, utf8 } from '../public/encoding';
import { aesKey, aesOpen, aesSeal, nonceOf } from './aes';
import { type Random, secureRandom } from './random';

const CIPHER_SUITE = 0x0004;
export const PREVIOUS_EPOCH_MS = 10_000;
export const MAX_MEDIA_KEYS = 1024;
export const REPLAY_WINDOW = 1024n;
/** What came first so short a time ago was repaired or doubled on its way; three times as long ago it is told. */
export const DUPLICATE_MS = 2_000;
const WINDOW_BITS = 2n ** REPLAY_WINDOW - 1n;
/** Of an SFrame header at its longest, a tag and the trailer. */
const OVERHEAD_BYTES = 17 + 16 + TRAILER_BYTES;
const MAX_COUNTER = 2n ** 64n - 1n;
const CONTEXT_BYTES = 5;

/** 16 bytes for one call in one epoch. */
export function mediaBaseKey(mediaSecret: Bytes, commitHash: Hex, callId: Hex): Promise<Bytes> {
    return kdf(mediaSecret, 'SFrame 1.0 Base Key', [unhex(commitHash), unhex(callId)], 16);
}

/** A base key as senders and receivers have it: it derives, and nobody reads it out again. */
export function mediaBase(base: Bytes): Promise<CryptoKey> {
    return crypto.subtle.importKey('raw', base, 'HKDF', false, ['deriveBits']);
}

/** RFC 9605 section 4.4.2: a 16-byte key and a 12-byte salt. */
export async function mediaKeyAndSalt(base: CryptoKey, kid: bigint): Promise<{ key: Bytes; salt: Bytes }> {
    const tail = concat([u64(kid), Uint8Array.of(CIPHER_SUITE >> 8, CIPHER_SUITE & 0xff)]);
    const derive = async (label: string, lengthBytes: number): Promise<Bytes> => {
        const info = concat([utf8(label), tail]);
        const parameters = { name: 'HKDF', hash: 'SHA-256', salt: new Uint8Array(0), info };
        return new Uint8Array(await crypto.subtle.deriveBits(parameters, base, lengthBytes * 8));
    };
    return {
        key: await derive('SFrame 1.0 Secret key ', 16),
        salt: await derive('SFrame 1.0 Secret salt ', 12),
    };
}

export interface MediaHeader {
    readonly kid: bigint;
    readonly counter: bigint;
    readonly lengthBytes: number;
}

/** RFC 9605 section 4.3. */
export function encodeMediaHeader(kid: bigint, counter: bigint): Bytes {
    const [k, c] = [headerField(kid), headerField(counter)];
    return concat([Uint8Array.of((k.code << 4) | c.code), k.bytes, c.bytes]);
}

/** The header at the front of a frame; `E_FORMAT` when cut short or not the shortest form. */
export function decodeMediaHeader(frame: Bytes): MediaHeader {
    const config = frame[0] ?? refuse('E_FORMAT', 'media header');
    const kid = readField(frame, config >> 4, 1);
    const counter = readField(frame, config & 15, kid.end);
    return { kid: kid.number, counter: counter.number, lengthBytes: counter.end };
}

function headerField(number: bigint): { code: number; bytes: Bytes } {
    if (number < 8n) return { code: Number(number), bytes: new Uint8Array(0) };
    const whole = u64(number);
    const bytes = whole.slice(whole.findIndex((byte) => byte !== 0));
    return { code: 8 | (bytes.length - 1), bytes };
}

function readField(frame: Bytes, code: number, at: number): { number: bigint; end: number } {
    if (code < 8) return { number: BigInt(code), end: at };
    const end = at + (code & 7) + 1;
    if (frame.length < end) refuse('E_FORMAT', 'media header');
    let number = 0n;
    for (const byte of frame.subarray(at, end)) number = (number << 8n) | BigInt(byte);
    if (headerField(number).code !== code) refuse('E_FORMAT', 'media header');
    return { number, end };
}

/** The key of one KID, and the next counter of a sender. */
export class MediaKey {
    #counter = 0n;

    private constructor(
        readonly kid: bigint,
        private readonly key: CryptoKey,
        private readonly salt: Bytes,
    ) {}

    static async derive(base: CryptoKey, kid: bigint): Promise<MediaKey> {
        const { key, salt } = await mediaKeyAndSalt(base, kid);
        return new MediaKey(kid, await aesKey(key), salt);
    }

    /** SFrame header and ciphertext; the counter rises by one, before anything is waited for. */
    async encrypt(plain: Bytes, metadata: Bytes = new Uint8Array(0)): Promise<Bytes> {
        const counter = this.#counter;
        if (counter > MAX_COUNTER) refuse('E_STATE', 'counter used up');
        this.#counter = counter + 1n;
        const header = encodeMediaHeader(this.kid, counter);
        const nonce = nonceOf(this.salt, counter);
        return concat([header, await aesSeal(this.key, nonce, plain, concat([header, metadata]))]);
    }

    /** An encoded frame as packets carry it; `E_FORMAT` for one that no receiver would take. */
    async sealFrame(media: MediaKind, frame: Bytes): Promise<Bytes> {
        if (frame.length > FRAME_BYTES - OVERHEAD_BYTES) refuse('E_FORMAT', 'a frame of too many bytes');
        const clear = frame.slice(0, clearBytes(media, frame));
        const sframe = await this.encrypt(frame.slice(clear.length), frameMetadata(media, clear));
        return putTogether(clear, sframe);
    }

    /** The plaintext of a whole SFrame; `E_AEAD`, `E_FORMAT`. */
    async decrypt(frame: Bytes, metadata: Bytes = new Uint8Array(0)): Promise<Bytes> {
        const { kid, counter, lengthBytes } = decodeMediaHeader(frame);
        if (kid !== this.kid) refuse('E_FORMAT', 'another media key');
        const aad = concat([frame.subarray(0, lengthBytes), metadata]);
        const plain = await aesOpen(this.key, nonceOf(this.salt, counter), frame.slice(lengthBytes), aad);
        return plain ?? refuse('E_AEAD', 'media frame does not open');
    }
}

/** What media need of a commit. */
export type MediaCommit = Pick<Commit, 'epoch' | 'hash'> & {
    readonly roster: readonly { readonly deviceId: DeviceId }[];
};

/** One call in one epoch: plain data, so that it can be handed to a worker. */
export interface MediaEpoch {
    readonly epoch: number;
    readonly base: CryptoKey;
    /** Places as KIDs name them. */
    readonly roster: readonly DeviceId[];
}

export async function mediaEpoch(mediaSecret: Bytes, commit: MediaCommit, callId: Hex): Promise<MediaEpoch> {
    return {
        epoch: commit.epoch,
        base: await mediaBase(await mediaBaseKey(mediaSecret, commit.hash, callId)),
        roster: commit.roster.map(({ deviceId }) => deviceId),
    };
}

/**
 * A sender's key: make a new one at each start of a transceiver, so counters may start at 0.
 *
 * `index` is the sender's place in the roster; `E_AUTHZ` for one beyond it.
 */
export async function mediaSender(
    { epoch, base, roster }: MediaEpoch,
    index: number,
    random: Random = secureRandom,
): Promise<MediaKey> {
    if (roster[index] === undefined) refuse('E_AUTHZ', 'no such place in the roster');
    let context = 0n;
    for (const byte of random(CONTEXT_BYTES)) context = (context << 8n) | BigInt(byte);
    const kid = (context << 16n) | (BigInt(index) << 8n) | BigInt(epoch & 0xff);
    return MediaKey.derive(base, kid);
}

/** Which of the last counters of one KID were there: bit n is the newest less n. */
class ReplayWindow {
    #newest = -1n;
    #seen = 0n;
    /** The newest at the last two turns, which are `DUPLICATE_MS` apart at least. */
    #lately = -1n;
    #before = -1n;

    constructor(private turnedMs: number) {}

    /** `E_REPLAY` for one that was there, or is too old to say; `E_DUPLICATE` where it was there a moment ago. */
    take(counter: bigint, nowMs: number): void {
        this.#turn(nowMs);
        const ahead = counter - this.#newest;
        if (ahead > 0n) {
            const shift = ahead < REPLAY_WINDOW ? ahead : REPLAY_WINDOW;
            this.#seen = ((this.#seen << shift) | 1n) & WINDOW_BITS;
            this.#newest = counter;
            return;
        }
        if (ahead <= -REPLAY_WINDOW) refuse('E_REPLAY', 'a media frame of long ago');
        const bit = 1n << -ahead;
        if ((this.#seen & bit) !== 0n)
            refuse(counter > this.#before ? 'E_DUPLICATE' : 'E_REPLAY', 'a media frame that was there');
        this.#seen |= bit;
    }

    #turn(nowMs: number): void {
        const passedMs = nowMs - this.turnedMs;
        if (passedMs < DUPLICATE_MS) return;
        // Where both turns are due nothing came meanwhile.
        this.#before = passedMs < 2 * DUPLICATE_MS ? this.#lately : this.#newest;
        this.#lately = this.#newest;
        this.turnedMs = nowMs;
    }
}

interface Opener {
    readonly epoch: MediaEpoch;
    readonly key: MediaKey;
    readonly window: ReplayWindow;
}

/** Opens the media of one call. The epoch before is kept for 10 s; 1,024 keys at most. */
export class MediaReceiver {
    #now: MediaEpoch | null = null;
    #before: MediaEpoch | null = null;
    #beforeUntilMs = 0;
    /** Least used first; by epoch and KID. */
    readonly #openers = new Map<string, Opener>();

    /** Use a new epoch from now on; one that is no newer changes nothing: it may have been derived more slowly. */
    startEpoch(epoch: MediaEpoch, nowMs: number): void {
        if (this.#now !== null && epoch.epoch <= this.#now.epoch) return;
        this.#forgetBefore();
        this.#before = this.#now;
        this.#beforeUntilMs = nowMs + PREVIOUS_EPOCH_MS;
        this.#now = epoch;
    }

    /**
     * The encoded frame that `sender`, whose m-line this came on, sealed; bytes as its codec made them.
     *
     * Refused with `E_FORMAT`, `E_UNKNOWN_EPOCH` (fetch commits), `E_AEAD`, `E_AUTHZ` (the place in the roster is
     * another's: a swap), `E_REPLAY`, `E_DUPLICATE` (it came a moment ago: no alarm, and nothing is missing). The caller
     * drops the frame and counts by code.
     */
    async openFrame(media: MediaKind, frame: Bytes, sender: DeviceId, nowMs: number): Promise<Bytes> {
        const { clear, sframe } = takeApart(media, frame) ?? refuse('E_FORMAT', 'not a sealed frame');
        const { kid, counter } = decodeMediaHeader(sframe);
        const epoch = this.#epochOf(kid, nowMs);
        const member = epoch.roster[Number((kid >> 8n) & 0xffn)];
        if (member === undefined || kid >> 56n !== 0n) refuse('E_AUTHZ', 'no such place in the roster');
        const name = `${epoch.epoch} ${kid}`;
        const key = this.#openers.get(name)?.key ?? (await MediaKey.derive(epoch.base, kid));
        const plain = await key.decrypt(sframe, frameMetadata(media, clear));
        // Only now is it known who says all this: nothing before it may change what is held.
        if (member !== sender) refuse('E_AUTHZ', 'sealed by another than whose place this is');
        if (epoch !== this.#now && epoch !== this.#before) {
            refuse('E_UNKNOWN_EPOCH', 'an epoch that ended meanwhile');
        }
        // Another frame of this key may have been first meanwhile: there is one window for both.
        const opener = this.#openers.get(name) ?? { epoch, key, window: new ReplayWindow(nowMs) };
        opener.window.take(counter, nowMs);
        this.#keep(name, opener);
        return concat([clear, plain]);
    }

    #epochOf(kid: bigint, nowMs: number): MediaEpoch {
        if (nowMs > this.#beforeUntilMs) this.#forgetBefore();
        const held = [this.#now, this.#before];
        const epoch = held.find((e) => e !== null && (e.epoch & 0xff) === Number(kid & 0xffn));
        return epoch ?? refuse('E_UNKNOWN_EPOCH', 'media of another epoch');
    }

    #forgetBefore(): void {
        if (this.#before === null) return;
        for (const [name, { epoch }] of this.#openers) if (epoch === this.#before) this.#openers.delete(name);
        this.#before = null;
    }

    /** Only an opener that opened something is kept: strangers cannot push out those in use. */
    #keep(name: string, opener: Opener): void {
        this.#openers.delete(name);
        this.#openers.set(name, opener);
        if (this.#openers.size <= MAX_MEDIA_KEYS) return;
        for (const leastUsed of this.#openers.keys()) {
            this.#openers.delete(leastUsed);
            return;
        }
    }
}
