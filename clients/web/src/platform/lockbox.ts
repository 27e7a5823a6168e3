/**
 * Values at rest: what the local database holds is sealed under one key that cannot be read out of WebCrypto.
 *
 * AES-256-GCM with a random 96-bit nonce in front. The associated data names the table and the row that a value belongs
 * to, so that a value moved to another row does not open. One key stays far below 2^32 values (NIST SP 800-38D, 8.3).
 */

import { StoreDamaged } from '~/model/ports';
import { type Bytes, utf8 } from '~/protocol/bytes';

const NONCE_BYTES = 12;
const ALGORITHM = { name: 'AES-GCM', length: 256 } as const;

export type RowKey = string | number | readonly (string | number)[];

export class Lockbox {
    readonly #key: CryptoKey;

    constructor(key: CryptoKey) {
        this.#key = key;
    }

    /** `table` and `row` name the place that the value is kept at. */
    seal(value: Bytes, table: string, row: RowKey): Promise<Bytes> {
        return sealUnder(this.#key, value, place(table, row));
    }

    /** The value; rejects with `StoreDamaged` when it was changed, moved, or belongs to another key. */
    open(sealed: Bytes, table: string, row: RowKey): Promise<Bytes> {
        return openUnder(this.#key, sealed, place(table, row));
    }
}

/** Two names of places are the same text only when table and row are the same. */
function place(table: string, row: RowKey): Bytes {
    return utf8(JSON.stringify([table, row]));
}

/** A key that this browser keeps and never gives out. */
export function newKey(): Promise<CryptoKey> {
    return crypto.subtle.generateKey(ALGORITHM, false, ['encrypt', 'decrypt']);
}

export async function sealUnder(key: CryptoKey, value: Bytes, context: Bytes): Promise<Bytes> {
    const nonce = crypto.getRandomValues(new Uint8Array(NONCE_BYTES));
    const sealed = await crypto.subtle.encrypt(
        { name: ALGORITHM.name, iv: nonce, additionalData: context },
        key,
        value,
    );
    const out = new Uint8Array(NONCE_BYTES + sealed.byteLength);
    out.set(nonce);
    out.set(new Uint8Array(sealed), NONCE_BYTES);
    return out;
}

export async function openUnder(key: CryptoKey, sealed: Bytes, context: Bytes): Promise<Bytes> {
    try {
        const value = await crypto.subtle.decrypt(
            { name: ALGORITHM.name, iv: sealed.slice(0, NONCE_BYTES), additionalData: context },
            key,
            sealed.slice(NONCE_BYTES),
        );
        return new Uint8Array(value);
    } catch {
        throw new StoreDamaged();
    }
}

// ---- under a PIN

/** What guessing one PIN costs (OWASP's figure for PBKDF2 with SHA-256; chosen anew when it is raised). */
export const PIN_ITERATIONS = 600_000;
const PIN_CONTEXT = utf8('leeside1 local pin');

/** A store's key as it is kept under a PIN. */
export interface PinnedKey {
    readonly salt: Bytes;
    readonly iterations: number;
    readonly wrapped: Bytes;
}

/**
 * A new key that opens with this PIN alone. It can be read out only here, for the moment in which it is wrapped.
 *
 * What a PIN is worth: it stops whoever picks the device up. A few digits do not withstand somebody who copies the disk
 * and guesses elsewhere; a passphrase does, and is taken as well.
 */
export async function newPinnedKey(
    pin: string,
    iterations = PIN_ITERATIONS,
): Promise<{ readonly key: CryptoKey; readonly kept: PinnedKey }> {
    const salt = crypto.getRandomValues(new Uint8Array(16));
    const raw = crypto.getRandomValues(new Uint8Array(ALGORITHM.length / 8));
    try {
        const wrapped = await sealUnder(await derived(pin, salt, iterations), raw, PIN_CONTEXT);
        return { key: await imported(raw), kept: { salt, iterations, wrapped } };
    } finally {
        raw.fill(0);
    }
}

/** The key, or null: another PIN. */
export async function openPinnedKey(kept: PinnedKey, pin: string): Promise<CryptoKey | null> {
    const under = await derived(pin, kept.salt, kept.iterations);
    let raw: Bytes;
    try {
        raw = await openUnder(under, kept.wrapped, PIN_CONTEXT);
    } catch (error) {
        if (error instanceof StoreDamaged) return null;
        throw error;
    }
    try {
        return await imported(raw);
    } finally {
        raw.fill(0);
    }
}

function imported(raw: Bytes): Promise<CryptoKey> {
    return crypto.subtle.importKey('raw', raw, ALGORITHM, false, ['encrypt', 'decrypt']);
}

async function derived(pin: string, salt: Bytes, iterations: number): Promise<CryptoKey> {
    const material = await crypto.subtle.importKey('raw', utf8(pin.normalize('NFC')), 'PBKDF2', false, [
        'deriveKey',
    ]);
    return crypto.subtle.deriveKey(
        { name: 'PBKDF2', hash: 'SHA-256', salt, iterations },
        material,
        ALGORITHM,
        false,
        ['encrypt', 'decrypt'],
    );
}
