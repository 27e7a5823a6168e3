import { decode, encode } from '@msgpack/msgpack';
import { expect, test } from 'vitest';
import { fromHex, toHex } from '~/protocol/bytes';
import { Misfit, pack, unpack, type Value } from '~/protocol/pack';

const EDGES = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x100,
    0xffff,
    0x10000,
    0xffffffff,
    0x100000000,
    2 ** 53 - 1,
    -1,
    -32,
    -33,
    -128,
    -129,
    -32768,
    -32769,
    -2147483648,
    -2147483649,
    -(2 ** 53 - 1),
];

test('every value is read again as it was written, at every edge of its forms', () => {
    const sizes = [0, 1, 15, 16, 31, 32, 255, 256, 257, 65_535, 65_536];
    const values: Value[] = [
        null,
        true,
        false,
        ...EDGES,
        ...sizes.map((size) => 'x'.repeat(size)),
        ...sizes.map((size) => new Uint8Array(size).fill(size)),
        ...sizes.map((size) => Array.from({ length: size }, (_, i) => i)),
        'caf\u00e9 \u{1f7e2}',
    ];
    for (const value of values) expect(unpack(pack(value))).toEqual(value);
    // All of them in one, so that the writer grows in the middle of each.
    expect(unpack(pack(values))).toEqual(values);
    for (let front = 200; front < 300; front++) {
        const one = ['y'.repeat(front), new Uint8Array(600).fill(1), 2 ** 40, 'z', 70_000, true];
        expect(unpack(pack(one))).toEqual(one);
    }
});

test('the smallest form is written', () => {
    expect(EDGES.map((value) => pack(value).length)).toEqual([
        1, 1, 1, 2, 2, 3, 3, 5, 5, 9, 9, 1, 1, 2, 2, 3, 3, 5, 5, 9, 9,
    ]);
});

test('bytes cut short or with a tail are no value', () => {
    const data = pack([1, 'two', new Uint8Array(3), [4, null, 2 ** 40]]);
    for (let length = 0; length < data.length; length++) {
        expect(() => unpack(data.subarray(0, length))).toThrow(Misfit);
    }
    expect(() => unpack(new Uint8Array([...data, 0]))).toThrow(Misfit);
});

test.each([
    'ca3f800000',
    'cb3ff0000000000000',
    '80',
    'de0000',
    'c7000100',
    'd40100',
    'c1',
    'a1ff',
    'a3eda080',
])('%s is refused', (text) => {
    expect(() => unpack(fromHex(text))).toThrow(Misfit);
});

test('integers are exact or refused', () => {
    expect(unpack(fromHex('cf001fffffffffffff'))).toBe(2 ** 53 - 1);
    for (const text of [
        'cf0020000000000000',
        'cf0020000000000001',
        'd3ffe0000000000000',
        'd38000000000000000',
    ]) {
        expect(() => unpack(fromHex(text))).toThrow(Misfit);
    }
    for (const number of [1.5, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY]) {
        expect(() => pack(number)).toThrow(Misfit);
    }
    expect(toHex(pack(-2147483648))).toBe('d280000000');
});

test('another library reads what is written, and writes what is read', () => {
    const sizes = [0, 15, 16, 31, 32, 255, 256, 65_535, 65_536];
    const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;
    const keys = (count: number): string[] => Array.from({ length: count }, (_, i) => `k${String(i)}`);
    const values: Value[] = [
        null,
        true,
        false,
        ...EDGES,
        ...sizes.map((size) => 'x'.repeat(size)),
        'caf\u00e9 \u{1f7e2}',
        ...sizes.map((size) => new Uint8Array(size).fill(size)),
        ...sizes.map((size) => Array<Value>(size).fill(1)),
        ...sizes.map((size) => Object.fromEntries(keys(size).map((key) => [key, size]))),
        [[], {}, { a: [{ b: new Uint8Array(2) }] }],
    ];
    for (const value of values) {
        const [ours, others] = [pack(value), encode(value)];
        expect(same(others, ours)).toBe(true);
        expect(same(pack(unpack(others, { maps: true })), ours)).toBe(true);
        expect(same(encode(decode(ours)), ours)).toBe(true);
    }
});

test('maps are read where they are admitted, and keys are text that stands once', () => {
    const maps = { maps: true };
    expect(Object.entries(unpack(fromHex('81a16101'), maps) as object)).toEqual([['a', 1]]);
    for (const text of ['82a16101a16102', '8101c0', '81c40161c0', '81a161', 'dfffffffff']) {
        expect(() => unpack(fromHex(text), maps)).toThrow(Misfit);
    }
    expect(() => unpack(fromHex('81a16101'))).toThrow(Misfit);
    const read = unpack(fromHex('81a95f5f70726f746f5f5f01'), maps);
    expect(Object.getPrototypeOf(read)).toBeNull();
    expect(Object.entries(read as object)).toEqual([['__proto__', 1]]);
});

test('the caller sets the bounds', () => {
    expect(unpack(fromHex('9190'), { depth: 2, maxBytes: 2 })).toEqual([[]]);
    expect(() => unpack(fromHex('9190'), { depth: 1 })).toThrow(Misfit);
    expect(() => unpack(fromHex('9180'), { depth: 1, maps: true })).toThrow(Misfit);
    expect(() => unpack(fromHex('9190'), { maxBytes: 1 })).toThrow(Misfit);
});

test('arrays stand in one another up to a bound', () => {
    expect(unpack(fromHex(`${'91'.repeat(15)}90`))).toHaveLength(1);
    expect(() => unpack(fromHex(`${'91'.repeat(16)}90`))).toThrow(Misfit);
});
