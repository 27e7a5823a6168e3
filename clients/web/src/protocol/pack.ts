/**
 * MessagePack as this protocol uses it (spec 01 and 04): integers, text, bytes, booleans, nil and arrays; maps with text
 * keys where the caller admits them; nothing else.
 *
 * Written by hand because the rules are stricter than what libraries check (docs/adr/0016): a float is never taken for
 * an integer, text is UTF-8 or refused, an extension, a key that stands twice, an integer of 2^53 or more and a byte too
 * many are refused, and no length is believed before the bytes are there. So the cost of reading is bounded by the input.
 */

import { type Bytes, utf8 } from '~/protocol/bytes';

/** What is read and written. Maps that were read have no prototype, so that any text is a key like another. */
export type Value =
    null | boolean | number | string | Bytes | readonly Value[] | { readonly [key: string]: Value };

/** Bytes that are not exactly one value of this subset, or a value that does not fit. No text: it would repeat input. */
export class Misfit extends Error {
    override readonly name = 'Misfit';
}

/** Deeper than anything that is ever sent, shallower than any stack. */
export const DEPTH = 16;

const FROM_UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export interface Bounds {
    /** How many arrays and maps may stand in one another. */
    readonly depth?: number;
    readonly maxBytes?: number;
    /** Whether there may be maps. */
    readonly maps?: boolean;
}

/** Read exactly one value. Throws `Misfit`. */
export function unpack(data: Uint8Array, bounds: Bounds = {}): Value {
    const { depth = DEPTH, maxBytes = Infinity, maps = false } = bounds;
    if (data.length > maxBytes) throw new Misfit();
    const reader = new Reader(data, maps);
    const value = reader.value(depth);
    reader.end();
    return value;
}

class Reader {
    readonly #data: Uint8Array;
    readonly #maps: boolean;
    readonly #view: DataView;
    #at = 0;

    constructor(data: Uint8Array, maps: boolean) {
        this.#data = data;
        this.#maps = maps;
        this.#view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    }

    end(): void {
        if (this.#at !== this.#data.length) throw new Misfit();
    }

    value(depth: number): Value {
        const head = this.#view.getUint8(this.#take(1));
        if (head < 0x80) return head;
        if (head < 0x90) return this.#map(head & 0x0f, depth);
        if (head >= 0xe0) return head - 0x100;
        if (head >= 0xa0 && head < 0xc0) return this.#text(head & 0x1f);
        if (head >= 0x90 && head < 0xa0) return this.#array(head & 0x0f, depth);
        switch (head) {
            case 0xc0:
                return null;
            case 0xc2:
                return false;
            case 0xc3:
                return true;
            case 0xc4:
                return this.#bytes(this.#uint(1));
            case 0xc5:
                return this.#bytes(this.#uint(2));
            case 0xc6:
                return this.#bytes(this.#uint(4));
            case 0xcc:
                return this.#uint(1);
            case 0xcd:
                return this.#uint(2);
            case 0xce:
                return this.#uint(4);
            case 0xcf:
                return this.#whole(this.#view.getBigUint64(this.#take(8)));
            case 0xd0:
                return this.#view.getInt8(this.#take(1));
            case 0xd1:
                return this.#view.getInt16(this.#take(2));
            case 0xd2:
                return this.#view.getInt32(this.#take(4));
            case 0xd3:
                return this.#whole(this.#view.getBigInt64(this.#take(8)));
            case 0xd9:
                return this.#text(this.#uint(1));
            case 0xda:
                return this.#text(this.#uint(2));
            case 0xdb:
                return this.#text(this.#uint(4));
            case 0xdc:
                return this.#array(this.#uint(2), depth);
            case 0xdd:
                return this.#array(this.#uint(4), depth);
            case 0xde:
                return this.#map(this.#uint(2), depth);
            case 0xdf:
                return this.#map(this.#uint(4), depth);
            default:
                // Floats (ca, cb), extensions (c7 to c9, d4 to d8), and c1, which is never used.
                throw new Misfit();
        }
    }

    /** Where the next `count` bytes begin; they are there, and are behind us now. */
    #take(count: number): number {
        const at = this.#at;
        if (count > this.#data.length - at) throw new Misfit();
        this.#at = at + count;
        return at;
    }

    #uint(size: 1 | 2 | 4): number {
        const at = this.#take(size);
        return size === 1
            ? this.#view.getUint8(at)
            : size === 2
              ? this.#view.getUint16(at)
              : this.#view.getUint32(at);
    }

    #whole(value: bigint): number {
        const number = Number(value);
        if (!Number.isSafeInteger(number)) throw new Misfit();
        return number;
    }

