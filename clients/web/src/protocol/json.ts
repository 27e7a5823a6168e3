/**
 * What JSON carries over HTTP: objects by name, binary values in base64, ids in hexadecimal (spec 02, "HTTP").
 *
 * An answer's unknown fields are ignored, so that fields can be added; a missing or unfit one is a `Misfit`. Names are
 * `snake_case` there and `camelCase` here.
 */

import { type Bytes, fromBase64, toBase64 } from '~/protocol/bytes';
import { ProtocolError } from '~/protocol/errors';
import type { Field } from '~/protocol/fields';
import { type AnyId, asId } from '~/protocol/ids';
import { Misfit } from '~/protocol/pack';

/** Reads a value of parsed JSON, or throws `Misfit`. Every `Field` of plain words and numbers is one. */
export type Reads<T> = Pick<Field<T>, 'read' | 'fallback'>;
type Names = Readonly<Record<string, Reads<unknown>>>;

const snake = (name: string): string => name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** An object by the names of its fields. */
export function record<F extends Names>(
    fields: F,
): Reads<{ readonly [K in keyof F]: F[K] extends Reads<infer T> ? T : never }> {
    const named = Object.entries(fields).map(([name, field]) => ({ name, there: snake(name), field }));
    return {
        read(value) {
            if (typeof value !== 'object' || value === null) throw new Misfit();
            const given = value as Readonly<Record<string, unknown>>;
            const object: Record<string, unknown> = {};
            for (const { name, there, field } of named) {
                const found = Object.hasOwn(given, there) ? given[there] : undefined;
                object[name] =
                    found === undefined && field.fallback ? field.fallback.value : field.read(found);
            }
            return object as ReturnType<ReturnType<typeof record<F>>['read']>;
        },
    };
}

function converted<T>(convert: (text: string) => T): Reads<T> {
    return {
        read(value) {
            if (typeof value !== 'string') throw new Misfit();
            try {
                return convert(value);
            } catch (error) {
                throw error instanceof ProtocolError ? new Misfit() : error;
            }
        },
    };
}

export function hexId<T extends AnyId>(): Reads<T> {
    return converted((text) => asId<T>(text));
}

export const base64: Reads<Bytes> = converted(fromBase64);

export function many<T>(of: Reads<T>): Reads<readonly T[]> {
    return {
        read(value) {
            if (!Array.isArray(value)) throw new Misfit();
            return value.map((item: unknown) => of.read(item));
        },
    };
}

/** A list that an older server leaves out. */
export function orNone<T>(of: Reads<T>): Reads<readonly T[]> {
    return { ...many(of), fallback: { value: [] } };
}

export function orNull<T>(of: Reads<T>): Reads<T | null> {
    return { read: (value) => (value === null || value === undefined ? null : of.read(value)) };
}

/** Words of a list; those of a newer server are left out rather than the whole answer. */
export function knownWords<T extends string>(list: readonly T[]): Reads<readonly T[]> {
    return {
        read(value) {
            if (!Array.isArray(value)) throw new Misfit();
            return list.filter((word) => value.includes(word));
        },
    };
}

/** One word of a list, or null for none and for one of a newer server. */
export function knownWord<T extends string>(list: readonly T[]): Reads<T | null> {
    return { read: (value) => list.find((word) => word === value) ?? null };
}

/** A request's body: names in `snake_case`, bytes in base64, undefined ones left out. */
export function jsonText(value: unknown): string {
    return JSON.stringify(written(value));
}

function written(value: unknown): unknown {
    if (value instanceof Uint8Array) return toBase64(value);
    if (Array.isArray(value)) return value.map(written);
    if (typeof value === 'object' && value !== null) {
        return Object.fromEntries(Object.entries(value).map(([name, of]) => [snake(name), written(of)]));
    }
    return value;
}
