/**
 * Message frames as an observer without keys sees them: the 84-byte header. Spec 04, "Frame".
 *
 * The rest of the frame is AES-256-GCM ciphertext over a signature and the padded body.
 */

import type { ChannelId, DeviceId } from '~/protocol/ids';
import { PAYLOAD_BYTES } from '~/protocol/limits';
import { refuse } from '../errors';
import { type Commit, rosterEntry } from './commit';
import { type Bytes, type Hex, hex, unhex } from './encoding';
import { DURABLE, EPHEMERAL, HPKE_PUBLIC_BYTES } from './entries';
import { SIGNATURE_BYTES } from './signed';

export const FRAME_VERSION = 1;
export const HEADER_BYTES = 84;
export const TAG_BYTES = 16;
export const MAX_FRAME_BYTES = PAYLOAD_BYTES;
/** By key class: the body is padded to a multiple of this. Media travels as SFrame. */
export const PADDING_BYTES: ReadonlyMap<number, number> = new Map([
    [DURABLE, 64],
    [EPHEMERAL, 32],
]);

/** Where the fields of the header begin. */
const AT = { channel: 4, epoch: 20, prefix: 28, sender: 44, sid: 60, seq: 76 } as const;

/** The clear part of a frame. It is authenticated by the ciphertext behind it. */
export interface FrameHeader {
    readonly keyClass: number;
    readonly suite: number;
    readonly channelId: ChannelId;
    /** Above 2^53 it is rounded, which no commit's epoch is. */
    readonly epoch: number;
    /** The first 16 bytes of the commit's hash. */
    readonly commitPrefix: Hex;
    readonly sender: DeviceId;
    readonly sid: Hex;
    /** All 64 bits: it makes the nonce. */
    readonly seq: bigint;
}

/** The header's bytes, which are the `aad` of the ciphertext. */
export function packHeader(header: FrameHeader): Bytes {
    const out = new Uint8Array(HEADER_BYTES);
    const view = new DataView(out.buffer);
    out.set([FRAME_VERSION, header.keyClass, header.suite, 0]);
    out.set(unhex(header.channelId), AT.channel);
    view.setBigUint64(AT.epoch, BigInt(header.epoch));
    out.set(unhex(header.commitPrefix), AT.prefix);
    out.set(unhex(header.sender), AT.sender);
    out.set(unhex(header.sid), AT.sid);
    view.setBigUint64(AT.seq, header.seq);
    return out;
}

/** The header of a frame of the right size, or `E_FORMAT`. Classes are durable and ephemeral. */
export function parseFrame(frame: Uint8Array): FrameHeader {
    if (frame.length <= HEADER_BYTES || frame.length > MAX_FRAME_BYTES) refuse('E_FORMAT', 'frame size');
    const view = new DataView(frame.buffer, frame.byteOffset, HEADER_BYTES);
    const keyClass = view.getUint8(1);
    const suite = view.getUint8(2);
    if (view.getUint8(0) !== FRAME_VERSION || view.getUint8(3) !== 0) {
        refuse('E_FORMAT', 'frame version or flags');
    }
    const padding = PADDING_BYTES.get(keyClass);
    if (padding === undefined || !HPKE_PUBLIC_BYTES.has(suite)) refuse('E_FORMAT', 'frame class or suite');
    const padded = frame.length - HEADER_BYTES - TAG_BYTES - SIGNATURE_BYTES;
    if (padded <= 0 || padded % padding !== 0) refuse('E_FORMAT', 'frame padding');
    const name = (from: number, bytes: number): Hex => hex(frame.subarray(from, from + bytes));
    return {
        keyClass,
        suite,
        channelId: name(AT.channel, 16) as ChannelId,
        epoch: Number(view.getBigUint64(AT.epoch)),
        commitPrefix: name(AT.prefix, 16),
        sender: name(AT.sender, 16) as DeviceId,
        sid: name(AT.sid, 16),
        seq: view.getBigUint64(AT.seq),
    };
}

/**
 * What is checked before a frame is stored, or sent, against the channel's newest commit.
 *
 * `sender` is the authenticated device. `E_AUTHZ` (another device's frame, or not in the roster, or a class it was not
 * given), `E_UNKNOWN_EPOCH` (not the newest epoch), `E_FORK` (the same epoch on another branch), `E_FORMAT`.
 */
export function checkFrame(header: FrameHeader, head: Commit, sender: DeviceId): void {
    if (header.channelId !== head.channelId || header.suite !== head.suite) {
        refuse('E_FORMAT', 'another channel or suite');
    }
    if (header.sender !== sender) refuse('E_AUTHZ', "another device's frame");
    if (header.epoch !== head.epoch) refuse('E_UNKNOWN_EPOCH', 'not the newest epoch');
    if (header.commitPrefix !== head.hash.slice(0, 32)) refuse('E_FORK', 'another branch of this epoch');
    const entry = rosterEntry(head, sender);
    if (entry === null || ((entry.classMask >> header.keyClass) & 1) === 0) {
        refuse('E_AUTHZ', 'not in the roster for this class');
    }
}
