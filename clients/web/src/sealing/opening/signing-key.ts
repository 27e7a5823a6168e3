/**
 * An Ed25519 private key: a device's identity, or an authority's. Spec 04, "Keys".
 *
 * It is WebCrypto's own and cannot be read out; IndexedDB keeps it as it is (structured clone).
 */

import type { Bytes, Hex } from '../public/encoding';
import { type Signed, type SignedKind, signingInput } from '../public/signed';
import { importPrivateKey } from './private-key';

/** What a store keeps of a signing key, by structured clone. */
export interface SigningKeyRecord {
    readonly privateKey: CryptoKey;
    readonly public: Bytes;
}

export class SigningKey {
    readonly #privateKey: CryptoKey;
    /** The 32 bytes that others verify with. */
    readonly public: Bytes;

    private constructor(record: SigningKeyRecord) {
        this.#privateKey = record.privateKey;
        this.public = record.public;
    }

    /** `extractable`: for a store that wraps it under a PIN; what such a store gives back no longer is. */
    static async create(extractable = false): Promise<SigningKey> {
        const pair = await crypto.subtle.generateKey('Ed25519', extractable, ['sign', 'verify']);
        const raw = new Uint8Array(await crypto.subtle.exportKey('raw', pair.publicKey));
        return new SigningKey({ privateKey: pair.privateKey, public: raw });
    }

    /** The key of a 32-byte seed that was made elsewhere: an authority's file, a test vector. `extractable` as in `create`. */
    static async fromSeed(seed: Bytes, extractable = false): Promise<SigningKey> {
        return new SigningKey(await importPrivateKey('Ed25519', seed, extractable));
    }

    static restore(record: SigningKeyRecord): SigningKey {
        return new SigningKey(record);
    }

    export(): SigningKeyRecord {
        return { privateKey: this.#privateKey, public: this.public };
    }

    /** The 64 bytes of an Ed25519 signature over `message`. */
    async signRaw(message: Bytes): Promise<Bytes> {
        return new Uint8Array(await crypto.subtle.sign('Ed25519', this.#privateKey, message));
    }

    /** A signed object of that kind, in the name of `signer`. */
    async sign(kind: SignedKind, signer: Hex, payload: Bytes): Promise<Signed> {
        return { payload, signer, signature: await this.signRaw(signingInput(kind, signer, payload)) };
    }
}
