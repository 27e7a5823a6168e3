/**
 * Fields of positional arrays: what each may hold, written once and used to read, to write and as a type.
 *
 * Elements behind the known ones are ignored, so that fields can be added at the end; a field with a fallback may be
 * missing there, and is left out in writing when nothing behind it is needed (spec 01, "Messages").
 */

import { type Bytes, toHex } from '~/protocol/bytes';
import {
    type AnyId,
    type ChannelAddress,
    ADDRESS_BYTES,
    ID_BYTES,
    idBytes,
    type StateKey,
} from '~/protocol/ids';
import { INT_MAX } from '~/protocol/limits';
import { Misfit, type Value } from '~/protocol/pack';

/** One element: reads throw `Misfit`, and so do writes of what would be refused. */
export interface Field<T> {
    read(value: unknown): T;
    write(value: T): Value;
    /** What a missing element means. */
    readonly fallback?: { readonly value: T };
}

export type Fields = Readonly<Record<string, Field<unknown>>>;
/** The object that a list of fields describes. */
export type Shape<F extends Fields> = { readonly [K in keyof F]: F[K] extends Field<infer T> ? T : never };

/** Both directions of one check. */
function held<T extends Value>(fits: (value: unknown) => value is T): Field<T> {
    const check = (value: unknown): T => {
        if (!fits(value)) throw new Misfit();
        return value;
    };
    return { read: check, write: check };
}

/** An integer from `least` to `most`. */
export function integer(least: number, most: number): Field<number> {
    return held(
        (value): value is number =>
            Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most,
    );
}

export const count = integer(0, INT_MAX);
export const flag = held((value): value is boolean => typeof value === 'boolean');

/** One of a table's numbers. */
export function choice<T extends number>(table: Readonly<Record<string, T>>): Field<T> {
    const numbers = new Set<unknown>(Object.values(table));
    return held((value): value is T => numbers.has(value));
}

/** One of a list's words. */
export function word<T extends string>(list: readonly T[]): Field<T> {
    const words = new Set<unknown>(list);
    return held((value): value is T => words.has(value));
}

/** Half of a surrogate pair: what UTF-8 cannot carry. */
const HALF = /\p{Surrogate}/u;

/** Text of `least` to `most` Unicode code points. */
export function text(least: number, most: number): Field<string> {
    return held((value): value is string => {
        if (typeof value !== 'string' || value.length > 2 * most || HALF.test(value)) return false;
        const points = Array.from(value).length;
        return points >= least && points <= most;
    });
}

/** Bytes, `least` to `most` of them. */
export function bin(least: number, most: number): Field<Bytes> {
    return held(
        (value): value is Bytes =>
            value instanceof Uint8Array && value.length >= least && value.length <= most,
    );
}

function hex<T extends AnyId | ChannelAddress | StateKey>(...lengths: readonly number[]): Field<T> {
    return {
        read(value) {
            if (!(value instanceof Uint8Array) || !lengths.includes(value.length)) throw new Misfit();
            return toHex(value) as T;
        },
        write(value) {
            if (!lengths.includes(value.length / 2)) throw new Misfit();
            return idBytes(value);
        },
    };
}

/** 16 bytes, as 32 hexadecimal digits here. */
export function id<T extends AnyId>(): Field<T> {
    return hex<T>(ID_BYTES);
}

export const address = hex<ChannelAddress>(ADDRESS_BYTES);

/** Bytes of a state key, as hexadecimal digits here: up to 17, for what no key is answers as such elsewhere. */
export const key = hex<StateKey>(...Array.from({ length: ADDRESS_BYTES + 1 }, (_, length) => length));

/** An array of at most `most` such elements. */
export function list<T>(of: Field<T>, most: number): Field<readonly T[]> {
    return {
        read(value) {
            if (!Array.isArray(value) || value.length > most) throw new Misfit();
            return value.map((element: unknown) => of.read(element));
        },
        write(values) {
            if (values.length > most) throw new Misfit();
            return values.map((value) => of.write(value));
        },
    };
}

/** Nil, or what the field says. */
export function orNil<T>(of: Field<T>): Field<T | null> {
    return {
        read: (value) => (value === null ? null : of.read(value)),
        write: (value) => (value === null ? null : of.write(value)),
    };
}

/** A field that may be missing at the end. */
export function or<T>(of: Field<T>, value: T): Field<T> {
    return {
        read: (element) => of.read(element),
        write: (element) => of.write(element),
        fallback: { value },
    };
}

/** An array within an array: an object by the names of its fields. */
export function positional<F extends Fields>(fields: F): Field<Shape<F>> {
    const named = Object.entries(fields);
    const required = named.filter(([, field]) => field.fallback === undefined).length;
    return {
        read(value) {
            if (!Array.isArray(value) || value.length < required) throw new Misfit();
            const elements = value as readonly unknown[];
            const object: Record<string, unknown> = {};
            for (const [at, [name, field]] of named.entries()) {
                const element = elements[at];
                object[name] = element === undefined ? field.fallback?.value : field.read(element);
            }
            return object as Shape<F>;
        },
        write(object) {
            const elements: Value[] = [];
            let needed = 0;
            for (const [name, field] of named) {
                const value: unknown = object[name];
                elements.push(field.write(value));
                if (field.fallback === undefined || !same(field.fallback.value, value))
                    needed = elements.length;
            }
            return elements.slice(0, needed);
        },
    };
}

/** Fallbacks are plain words, numbers, nil or empty bytes. */
function same(fallback: unknown, value: unknown): boolean {
    if (fallback instanceof Uint8Array) return value instanceof Uint8Array && value.length === 0;
    return fallback === value;
}
