/**
 * Signed objects: `[payload, signer_id, signature]`, verified before they are decoded. Spec 04, "Signed objects".
 *
 * The signature is Ed25519 over `PAE("leeside1 sig", type, signer_id, payload)`, so a signature of one type never
 * passes for another, nor for another signer.
 */

import type { Bytes } from '~/protocol/bytes';
import { refuse } from '../errors';
import {
    type Hex,
    MAX_OBJECT_BYTES,
    PREFIX,
    type Value,
    asBytes,
    asList,
    asName,
    decode,
    digest,
    encode,
    hex,
    pae,
    unhex,
    utf8,
} from './encoding';

export type SignedKind = 'dir' | 'dir-co' | 'devkey' | 'commit' | 'boxes' | 'grant' | 'archive';

export const SIGNATURE_BYTES = 64;
export const PUBLIC_KEY_BYTES = 32;

/** A payload with who signed it. Nothing is verified by its mere existence. */
export interface Signed {
    readonly payload: Bytes;
    readonly signer: Hex;
    readonly signature: Bytes;
}

/** The three fields as they stand in an array. */
export function signedFields(signed: Signed): readonly Value[] {
    return [signed.payload, unhex(signed.signer), signed.signature];
}

export function encodeSigned(signed: Signed): Bytes {
    return encode(signedFields(signed));
}

/** A signed object from its three fields, or `E_ENCODING`. The signature is not yet verified. */
export function signedOf(value: Value | undefined): Signed {
    const [payload, signer, signature] = asList(value, 3);
    return {
        payload: asBytes(payload),
        signer: asName(signer, 16),
        signature: asBytes(signature, SIGNATURE_BYTES),
    };
}

/** A signed object from its bytes, or `E_ENCODING`. The signature is not yet verified. */
export function decodeSigned(data: Uint8Array, maxBytes: number = MAX_OBJECT_BYTES): Signed {
    return signedOf(decode(data, { maxBytes }));
}

/** `H(label, payload, signer, signature)`: the object's name in a chain. */
export function hashOfSigned(label: string, signed: Signed): Promise<Hex> {
    return digest(label, signed.payload, unhex(signed.signer), signed.signature);
}

/** The exact bytes that are signed. */
export function signingInput(kind: SignedKind, signer: Hex, payload: Uint8Array): Bytes {
    return pae(utf8(`${PREFIX}sig`), utf8(kind), unhex(signer), payload);
}

/** Ed25519 (RFC 8032) over `message`; `E_SIG` when it does not hold. */
export async function verifyRaw(publicKey: Bytes, signature: Bytes, message: Bytes): Promise<void> {
    let holds = false;
    try {
        holds = await crypto.subtle.verify('Ed25519', await importedKey(publicKey), signature, message);
    } catch {
        // Some engines refuse to import bytes that are no point, others only find that no signature holds.
    }
    if (!holds) refuse('E_SIG', 'signature');
}

/** That `publicKey` (32 bytes) signed this payload as a `kind`; else `E_SIG`. */
export function verifySigned(signed: Signed, publicKey: Bytes, kind: SignedKind): Promise<void> {
    return verifyRaw(publicKey, signed.signature, signingInput(kind, signed.signer, signed.payload));
}

/** The keys imported last: a frame or commit is mostly signed by one who signed before. */
const imported = new Map<Hex, CryptoKey>();
const MAX_IMPORTED = 1024;

async function importedKey(publicKey: Bytes): Promise<CryptoKey> {
    const name = hex(publicKey);
    const known = imported.get(name);
    if (known !== undefined) return known;
    const key = await crypto.subtle.importKey('raw', publicKey, 'Ed25519', false, ['verify']);
    for (const oldest of imported.keys()) {
        if (imported.size < MAX_IMPORTED) break;
        imported.delete(oldest);
    }
    imported.set(name, key);
    return key;
}
