import { describe, expect, test } from 'vitest';
import { type Bytes, toHex } from '~/protocol/bytes';
import { decodeClient, decodeServer, encode } from '~/protocol/codec';
import { ProtocolError, wireLabel } from '~/protocol/errors';
import type { ClientMessage, ServerMessage } from '~/protocol/messages';
import { readVectors, vectorBytes, type Vectors } from '~/protocol/read-vectors';

const vectors = readVectors('messages') as Vectors<
    { direction: string; message: string | null; fields: unknown },
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
        return Object.fromEntries(Object.entries(value).map(([name, of]) => [name, plain(of)]));
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

const read = (direction: string, data: Bytes): ClientMessage | ServerMessage | null =>
    direction === 'client' ? decodeClient(data) : decodeServer(data);

const code = (act: () => unknown): string => {
    try {
        act();
    } catch (error) {
        if (error instanceof ProtocolError) return wireLabel(error.code);
        throw error;
    }
    return 'none';
};

describe('the vectors of messages', () => {
    test.each(vectors.valid.map((v) => [v.name, v] as const))('%s', (_, vector) => {
        const data = vectorBytes(vector);
        const message = read(vector.direction, data);
        const { message: name, fields } = vector;
        if (name === null) {
            expect(message).toBeNull();
            return;
        }
        if (message === null) throw new Error('it was ignored');
        const { kind, ...rest } = message;
        expect(kind).toBe(snake(name).slice(1));
        expect(plain(rest)).toEqual(expected(fields));
        expect(read(vector.direction, encode(message))).toEqual(message);
    });

    test.each(vectors.invalid.map((v) => [v.name, v] as const))('%s is refused', (_, vector) => {
        expect(code(() => read(vector.direction, vectorBytes(vector)))).toBe(vector.error);
    });
});
