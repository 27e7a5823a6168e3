/**
 * Enrolment: that a device holds the keys it shows, and the code that people compare.
 *
 * The device signs `PAE("leeside1 enrol", code, public)` and shows its DeviceKey; an authority compares the short code
 * in person or on video and signs `dev+`. Spec 04, "Enrolment".
 */

import type { Bytes } from '~/protocol/bytes';
import { PREFIX, digest, pae, utf8 } from './encoding';
import { verifyRaw } from './signed';

const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';

/** What the device signs to prove that it holds its identity key. */
export function enrolmentInput(code: string, publicKey: Bytes): Bytes {
    return pae(utf8(`${PREFIX}enrol`), utf8(code), publicKey);
}

/** That the holder of `publicKey` answered this code; else `E_SIG`. */
export function verifyEnrolment(publicKey: Bytes, code: string, proof: Bytes): Promise<void> {
    return verifyRaw(publicKey, proof, enrolmentInput(code, publicKey));
}

/**
 * What two people compare: 60 bits over both keys, as `XXXX-XXXX-XXXX` (Crockford base32).
 *
 * Long enough that nobody finds a second pair of keys with the same code.
 */
export async function shortCode(publicKey: Bytes, deviceKeyPayload: Bytes): Promise<string> {
    const bits = BigInt(`0x${(await digest('short code', publicKey, deviceKeyPayload)).slice(0, 15)}`);
    let text = '';
    for (let shift = 55n; shift >= 0n; shift -= 5n) text += ALPHABET.charAt(Number((bits >> shift) & 31n));
    return `${text.slice(0, 4)}-${text.slice(4, 8)}-${text.slice(8)}`;
}
