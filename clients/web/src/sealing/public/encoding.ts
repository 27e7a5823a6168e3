/**
 * Strict positional MessagePack, and the unambiguous inputs of hashes and keys. Spec 04, "Encoding".
 *
 * Payload bytes travel and are stored verbatim: verify, then decode, never encode again; so no canonical form is
 * needed. What is decoded is held to a narrow subset of MessagePack: no floats, no extension types, integers within
 * +-(2^53 - 1), no trailing bytes, no key twice, bounded depth and size. The reader in `protocol/pack` knows nothing but
 * that subset; what is left here are the bounds of sealing, and its code.
 *
 * Two kinds of byte strings are kept apart by type. *Names* (ids, kids and hashes) are `Hex`, lowercase hexadecimal
 * text, so that `===`, `<` and the keys of a `Map` do what one means. *Material* (keys, payloads, signatures, boxes)
 * is `Bytes`.
 */

import { type Bytes, type Hex, fromHex, pae, toHex as hex, utf8 } from '~/protocol/bytes';
import { Misfit, type Value, isArray, pack, unpack } from '~/protocol/pack';
import { refuse } from '../errors';

export { type Bytes, type Hex, concat, pae, sameBytes, toHex as hex, utf8 } from '~/protocol/bytes';
export type { Value } from '~/protocol/pack';

export const PREFIX = 'leeside1 ';
export const MAX_INT = Number.MAX_SAFE_INTEGER;
export const MAX_DEPTH = 8;
export const MAX_OBJECT_BYTES = 256 * 1024;

// ---- bytes and names ---------------------------------------------------------------------------------------

/** The bytes of a name. */
export function unhex(name: Hex): Bytes {
    return fromHex(name);
}

export const ZERO32 = hex(new Uint8Array(32));

/** Eight bytes, big-endian, unsigned. */
export function u64(number: number | bigint): Bytes {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, BigInt(number));
    return bytes;
}

// ---- the inputs of hashes, signatures and keys -----------------------------------------------------------------

export async function sha256(data: Bytes): Promise<Hex> {
    return hex(new Uint8Array(await crypto.subtle.digest('SHA-256', data)));
}

/** `H(label, ..)` of the spec: SHA-256 over `PAE("leeside1 " + label, ..)`; 32 bytes. */
export function digest(label: string, ...parts: readonly Uint8Array[]): Promise<Hex> {
    return sha256(pae(utf8(PREFIX + label), ...parts));
}

/** The first 16 bytes of `H(label, ..)`: how everything that has a key is named. */
export async function idOf(label: string, ...parts: readonly Uint8Array[]): Promise<Hex> {
    return (await digest(label, ...parts)).slice(0, 32) as Hex;
}

/** `KDF(secret, label, [context], length)` of the spec: HKDF-SHA-256 (RFC 5869) with an empty salt. */
export async function kdf(
    secret: Bytes,
    label: string,
    context: readonly Uint8Array[],
    lengthBytes = 32,
): Promise<Bytes> {
    const key = await crypto.subtle.importKey('raw', secret, 'HKDF', false, ['deriveBits']);
    const info = pae(utf8(PREFIX + label), ...context);
    const parameters = { name: 'HKDF', hash: 'SHA-256', salt: new Uint8Array(0), info };
    return new Uint8Array(await crypto.subtle.deriveBits(parameters, key, lengthBytes * 8));
}

// ---- MessagePack -----------------------------------------------------------------------------------------------

/**
 * MessagePack bytes of a value, each integer and length in its shortest form.
 *
 * A number that is no safe integer is an error of the caller's (`RangeError`): nobody would accept it.
 */
export function encode(value: Value): Bytes {
    try {
        return pack(value);
    } catch (error) {
        if (error instanceof Misfit) throw new RangeError('only integers within +-(2^53 - 1) are encoded');
        throw error;
    }
}

export interface DecodeBounds {
    readonly maxBytes?: number;
    /** Whether maps with text keys are admitted inside: in message bodies they are, in signed payloads not. */
    readonly maps?: boolean;
}

/** One positional array, or `E_ENCODING`. */
export function decode(data: Uint8Array, bounds: DecodeBounds = {}): readonly Value[] {
    return asList(unpacked(data, bounds));
}

function unpacked(data: Uint8Array, { maxBytes = MAX_OBJECT_BYTES, maps = false }: DecodeBounds): Value {
    try {
        return unpack(data, { depth: MAX_DEPTH, maxBytes, maps });
    } catch (error) {
        if (error instanceof Misfit) return refuse('E_ENCODING', 'no value of the subset');
        throw error;
    }
}

// ---- taking a decoded value for what it must be ------------------------------------------------------------------

/** `value` as an array, of exactly `arity` items where that is given. */
export function asList(value: Value | undefined, arity?: number): readonly Value[] {
    if (!isArray(value)) refuse('E_ENCODING', 'array expected');
    if (arity !== undefined && value.length !== arity) refuse('E_ENCODING', 'wrong arity');
    return value;
}

/** `value` as an array of `most` items at most. */
export function asListOfAtMost(value: Value | undefined, most: number): readonly Value[] {
    const items = asList(value);
    if (items.length > most) refuse('E_ENCODING', 'array too long');
    return items;
}

/** `value` as bytes, of exactly `lengthBytes` where that is given. */
export function asBytes(value: Value | undefined, lengthBytes?: number): Bytes {
    if (!(value instanceof Uint8Array) || (lengthBytes !== undefined && value.length !== lengthBytes)) {
        refuse('E_ENCODING', 'bytes expected');
    }
    return value;
}

/** `value` as a name of exactly `lengthBytes`. */
export function asName(value: Value | undefined, lengthBytes: number): Hex {
    return hex(asBytes(value, lengthBytes));
}

/** `value` as an id, which has 16 bytes; the caller says of what. */
export function asId(value: Value | undefined): Hex {
    return asName(value, 16);
}

/** `value` as an integer from 0 to `most`. */
export function asUint(value: Value | undefined, most: number = MAX_INT): number {
    if (typeof value !== 'number' || value < 0 || value > most) {
        refuse('E_ENCODING', 'unsigned integer expected');
    }
    return value;
}

/** `value` as text of `mostBytes` at most in UTF-8. */
export function asText(value: Value | undefined, mostBytes: number): string {
    if (typeof value !== 'string' || utf8(value).length > mostBytes) refuse('E_ENCODING', 'text expected');
    return value;
}
