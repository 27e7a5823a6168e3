/**
 * Public keys that no honest device makes.
 *
 * A point of low order gives no shared secret: nobody can seal to it. Such a key is refused where it is published, so
 * that it cannot stand in the way of a whole channel's next commit. RFC 7748 section 6.1.
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

/** Whether a 32-byte X25519 public key is a point of low order, in any of its encodings. */
export function lowOrder(publicKey: Bytes): boolean {
    const u = BigInt(`0x${hex(publicKey.toReversed())}`) & (2n ** 255n - 1n);
    return LOW_ORDER.has(u % P);
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