    #bytes(length: number): Bytes {
        const at = this.#take(length);
        return this.#data.slice(at, at + length);
    }

    #text(length: number): string {
        const at = this.#take(length);
        try {
            return FROM_UTF8.decode(this.#data.subarray(at, at + length));
        } catch {
            throw new Misfit();
        }
    }

    #array(length: number, depth: number): readonly Value[] {
        this.#enter(length, depth);
        const values: Value[] = [];
        for (let i = 0; i < length; i++) values.push(this.value(depth - 1));
        return values;
    }

    #map(length: number, depth: number): Value {
        if (!this.#maps) throw new Misfit();
        this.#enter(length, depth);
        const map = Object.create(null) as Record<string, Value>;
        for (let i = 0; i < length; i++) {
            const key = this.value(depth - 1);
            if (typeof key !== 'string' || key in map) throw new Misfit();
            map[key] = this.value(depth - 1);
        }
        return map;
    }

    /** Every element has a byte at least: a length that lies costs nothing. */
    #enter(length: number, depth: number): void {
        if (depth === 0 || length > this.#data.length - this.#at) throw new Misfit();
    }
}

/** Write one value in the smallest form. Throws `Misfit` for a number that is no safe integer. */
export function pack(value: Value): Bytes {
    const writer = new Writer();
    writer.value(value);
    return writer.done();
}

class Writer {
    #data: Bytes = new Uint8Array(256);
    #view = new DataView(this.#data.buffer);
    #at = 0;

    done(): Bytes {
        return this.#data.slice(0, this.#at);
    }

    value(value: Value): void {
        if (value === null) this.#byte(0xc0);
        else if (typeof value === 'boolean') this.#byte(value ? 0xc3 : 0xc2);
        else if (typeof value === 'number') this.#number(value);
        else if (typeof value === 'string') this.#text(value);
        else if (value instanceof Uint8Array) this.#bytes(value);
        else if (isArray(value)) this.#array(value);
        else this.#map(value);
    }

    #number(value: number): void {
        if (!Number.isSafeInteger(value)) throw new Misfit();
        if (value >= 0) {
            if (value < 0x80) this.#byte(value);
            else if (value < 0x100) this.#head(0xcc, 1, value);
            else if (value < 0x10000) this.#head(0xcd, 2, value);
            else if (value < 0x100000000) this.#head(0xce, 4, value);
            else this.#long(0xcf, BigInt(value));
        } else if (value >= -0x20) this.#byte(value & 0xff);
        else if (value >= -0x80) this.#head(0xd0, 1, value & 0xff);
        else if (value >= -0x8000) this.#head(0xd1, 2, value & 0xffff);
        else if (value >= -0x80000000) this.#head(0xd2, 4, value >>> 0);
        else this.#long(0xd3, BigInt.asUintN(64, BigInt(value)));
    }

    #text(value: string): void {
        const data = utf8(value);
        if (data.length < 0x20) this.#byte(0xa0 | data.length);
        else this.#length(0xd9, data.length);
        this.#raw(data);
    }

    #bytes(data: Bytes): void {
        this.#length(0xc4, data.length);
        this.#raw(data);
    }

    #array(values: readonly Value[]): void {
        if (values.length < 0x10) this.#byte(0x90 | values.length);
        else if (values.length < 0x10000) this.#head(0xdc, 2, values.length);
        else this.#head(0xdd, 4, values.length);
        for (const value of values) this.value(value);
    }

    #map(map: Readonly<Record<string, Value>>): void {
        const entries = Object.entries(map);
        if (entries.length < 0x10) this.#byte(0x80 | entries.length);
        else if (entries.length < 0x10000) this.#head(0xde, 2, entries.length);
        else this.#head(0xdf, 4, entries.length);
        for (const [key, value] of entries) {
            this.#text(key);
            this.value(value);
        }
    }

    /** A length in one, two or four bytes behind `head`, `head + 1` or `head + 2`. */
    #length(head: number, length: number): void {
        if (length < 0x100) this.#head(head, 1, length);
        else if (length < 0x10000) this.#head(head + 1, 2, length);
        else this.#head(head + 2, 4, length);
    }

    #head(head: number, size: 1 | 2 | 4, value: number): void {
        this.#byte(head);
        const at = this.#room(size);
        if (size === 1) this.#view.setUint8(at, value);
        else if (size === 2) this.#view.setUint16(at, value);
        else this.#view.setUint32(at, value);
    }

    #long(head: number, value: bigint): void {
        this.#byte(head);
        const at = this.#room(8);
        this.#view.setBigUint64(at, value);
    }

    #byte(value: number): void {
        const at = this.#room(1);
        this.#view.setUint8(at, value);
    }

    #raw(data: Uint8Array): void {
        const at = this.#room(data.length);
        this.#data.set(data, at);
    }

    /** Where `count` bytes may be written. Ask before touching `#data` or `#view`: they may be others afterwards. */
    #room(count: number): number {
        const at = this.#at;
        this.#at = at + count;
        if (this.#at > this.#data.length) {
            const grown = new Uint8Array(Math.max(this.#at, 2 * this.#data.length));
            grown.set(this.#data);
            this.#data = grown;
            this.#view = new DataView(grown.buffer);
        }
        return at;
    }
}

/** `Array.isArray`, which does not narrow to arrays that are read only. */
export function isArray(value: Value | undefined): value is readonly Value[] {
    return Array.isArray(value);
}
