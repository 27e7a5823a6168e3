/**
 * The body of a message frame: `[type, ts_ms, msg_id, seen, data]`, and its padding. Spec 04, "Frame".
 *
 * The types and their `data` are those of chapters 05 to 07.
 */

import { SealingError, refuse } from '../errors';
import {
    type Bytes,
    type Hex,
    type Value,
    asList,
    asName,
    asText,
    asUint,
    decode,
    encode,
    unhex,
} from '../public/encoding';
import type { LogHead } from '../public/seen';

export const MAX_TYPE_BYTES = 32;
const END_OF_BODY = 0x80;

/**
 * What a sender signs. `tsMs` is the sender's clock; `seen` is null in ephemeral frames. `msgId` must be the id under
 * which the message was published; the receiver compares. `data` holds arrays, maps with text keys, text, bytes,
 * booleans, integers and null.
 */
export interface Body {
    readonly type: string;
    readonly tsMs: number;
    readonly msgId: Hex;
    readonly seen: LogHead | null;
    readonly data: Value;
}

/** MessagePack bytes; `E_ENCODING` for what a receiver would refuse. */
export function encodeBody(body: Body): Bytes {
    const seen = body.seen === null ? null : [body.seen.seq, unhex(body.seen.hash)];
    let encoded: Bytes;
    try {
        encoded = encode([body.type, body.tsMs, unhex(body.msgId), seen, body.data]);
    } catch (error) {
        if (error instanceof SealingError) throw error;
        return refuse('E_ENCODING', 'data cannot be encoded');
    }
    decodeBody(encoded);
    return encoded;
}

/** The body, or `E_ENCODING`. */
export function decodeBody(data: Bytes): Body {
    const [type, ts, msgId, seen, content] = asList(decode(data, { maps: true }), 5);
    return {
        type: asText(type, MAX_TYPE_BYTES),
        tsMs: asUint(ts),
        msgId: asName(msgId, 16),
        seen: seen === null ? null : seenOf(seen),
        data: content ?? null,
    };
}

function seenOf(value: Value | undefined): LogHead {
    const [seq, hash] = asList(value, 2);
    return { seq: asUint(seq), hash: asName(hash, 32) };
}

/** 0x80, then zeros up to a multiple of `bucketBytes`. */
export function pad(body: Bytes, bucketBytes: number): Bytes {
    const padded = new Uint8Array(Math.ceil((body.length + 1) / bucketBytes) * bucketBytes);
    padded.set(body);
    padded[body.length] = END_OF_BODY;
    return padded;
}

/** The body; `E_FORMAT` unless the padding is the one that `pad` makes. */
export function unpad(padded: Bytes, bucketBytes: number): Bytes {
    let at = padded.length - 1;
    while (at >= 0 && padded[at] === 0) at--;
    if (padded[at] !== END_OF_BODY || padded.length - at > bucketBytes) refuse('E_FORMAT', 'padding');
    return padded.slice(0, at);
}
