import { describe, expect, it } from 'vitest';
import { fromHex } from '~/protocol/bytes';
import { VECTORS } from '../conformance/read-vectors';
import { codeOf } from '../conformance/vectors';
import { SealingError } from '../errors';
import {
    MAX_INT,
    type Value,
    asBytes,
    asList,
    asListOfAtMost,
    asName,
    asText,
    asUint,
    concat,
    decode,
    digest,
    encode,
    hex,
    kdf,
    pae,
    u64,
    unhex,
    utf8,
} from './encoding';

const refused = (data: Uint8Array, bounds = {}): string | null => {
    try {
        decode(data, bounds);
        return null;
    } catch (error) {
        if (error instanceof SealingError) return error.code;
        throw error;
    }
};
/** An array of one item, whose bytes these are. */
const one = (...bytes: number[]): Uint8Array => Uint8Array.of(0x91, ...bytes);
const nested = (depth: number): Uint8Array => new Uint8Array([...Array<number>(depth - 1).fill(0x91), 0x90]);

describe('the vectors', () => {
    it.each(VECTORS.encoding.pae)('PAE of $parts', ({ parts, result }) => {
        expect(hex(pae(...parts.map(fromHex)))).toBe(result);
    });

    it('H', async () => {
        const { label, parts, result } = VECTORS.encoding.digest;
        expect(await digest(label, ...parts.map(fromHex))).toBe(result);
    });
});

describe('KDF', () => {
    // RFC 5869, test case 3, has an empty salt and info; here the info is never empty, so it is checked by its parts.
    it('is HKDF-SHA-256 with an empty salt and the context in its info', async () => {
        const secret = new Uint8Array(32).fill(7);
        const out = await kdf(secret, 'class', [u64(1), utf8('x')], 44);
        const zeroSalt = await hmac(new Uint8Array(32), secret);
        const info = pae(utf8('leeside1 class'), u64(1), utf8('x'));
        const first = await hmac(zeroSalt, concat([info, Uint8Array.of(1)]));
        const second = await hmac(zeroSalt, concat([first, info, Uint8Array.of(2)]));
        expect(hex(out)).toBe(hex(concat([first, second]).slice(0, 44)));
    });

    async function hmac(key: Uint8Array<ArrayBuffer>, data: Uint8Array<ArrayBuffer>) {
        const imported = await crypto.subtle.importKey('raw', key, { name: 'HMAC', hash: 'SHA-256' }, false, [
            'sign',
        ]);
        return new Uint8Array(await crypto.subtle.sign('HMAC', imported, data));
    }
});

describe('what is written is read again', () => {
    const integers = [0, 1, 127, 128, 255, 256, 65535, 65536, 2 ** 32 - 1, 2 ** 32, MAX_INT];
    const values: Value[] = [
        null,
        true,
        false,
        '',
        'zwölf',
        'x'.repeat(31),
        'x'.repeat(32),
        'x'.repeat(256),
        'x'.repeat(70000),
        ...integers,
        ...integers.slice(1).map((n) => -n),
        ...[-32, -33, -129, -32769, -2147483649],
        ...[0, 255, 256, 70000].map((n) => new Uint8Array(n)),
        ...[0, 15, 16, 70000].map((n) => Array<Value>(n).fill(1)),
    ];
    it.each(values)('value %#', (value) => {
        expect(decode(encode([value]))).toEqual([value]);
    });

    it('maps inside, where they are admitted', () => {
        const map: Value = JSON.parse('{"a":1,"__proto__":[2],"constructor":{"b":null}}') as Value;
        const [read] = decode(encode([map]), { maps: true });
        expect(Object.entries(read as object)).toEqual(Object.entries(map as object));
        expect(hex(encode([read ?? null]))).toBe(hex(encode([map])));
        expect(refused(encode([map]))).toBe('E_ENCODING');
    });

    it('in the shortest form', () => {
        expect(hex(encode([1, 300, -1, -200, 'a', Uint8Array.of(9), null, [true]]))).toBe(
            '9801cd012cffd1ff38a161c40109c091c3',
        );
    });

    it('but never a number that is no safe integer', () => {
        for (const number of [0.5, Number.NaN, 2 ** 53, -(2 ** 53)]) {
            expect(() => encode([number])).toThrow(RangeError);
        }
    });
});

