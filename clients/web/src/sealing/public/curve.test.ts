import { describe, expect, it } from 'vitest';
import { type Bytes, fromHex } from '~/protocol/bytes';
import { SigningKey } from '../opening/signing-key';
import { lowOrder, weakIdentity, withoutTopBit } from './curve';
import { Directory } from './directory';
import { codeOf } from '../conformance/vectors';

describe('points of low order', () => {
    // RFC 7748 section 6.1 has them refused; the list is that of https://cr.yp.to/ecdh.html, with its second encodings.
    const points = {
        zero: '00'.repeat(32),
        one: `01${'00'.repeat(31)}`,
        'of order eight': 'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
        'the other of order eight': '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
        'p - 1': `ec${'ff'.repeat(30)}7f`,
        'p, which is zero again': `ed${'ff'.repeat(30)}7f`,
        'p + 1, which is one again': `ee${'ff'.repeat(30)}7f`,
        'one with the bit that nobody reads': `01${'00'.repeat(30)}80`,
        'p - 1 with that bit': `ec${'ff'.repeat(31)}`,
    };
    it.each(Object.entries(points))('%s', (_name, point) => {
        expect(lowOrder(fromHex(point))).toBe(true);
    });

    it('are no others', () => {
        for (const good of ['09', '02']) expect(lowOrder(fromHex(good + '00'.repeat(31)))).toBe(false);
        expect(lowOrder(fromHex('ab'.repeat(32)))).toBe(false);
    });
});

describe('identity keys', () => {
    // The curve of Ed25519, RFC 8032 section 5.1, in affine coordinates.
    type Point = readonly [bigint, bigint];
    const P = 2n ** 255n - 19n;
    const PRIME_ORDER = 2n ** 252n + 27742317777372353535851937790883648493n;
    const mod = (a: bigint): bigint => ((a % P) + P) % P;
    const power = (base: bigint, exponent: bigint): bigint => {
        let result = 1n;
        for (let b = mod(base), e = exponent; e > 0n; e >>= 1n, b = mod(b * b))
            if (e & 1n) result = mod(result * b);
        return result;
    };
    const inverse = (a: bigint): bigint => power(a, P - 2n);
    const D = mod(-121665n * inverse(121666n));
    const add = ([x1, y1]: Point, [x2, y2]: Point): Point => {
        const t = mod(D * x1 * x2 * y1 * y2);
        return [mod((x1 * y2 + x2 * y1) * inverse(1n + t)), mod((y1 * y2 + x1 * x2) * inverse(1n - t))];
    };
    const times = (count: bigint, point: Point): Point => {
        let result: Point = [0n, 1n];
        for (let p = point, n = count; n > 0n; n >>= 1n, p = add(p, p)) if (n & 1n) result = add(result, p);
        return result;
    };
    const xOf = (y: bigint): bigint | null => {
        const [u, v] = [mod(y * y - 1n), mod(D * y * y + 1n)];
        const x = mod(u * v ** 3n * power(u * v ** 7n, (P - 5n) / 8n));
        const roots = [x, mod(x * power(2n, (P - 1n) / 4n))];
        return roots.find((root) => mod(v * root * root) === u) ?? null;
    };
    const encoded = (number: bigint): Bytes => fromHex(number.toString(16).padStart(64, '0')).reverse();
    const SIGN = 2n ** 255n;

    it('of small order are weak, in any encoding', () => {
        // What the prime order leaves of a point like any other has an order that divides 8; of one of 8, these are all.
        let points: readonly Point[] = [];
        for (let y = 2n; points.length < 8 && y < 60n; y++) {
            const x = xOf(y);
            if (x === null) continue;
            const small = times(PRIME_ORDER, [x, y]);
            points = [small];
            for (let p = add(small, small); String(p) !== String(small); p = add(p, small))
                points = [...points, p];
        }
        expect(points.length).toBe(8);
        const ys = new Set(points.map(([, y]) => y));
        for (const y of ys) {
            for (const number of [y, y + SIGN]) expect(weakIdentity(encoded(number))).toBe(true);
            for (const near of [mod(y - 2n), mod(y + 5n)]) {
                if (!ys.has(near)) expect(weakIdentity(encoded(near))).toBe(false);
            }
        }
    });

    it('that are not canonical are weak', () => {
        for (let y = P; y < SIGN; y++) {
            for (const number of [y, y + SIGN]) expect(weakIdentity(encoded(number))).toBe(true);
        }
    });

    it('that a device made are not', async () => {
        for (let i = 0; i < 50; i++) {
            const key = await SigningKey.fromSeed(new Uint8Array(32).fill(i));
            expect(weakIdentity(key.public)).toBe(false);
        }
    });

    it('that are weak found no agency', async () => {
        for (const y of [1n, P + 3n]) {
            expect(await codeOf(() => Directory.of(encoded(y)))).toBe('E_DIR');
        }
    });
});

describe('the bit that nobody reads', () => {
    it('is taken off, and nothing else', () => {
        expect(withoutTopBit(fromHex('ff'.repeat(32)))).toEqual(fromHex(`${'ff'.repeat(31)}7f`));
        expect(withoutTopBit(fromHex('7f'.repeat(32)))).toEqual(fromHex('7f'.repeat(32)));
    });
});
