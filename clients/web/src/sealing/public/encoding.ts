/**
 * Strict positional MessagePack, and the unambiguous inputs of hashes and keys. Spec 04, "Encoding".
 *
 * Payload bytes travel and are stored verbatim: verify, then decode, never encode again; so no canonical form is
 * needed. What is decoded is held to a narrow subset of MessagePack: no floats, no extension types, integers within
 * +-(2^53 - 1), no trailing bytes, no key twice, bounded depth and size. The decoder here reads nothing but that
 * subset, so that there is no general one to be held back.
 *
 * Two kinds of byte strings are kept apart by type. *Names* (ids, kids and hashes) are `Hex`, lowercase hexadecimal
 * text, so that `===`, `<` and the keys of a `Map` do what one means. *Material* (keys, payloads, signatures, boxes)
 * is `Bytes`.
 */

import { type Bytes, fromHex, toHex } from '~/protocol/bytes';
import type { Id } from '~/protocol/ids';
import { refuse } from '../errors';

export { type Bytes, sameBytes } from '~/protocol/bytes';

/** A name as lowercase hexadecimal text, two digits a byte; its order is that of the bytes. Every id is one. */
export type Hex = Id<string>;

/** What strict MessagePack holds. Maps have no prototype, so that any text is a key like another. */
export type Value =
    null | boolean | number | string | Bytes | readonly Value[] | { readonly [key: string]: Value };

export const PREFIX = 'leeside1 ';
export const MAX_INT = Number.MAX_SAFE_INTEGER;
export const MAX_DEPTH = 8;
export const MAX_OBJECT_BYTES = 256 * 1024;

// ---- bytes and names ---------------------------------------------------------------------------------------

const TO_UTF8 = new TextEncoder();
const FROM_UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The name that these bytes are. */
export function hex(bytes: Uint8Array): Hex {
    return toHex(bytes) as Hex;
}

/** The bytes of a name. */
export function unhex(name: Hex): Bytes {
    return fromHex(name);
}

export const ZERO32 = hex(new Uint8Array(32));

export function utf8(text: string): Bytes {
    return TO_UTF8.encode(text);
}

/** Eight bytes, big-endian, unsigned. */
export function u64(number: number | bigint): Bytes {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, BigInt(number));
    return bytes;
}

export function concat(parts: readonly Uint8Array[]): Bytes {
    const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
        out.set(part, at);
        at += part.length;
    }
    return out;
}

// ---- the inputs of hashes, signatures and keys -----------------------------------------------------------------

/**
 * Pre-authentication encoding: u32 count, then u32 length and bytes of each part, big-endian.
 *
 * Two different lists of parts never give the same bytes.
 */
export function pae(...parts: readonly Uint8Array[]): Bytes {
    const out = new Uint8Array(parts.reduce((sum, part) => sum + 4 + part.length, 4));
    const view = new DataView(out.buffer);
    view.setUint32(0, parts.length);
    let at = 4;
    for (const part of parts) {
        view.setUint32(at, part.length);
        out.set(part, at + 4);
        at += 4 + part.length;
    }
    return out;
}

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

// ---- writing -------------------------------------------------------------------------------------------------

/**
 * MessagePack bytes of a value, each integer and length in its shortest form.
 *
 * A number that is no safe integer is an error of the caller's (`RangeError`): nobody would accept it.
 */
export function encode(value: Value): Bytes {
    const parts: Uint8Array[] = [];
    write(value, parts);
    return concat(parts);
}

function write(value: Value, parts: Uint8Array[]): void {
    if (value === null) parts.push(Uint8Array.of(0xc0));
    else if (typeof value === 'boolean') parts.push(Uint8Array.of(value ? 0xc3 : 0xc2));
    else if (typeof value === 'number') parts.push(integer(value));
    else if (typeof value === 'string') {
        const text = utf8(value);
        parts.push(
            text.length < 32 ? Uint8Array.of(0xa0 | text.length) : length(0xd9, true, text.length),
            text,
        );
    } else if (value instanceof Uint8Array) {
        parts.push(length(0xc4, true, value.length), value);
    } else if (isArray(value)) {
        parts.push(
            value.length < 16 ? Uint8Array.of(0x90 | value.length) : length(0xdc, false, value.length),
        );
        for (const item of value) write(item, parts);
    } else {
        const pairs = Object.entries(value);
        parts.push(
            pairs.length < 16 ? Uint8Array.of(0x80 | pairs.length) : length(0xde, false, pairs.length),
        );
        for (const [key, item] of pairs) {
            write(key, parts);
            write(item, parts);
        }
    }
}

/** A type byte and a length; the types for one (where there is one), two and four bytes of length follow each other. */
function length(first: number, oneByte: boolean, count: number): Uint8Array {
    if (oneByte && count < 0x100) return Uint8Array.of(first, count);
    const type = oneByte ? first + 1 : first;
    return count < 0x10000 ? number(type, 2, count) : number(type + 1, 4, count);
}

function integer(value: number): Uint8Array {
    if (!Number.isSafeInteger(value)) throw new RangeError('only integers within +-(2^53 - 1) are encoded');
    if (value >= 0) {
        if (value < 0x80) return Uint8Array.of(value);
        if (value < 0x100) return number(0xcc, 1, value);
        if (value < 0x10000) return number(0xcd, 2, value);
        return value < 0x100000000 ? number(0xce, 4, value) : number(0xcf, 8, value);
    }
    if (value >= -0x20) return Uint8Array.of(value);
    if (value >= -0x80) return number(0xd0, 1, value);
    if (value >= -0x8000) return number(0xd1, 2, value);
    return value >= -0x80000000 ? number(0xd2, 4, value) : number(0xd3, 8, value);
}