describe('what is refused', () => {
    const cases: Record<string, Uint8Array> = {
        nothing: new Uint8Array(0),
        'no array': Uint8Array.of(0x01),
        'a map outside': Uint8Array.of(0x80),
        'a map inside': one(0x80),
        'float 32': one(0xca, 0, 0, 0, 0),
        'float 64': one(0xcb, 0, 0, 0, 0, 0, 0, 0, 0),
        'fixed extension': one(0xd4, 1, 0),
        'a timestamp': one(0xd6, 0xff, 0, 0, 0, 0),
        'an extension of eight bits': one(0xc7, 1, 1, 0),
        'the type never used': one(0xc1),
        'trailing bytes': Uint8Array.of(0x90, 0xc0),
        'an array cut short': Uint8Array.of(0x92, 0x01),
        'an array of four thousand million': Uint8Array.of(0xdd, 0xff, 0xff, 0xff, 0xff),
        'bytes cut short': one(0xc6, 0xff, 0xff, 0xff, 0xff, 0),
        'text cut short': one(0xd9, 5, 0x61),
        'text that is not UTF-8': one(0xa1, 0xff),
        'a surrogate in text': one(0xa3, 0xed, 0xa0, 0x80),
        '2^53': one(0xcf, 0, 0x20, 0, 0, 0, 0, 0, 0),
        '2^64 - 1': one(0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
        '-2^53': one(0xd3, 0xff, 0xe0, 0, 0, 0, 0, 0, 0),
        'an integer cut short': one(0xcd, 1),
        'depth 9': nested(9),
    };
    it.each(Object.entries(cases))('%s', (_name, data) => {
        expect(refused(data)).toBe('E_ENCODING');
    });

    const maps: Record<string, Uint8Array> = {
        'a key twice': one(0x82, 0xa1, 0x61, 1, 0xa1, 0x61, 2),
        '__proto__ twice': one(0x82, ...named('__proto__'), 1, ...named('__proto__'), 2),
        'a number as key': one(0x81, 1, 1),
        'bytes as key': one(0x81, 0xc4, 1, 0x61, 1),
        'a map cut short': one(0x81, 0xa1, 0x61),
        'a map too deep': new Uint8Array([...Array<number>(8).fill(0x91), 0x80]),
    };
    it.each(Object.entries(maps))('%s', (_name, data) => {
        expect(refused(data, { maps: true })).toBe('E_ENCODING');
    });

    function named(text: string): number[] {
        return [...encode(text)];
    }

    it('one byte over the bound, but not the bound', () => {
        const data = encode([new Uint8Array(10)]);
        expect(refused(data, { maxBytes: data.length })).toBeNull();
        expect(refused(data, { maxBytes: data.length - 1 })).toBe('E_ENCODING');
    });

    it('every cut of a good object', () => {
        const good = encode([1, 'text', new Uint8Array(40), [300, -5000000000, null]]);
        for (let end = 0; end < good.length; end++) {
            expect(refused(good.subarray(0, end))).toBe('E_ENCODING');
        }
    });
});

describe('what is admitted', () => {
    it('depth 8', () => {
        expect(refused(nested(8))).toBeNull();
    });

    it('longer forms than needed', () => {
        expect(decode(one(0xcf, 0, 0, 0, 0, 0, 0, 0, 5))).toEqual([5]);
        expect(decode(one(0xd3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe))).toEqual([-2]);
        expect(decode(Uint8Array.of(0xdd, 0, 0, 0, 1, 0xdb, 0, 0, 0, 1, 0x61))).toEqual(['a']);
        expect(decode(one(0xd0, 0x80))).toEqual([-128]);
    });

    it('a part of a longer buffer, of which nothing is kept', () => {
        const buffer = concat([Uint8Array.of(0xff), encode([Uint8Array.of(1, 2)]), Uint8Array.of(0xff)]);
        const [bytes] = decode(buffer.subarray(1, buffer.length - 1));
        buffer.fill(0);
        expect(bytes).toEqual(Uint8Array.of(1, 2));
    });
});

describe('taking values', () => {
    const bad: [string, () => unknown][] = [
        ['a boolean where a number is due', () => asUint(true)],
        ['a negative number', () => asUint(-1)],
        ['a number over its bound', () => asUint(6, 5)],
        ['text where a number is due', () => asUint('1')],
        ['bytes of another length', () => asBytes(new Uint8Array(15), 16)],
        ['text where bytes are due', () => asBytes('x')],
        ['a name of another length', () => asName(new Uint8Array(17), 16)],
        ['text over its bound in UTF-8', () => asText('öö', 3)],
        ['bytes where text is due', () => asText(new Uint8Array(1), 9)],
        ['another arity', () => asList([1, 2], 3)],
        ['nil where an array is due', () => asList(null)],
        ['bytes where an array is due', () => asList(new Uint8Array(3))],
        ['an array over its bound', () => asListOfAtMost([1, 2], 1)],
        ['what is not there', () => asUint(undefined)],
    ];
    it.each(bad)('refuses %s', async (_name, take) => {
        expect(await codeOf(() => Promise.resolve().then(take))).toBe('E_ENCODING');
    });

    it('gives what is right', () => {
        expect(asUint(5, 5)).toBe(5);
        expect(asText('ö', 2)).toBe('ö');
        expect(asName(Uint8Array.of(0xab, 0x01), 2)).toBe('ab01');
        expect(asListOfAtMost([1], 1)).toEqual([1]);
    });
});

describe('names', () => {
    it('are the bytes and back, in the same order', () => {
        const all = Uint8Array.from({ length: 256 }, (_, i) => i);
        expect(unhex(hex(all))).toEqual(all);
        expect(hex(Uint8Array.of(9)) < hex(Uint8Array.of(10))).toBe(true);
    });
});
