/** The small values that the engine keeps in the history, as bytes and back. A note that cannot be read is none. */
import { type Bytes, fromHex, NO_BYTES, toHex } from '~/protocol/bytes';

const UTF8 = new TextDecoder();
const TO_UTF8 = new TextEncoder();

/** Plain data without bytes. It was written by this program, into a store that proves its rows. */
export function noteOf(value: unknown): Bytes {
    return TO_UTF8.encode(JSON.stringify(value));
}

export function readNote(note: Bytes | null): unknown {
    return note === null || note.length === 0 ? null : JSON.parse(UTF8.decode(note));
}

export function noteOfNumber(value: number): Bytes {
    return noteOf(value);
}

export function readNumber(note: Bytes | null): number {
    const value = readNote(note);
    return typeof value === 'number' ? value : 0;
}

export function noteOfText(value: string): Bytes {
    return TO_UTF8.encode(value);
}

export function readText(note: Bytes | null): string {
    return note === null ? '' : UTF8.decode(note);
}

/** Ids of 16 bytes, one after another. */
export function noteOfIds(ids: readonly string[]): Bytes {
    return fromHex(ids.join(''));
}

export function readIds<T extends string>(note: Bytes | null): T[] {
    return (toHex(note ?? NO_BYTES).match(/.{32}/g) as T[] | null) ?? [];
}

export function noteOfNumbers(values: Iterable<number>): Bytes {
    return noteOf([...values]);
}

export function readNumbers(note: Bytes | null): number[] {
    const values = readNote(note);
    return Array.isArray(values) ? values.filter((value) => typeof value === 'number') : [];
}
