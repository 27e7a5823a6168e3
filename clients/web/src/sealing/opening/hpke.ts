/**
 * HPKE (RFC 9180) base mode, single shot: X25519, HKDF-SHA-256, AES-256-GCM, empty aad.
 *
 * All context goes into `info`. Suite 1 only; suite 2 (MLKEM768-X25519) is reserved. Private keys are WebCrypto's own,
 * made so that nobody can read them out, this program included. Spec chapter 04, "Device keys" and "Boxes".
 */
import { AEAD_AES_256_GCM, CipherSuite, KDF_HKDF_SHA256, KEM_DHKEM_X25519_HKDF_SHA256 } from 'hpke';
import { refuse } from '../errors';
import { lowOrder, withoutTopBit } from '../public/curve';
import { type Bytes, concat } from '../public/encoding';
import { SUITE_X25519 } from '../public/entries';
import { importPrivateKey } from './private-key';

const ENCAPSULATED_BYTES = 32;
const X25519 = new CipherSuite(KEM_DHKEM_X25519_HKDF_SHA256, KDF_HKDF_SHA256, AEAD_AES_256_GCM);

/** A private key with its public half, which opening needs too. `public` is the 32 bytes that others seal to. */
export interface HpkeKeyPair {
    readonly privateKey: CryptoKey;
    readonly publicKey: CryptoKey;
    readonly public: Bytes;
}

/** A new key pair. Its private half can be exported only when that is asked for: see `SigningKey.create`. */
export async function generateHpkeKeyPair(extractable = false): Promise<HpkeKeyPair> {
    const pair = await crypto.subtle.generateKey('X25519', extractable, ['deriveBits']);
    const raw = new Uint8Array(await crypto.subtle.exportKey('raw', pair.publicKey));
    return { privateKey: pair.privateKey, publicKey: pair.publicKey, public: raw };
}

/** The pair of a private key of 32 bytes that came from elsewhere: a custodian's file, a test vector. */
export async function importHpkeKeyPair(privateBytes: Bytes): Promise<HpkeKeyPair> {
    const imported = await importPrivateKey('X25519', privateBytes);
    const publicKey = await crypto.subtle.importKey('raw', imported.public, 'X25519', true, []);
    return { ...imported, publicKey };
}

/** `enc || ct`; `E_DEVKEY` for a public key that gives no secret, `E_FORMAT` for another suite. */
export async function hpkeSeal(suite: number, to: Bytes, info: Bytes, plaintext: Bytes): Promise<Bytes> {
    const cipher = cipherOf(suite);
    if (lowOrder(to)) refuse('E_DEVKEY', 'unusable HPKE key');
    try {
        const key = await cipher.DeserializePublicKey(withoutTopBit(to));
        const { encapsulatedSecret, ciphertext } = await cipher.Seal(key, plaintext, { info });
        return concat([encapsulatedSecret, ciphertext]);
    } catch {
        return refuse('E_DEVKEY', 'unusable HPKE key');
    }
}

/** The plaintext of `enc || ct`; `E_BOX` when it does not open, `E_FORMAT` for another suite. */
export async function hpkeOpen(suite: number, pair: HpkeKeyPair, info: Bytes, sealed: Bytes): Promise<Bytes> {
    const cipher = cipherOf(suite);
    try {
        const enc = sealed.slice(0, ENCAPSULATED_BYTES);
        return concat([await cipher.Open(pair, enc, sealed.slice(ENCAPSULATED_BYTES), { info })]);
    } catch {
        return refuse('E_BOX', 'does not open');
    }
}

function cipherOf(suite: number): CipherSuite<CryptoKey> {
    if (suite !== SUITE_X25519) refuse('E_FORMAT', 'unknown suite');
    return X25519;
}
