import { describe, expect, it } from 'vitest';
import { fromHex } from '~/protocol/bytes';
import { lowOrder, withoutTopBit } from './curve';

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

describe('the bit that nobody reads', () => {
    it('is taken off, and nothing else', () => {
        expect(withoutTopBit(fromHex('ff'.repeat(32)))).toEqual(fromHex(`${'ff'.repeat(31)}7f`));
        expect(withoutTopBit(fromHex('7f'.repeat(32)))).toEqual(fromHex('7f'.repeat(32)));
    });
});
