import { describe, expect, it } from 'vitest';
import { codeOf } from '../conformance/vectors';
import { type Bytes, concat, sameBytes } from '../public/encoding';
import { AttachmentKey, CHUNK_BYTES } from './attachments';

async function all(chunks: AsyncIterable<Bytes>): Promise<Bytes[]> {
    const found: Bytes[] = [];
    for await (const chunk of chunks) found.push(chunk);
    return found;
}

describe('a file', () => {
    const file = new Uint8Array(2 * CHUNK_BYTES + 5).map((_, i) => i % 251);

    it('comes out as it went in, and its key travels in three fields', async () => {
        const key = AttachmentKey.create(file.length);
        const sealed = await all(key.sealAll(new Blob([file])));
        expect(sealed.map((c) => c.length)).toEqual([CHUNK_BYTES + 16, CHUNK_BYTES + 16, 21]);
        expect(sealed.reduce((sum, c) => sum + c.length, 0)).toBe(key.sealedBytes);
        const same = AttachmentKey.parse(key.fields());
        expect(sameBytes(concat(await all(same.openAll(sealed))), file)).toBe(true);
        const again = await same.sealChunk(1, file.slice(CHUNK_BYTES, 2 * CHUNK_BYTES));
        expect(sameBytes(again, sealed[1] ?? file)).toBe(true);
    });

    it('that is empty has one empty chunk', async () => {
        const key = AttachmentKey.create(0);
        const sealed = await all(key.sealAll(new Blob([])));
        expect(sealed.map((c) => c.length)).toEqual([16]);
        expect(concat(await all(key.openAll(sealed)))).toEqual(new Uint8Array(0));
        expect(await codeOf(() => all(key.openAll([])))).toBe('E_ATTACHMENT');
    });

    it('of other size than announced is not sealed, nor a chunk that it does not have', async () => {
        const key = AttachmentKey.create(file.length);
        expect(await codeOf(() => all(key.sealAll(new Blob([file.slice(1)]))))).toBe('E_ATTACHMENT');
        for (const index of [-1, 3, 0.5, NaN]) {
            expect(await codeOf(() => key.sealChunk(index, new Uint8Array(5)))).toBe('E_ATTACHMENT');
            expect(await codeOf(() => key.openChunk(index, new Uint8Array(21)))).toBe('E_ATTACHMENT');
        }
    });

    it('counts its chunks beyond 32 bits', async () => {
        const key = AttachmentKey.create(CHUNK_BYTES * (2 ** 33 + 1));
        const plain = new Uint8Array(CHUNK_BYTES);
        const [one, far] = [await key.sealChunk(1, plain), await key.sealChunk(2 ** 32 + 1, plain)];
        expect(sameBytes(one, far)).toBe(false);
        expect(sameBytes(await key.openChunk(2 ** 32 + 1, far), plain)).toBe(true);
    });
});
