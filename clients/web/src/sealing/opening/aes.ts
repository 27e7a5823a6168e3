/** AES-GCM by WebCrypto: keys of 16 or 32 bytes, nonces of 12, a tag of 16 behind the ciphertext. */

import type { Bytes } from '../public/encoding';

/** A key of AES-GCM from its 16 or 32 bytes; nobody reads it out again. */
export function aesKey(raw: Bytes): Promise<CryptoKey> {
    return crypto.subtle.importKey('raw', raw, 'AES-GCM', false, ['encrypt', 'decrypt']);
}

export async function aesSeal(key: CryptoKey, nonce: Bytes, plain: Bytes, aad: Bytes): Promise<Bytes> {
    const parameters = { name: 'AES-GCM', iv: nonce, additionalData: aad };
    return new Uint8Array(await crypto.subtle.encrypt(parameters, key, plain));
}

/** The plaintext; null when it does not open: the caller says with which code. */
export async function aesOpen(
    key: CryptoKey,
    nonce: Bytes,
    sealed: Bytes,
    aad: Bytes,
): Promise<Bytes | null> {
    const parameters = { name: 'AES-GCM', iv: nonce, additionalData: aad };
    try {
        return new Uint8Array(await crypto.subtle.decrypt(parameters, key, sealed));
    } catch {
        return null;
    }
}

/** 12 bytes: the salt XOR a counter, as in RFC 9180 and RFC 9605. */
export function nonceOf(salt: Bytes, counter: bigint): Bytes {
    const nonce = salt.slice();
    const tail = new DataView(nonce.buffer, nonce.length - 8);
    tail.setBigUint64(0, tail.getBigUint64(0) ^ counter);
    return nonce;
}