/** A type byte and `size` bytes of a number, big-endian; a negative one in two's complement. */
function number(type: number, size: 1 | 2 | 4 | 8, value: number): Uint8Array {
    const out = new Uint8Array(1 + size);
    const view = new DataView(out.buffer);
    view.setUint8(0, type);
    if (size === 1) view.setUint8(1, value);
    else if (size === 2) view.setUint16(1, value);
    else if (size === 4) view.setUint32(1, value);
    else view.setBigInt64(1, BigInt(value));
    return out;
}

// ---- reading ---------------------------------------------------------------------------------------------------

export interface DecodeBounds {
    readonly maxBytes?: number;
    /** Whether maps with text keys are admitted inside: in message bodies they are, in signed payloads not. */
    readonly maps?: boolean;
}

/** One positional array, or `E_ENCODING`. */
export function decode(data: Uint8Array, bounds: DecodeBounds = {}): readonly Value[] {
    if (data.length > (bounds.maxBytes ?? MAX_OBJECT_BYTES)) refuse('E_ENCODING', 'object too large');
    const reader = new Reader(data, bounds.maps ?? false);
    const value = reader.value(1);
    if (!reader.atEnd) refuse('E_ENCODING', 'trailing bytes');
    return asList(value);
}

/** Reads the subset from the front. Every length is held against what is left before anything is made of it. */
class Reader {
    readonly #view: DataView;
    #at = 0;

    constructor(
        private readonly data: Uint8Array,
        private readonly maps: boolean,
    ) {
        this.#view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    }

    get atEnd(): boolean {
        return this.#at === this.data.length;
    }

    /** The next value; arrays and maps at `depth` count the outermost as 1. */
    value(depth: number): Value {
        const type = this.#unsigned(1);
        if (type < 0x80) return type;
        if (type < 0x90) return this.#map(type & 0x0f, depth);
        if (type < 0xa0) return this.#array(type & 0x0f, depth);
        if (type < 0xc0) return this.#text(type & 0x1f);
        if (type >= 0xe0) return type - 0x100;
        switch (type) {
            case 0xc0:
                return null;
            case 0xc2:
                return false;
            case 0xc3:
                return true;
            case 0xc4:
                return this.#take(this.#unsigned(1)).slice();
            case 0xc5:
                return this.#take(this.#unsigned(2)).slice();
            case 0xc6:
                return this.#take(this.#unsigned(4)).slice();
            case 0xcc:
                return this.#unsigned(1);
            case 0xcd:
                return this.#unsigned(2);
            case 0xce:
                return this.#unsigned(4);
            case 0xcf:
                return safe(this.#view.getBigUint64(this.#skip(8)));
            case 0xd0:
                return this.#view.getInt8(this.#skip(1));
            case 0xd1:
                return this.#view.getInt16(this.#skip(2));
            case 0xd2:
                return this.#view.getInt32(this.#skip(4));
            case 0xd3:
                return safe(this.#view.getBigInt64(this.#skip(8)));
            case 0xd9:
                return this.#text(this.#unsigned(1));
            case 0xda:
                return this.#text(this.#unsigned(2));
            case 0xdb:
                return this.#text(this.#unsigned(4));
            case 0xdc:
                return this.#array(this.#unsigned(2), depth);
            case 0xdd:
                return this.#array(this.#unsigned(4), depth);
            case 0xde:
                return this.#map(this.#unsigned(2), depth);
            case 0xdf:
                return this.#map(this.#unsigned(4), depth);
            default:
                // Floats (ca, cb), extension types (c7 to c9, d4 to d8), and c1, which is never used.
                return refuse('E_ENCODING', 'type not allowed');
        }
    }

    #array(count: number, depth: number): Value {
        this.#enter(count, depth);
        const items: Value[] = [];
        for (let i = 0; i < count; i++) items.push(this.value(depth + 1));
        return items;
    }

    #map(count: number, depth: number): Value {
        if (!this.maps) refuse('E_ENCODING', 'map not allowed');
        this.#enter(count, depth);
        const map = Object.create(null) as Record<string, Value>;
        for (let i = 0; i < count; i++) {
            const key = this.value(depth + 1);
            if (typeof key !== 'string') refuse('E_ENCODING', 'key is not text');
            if (key in map) refuse('E_ENCODING', 'key twice');
            map[key] = this.value(depth + 1);
        }
        return map;
    }

    #enter(count: number, depth: number): void {
        if (depth > MAX_DEPTH) refuse('E_ENCODING', 'nested too deep');
        if (count > this.data.length - this.#at) refuse('E_ENCODING', 'more announced than is there');
    }

    #text(bytes: number): string {
        const part = this.#take(bytes);
        try {
            return FROM_UTF8.decode(part);
        } catch {
            return refuse('E_ENCODING', 'text is not UTF-8');
        }
    }

    #unsigned(size: 1 | 2 | 4): number {
        const at = this.#skip(size);
        if (size === 1) return this.#view.getUint8(at);
        return size === 2 ? this.#view.getUint16(at) : this.#view.getUint32(at);
    }

    #take(bytes: number): Uint8Array {
        const at = this.#skip(bytes);
        return this.data.subarray(at, at + bytes);
    }

    /** Moves past that many bytes, which must be there; gives where they began. */
    #skip(bytes: number): number {
        const at = this.#at;
        if (bytes > this.data.length - at) refuse('E_ENCODING', 'cut short');
        this.#at = at + bytes;
        return at;
    }
}

function safe(number: bigint): number {
    if (number > MAX_INT || number < -MAX_INT) refuse('E_ENCODING', 'integer out of range');
    return Number(number);
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

function isArray(value: Value | undefined): value is readonly Value[] {
    return Array.isArray(value);
}
