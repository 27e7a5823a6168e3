import { describe, expect, it } from 'vitest';
import { body } from '../conformance/world';
import { codeOf } from '../conformance/vectors';
import { type Value, ZERO32, encode, hex, unhex } from '../public/encoding';
import { type Body, decodeBody, encodeBody, pad, unpad } from './body';

const refusal = (attempt: () => unknown): Promise<string | null> => codeOf(() => attempt());

describe('a body', () => {
    it('comes out as it went in', () => {
        const said: Body = {
            ...body(),
            seen: { seq: 7, hash: ZERO32 },
            data: [null, true, -5, 'ü', 2 ** 40],
        };
        expect(decodeBody(encodeBody(said))).toEqual(said);
        const map = decodeBody(encodeBody(body({ text: 'on my way', to: Uint8Array.of(1, 2) }))).data;
        expect({ ...(map as object) }).toEqual({ text: 'on my way', to: Uint8Array.of(1, 2) });
    });

    it.each<[string, Partial<Body>]>([
        ['half a number', { data: 1.5 }],
        ['a number too large', { data: 2 ** 53 }],
        ['a time before 1970', { tsMs: -1 }],
        ['a type too long', { type: 'x'.repeat(33) }],
        ['too deep', { data: [[[[[[[[1]]]]]]]] }],
        ['a name of another length', { seen: { seq: 1, hash: hex(new Uint8Array(31)) } }],
    ])('is not sealed with %s', async (_, change) => {
        expect(await refusal(() => encodeBody({ ...body(), ...change }))).toBe('E_ENCODING');
    });

    it.each<[string, Value]>([
        ['four fields', ['chat', 1, new Uint8Array(16), null]],
        ['a number for a type', [1, 1, new Uint8Array(16), null, null]],
        ['a boolean for a time', ['chat', true, new Uint8Array(16), null, null]],
        ['half a message id', ['chat', 1, new Uint8Array(8), null, null]],
        ['a log head without its hash', ['chat', 1, new Uint8Array(16), [1], null]],
    ])('is refused with %s', async (_, fields) => {
        expect(await refusal(() => decodeBody(encode(fields)))).toBe('E_ENCODING');
    });
});

describe('padding', () => {
    it('fills up to the bucket, and always by one byte at least', () => {
        for (let length = 0; length < 130; length++) {
            const plain = new Uint8Array(length).fill(length % 3 === 0 ? 0 : 0x80);
            const padded = pad(plain, 64);
            expect(padded.length % 64).toBe(0);
            expect(padded.length - length).toBeGreaterThan(0);
            expect(padded.length - length).toBeLessThanOrEqual(64);
            expect(unpad(padded, 64)).toEqual(plain);
        }
    });

    it.each([
        ['none', ''],
        ['zeros alone', '00'.repeat(64)],
        ['another end', '01'.repeat(64)],
        ['a whole bucket too many', `80${'00'.repeat(127)}`.slice(0, 256)],
    ])('is refused when there is %s', async (_, padded) => {
        expect(await refusal(() => unpad(unhex(padded as never), 64))).toBe('E_FORMAT');
    });
});
