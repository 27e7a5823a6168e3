import { describe, expect, test } from 'vitest';
import { type Bytes, toHex } from '~/protocol/bytes';
import { ProtocolError, wireLabel } from '~/protocol/errors';
import { readVectors, vectorBytes, type Vectors } from '~/protocol/read-vectors';
import {
    decodeBridgeSignal,
    decodeClientSignal,
    encodeSignal,
    type BridgeSignal,
    type ClientSignal,
} from '~/protocol/video';

const vectors = readVectors('signals') as Vectors<
    { direction: string; message: string; fields: unknown },
    { direction: string; error: string }
>;

const camel = (name: string): string =>
    name.replaceAll(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
const snake = (name: string): string => name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** What a message holds, as the vectors write it: bytes in hexadecimal, and what stands in a list by position. */
function plain(value: unknown): unknown {
    if (value instanceof Uint8Array) return toHex(value);
    if (Array.isArray(value)) return value.map((of: unknown) => positions(plain(of)));
    if (typeof value === 'object' && value !== null) {
        return Object.fromEntries(
            Object.entries(value).map(([name, of]) => [
                name,
                name === 'participant' ? positions(plain(of)) : plain(of),
            ]),
        );
    }
    return value;
}

const positions = (value: unknown): unknown =>
    typeof value === 'object' && value !== null ? Object.values(value) : value;

function expected(value: unknown): unknown {
    if (Array.isArray(value)) return value.map(expected);
    if (typeof value === 'object' && value !== null) {
        const { bin } = value as { bin?: string };
        if (bin !== undefined) return bin;
        return Object.fromEntries(Object.entries(value).map(([name, of]) => [camel(name), expected(of)]));
    }
    return value;
}

const read = (direction: string, data: Bytes): ClientSignal | BridgeSignal =>
    direction === 'client' ? decodeClientSignal(data) : decodeBridgeSignal(data);

const code = (act: () => unknown): string => {
    try {
        act();
    } catch (error) {
        if (error instanceof ProtocolError) return wireLabel(error.code);
        throw error;
    }
    return 'none';
};

describe('the vectors of signals', () => {
    test.each(vectors.valid.map((v) => [v.name, v] as const))('%s', (_, vector) => {
        const data = vectorBytes(vector);
        const signal = read(vector.direction, data);
        const { kind, ...rest } = signal;
        expect(kind).toBe(snake(vector.message).slice(1));
        expect(plain(rest)).toEqual(expected(vector.fields));
        expect(read(vector.direction, encodeSignal(signal))).toEqual(signal);
    });

    test.each(vectors.invalid.map((v) => [v.name, v] as const))('%s is refused', (_, vector) => {
        expect(code(() => read(vector.direction, vectorBytes(vector)))).toBe(vector.error);
    });
});
