/**
 * Public keys that no honest device makes, refused wherever they are published.
 *
 * An X25519 point of low order gives no shared secret: nobody can seal to it, and it must not stand in the way of a
 * whole channel's next commit. RFC 7748 section 6.1.
 *
 * For an Ed25519 key of small order one signature holds for any message: anybody could sign as its holder. And of a
 * point in a second encoding, which RFC 8032 section 5.1.3 forbids, some engines take signatures and some do not:
 * members would part ways.
 */

import type { Bytes } from '~/protocol/bytes';
import { hex } from './encoding';

const P = 2n ** 255n - 19n;
const LOW_ORDER = new Set([
    0n,
    1n,
    P - 1n,
    325606250916557431795983626356110631294008115727848805560023387167927233504n,
    39382357235489614581723060781553021112529911719440698176882885853963445705823n,
]);

/**
 * The y of the eight points whose order divides the cofactor: orders 4, 1, 2 and twice 8. A test computes them from
 * the curve (RFC 8032 section 5.1).
 */
const OF_ORDER_EIGHT = 2707385501144840649318225287225658788936804267575313519463743609750303402022n;
const SMALL_ORDER = new Set([0n, 1n, P - 1n, OF_ORDER_EIGHT, P - OF_ORDER_EIGHT]);

/** Whether a 32-byte X25519 public key is a point of low order, in any of its encodings. */
export function lowOrder(publicKey: Bytes): boolean {
    return LOW_ORDER.has(coordinate(publicKey) % P);
}

/** Whether a 32-byte Ed25519 public key is of small order, or not in its one canonical encoding. */
export function weakIdentity(publicKey: Bytes): boolean {
    const y = coordinate(publicKey);
    return y >= P || SMALL_ORDER.has(y);
}

/** What the key says but for the top bit: the sign of the other coordinate (Ed25519), or unread (X25519). */
function coordinate(publicKey: Bytes): bigint {
    return BigInt(`0x${hex(publicKey.toReversed())}`) & (2n ** 255n - 1n);
}

/**
 * A 32-byte X25519 public key without the bit that RFC 7748 section 5 has everyone leave unread.
 *
 * Firefox takes some keys that have it set for points of low order, which they are not: without it, it seals to
 * whatever the other clients seal to.
 */
export function withoutTopBit(publicKey: Bytes): Bytes {
    const key = publicKey.slice();
    key[31] = (key[31] ?? 0) & 0x7f;
    return key;
}
