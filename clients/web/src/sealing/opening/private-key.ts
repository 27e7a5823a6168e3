/**
 * Bringing a raw private key of 32 bytes into WebCrypto, where it cannot be read out again.
 *
 * Only for keys that were born elsewhere: an authority's or custodian's key from a file, and test vectors. A device
 * makes its own keys inside WebCrypto, and nobody ever sees their bytes. RFC 8410 says how they are wrapped.
 */
import { fromBase64Url } from '~/protocol/bytes';
import { type Bytes, concat } from '../public/encoding';

/** What stands before the 32 bytes in a PKCS #8 `PrivateKeyInfo`: the object identifier 1.3.101.n. */
const PKCS8 = { X25519: 110, Ed25519: 112 } as const;
const USAGES = { X25519: ['deriveBits'], Ed25519: ['sign'] } as const satisfies Record<string, KeyUsage[]>;

export interface ImportedKey {
    readonly privateKey: CryptoKey;
    readonly public: Bytes;
}

/** `extractable`: for a store that wraps it under a PIN; what such a store gives back no longer is. */
export async function importPrivateKey(
    kind: 'X25519' | 'Ed25519',
    raw: Bytes,
    extractable = false,
): Promise<ImportedKey> {
    if (raw.length !== 32) throw new RangeError('a private key has 32 bytes');
    const head = Uint8Array.of(0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, PKCS8[kind], 4, 0x22, 4, 0x20);
    const pkcs8 = concat([head, raw]);
    // WebCrypto tells a private key's public half only of one that may be exported, so it is imported twice.
    const readable = await crypto.subtle.importKey('pkcs8', pkcs8, kind, true, USAGES[kind]);
    const jwk = await crypto.subtle.exportKey('jwk', readable);
    const privateKey = await crypto.subtle.importKey('pkcs8', pkcs8, kind, extractable, USAGES[kind]);
    return { privateKey, public: fromBase64Url(jwk.x ?? '') };
}
