/**
 * Attachments: a random key per file, 64 KiB chunks, nothing cut off or moved unnoticed. Spec 04, "Attachments".
 *
 * The key travels in a durable message. Chunk i is AES-256-GCM with nonce `u88 i || u8 last` and the file id as aad.
 * Every chunk but the last holds exactly 64 KiB of plaintext; the last holds at most that, and may be empty.
 */

import { refuse } from '../errors';
import {
    type Bytes,
    type Hex,
    type Value,
    asBytes,
    asList,
    asName,
    asUint,
    hex,
    unhex,
} from '../public/encoding';
import { aesKey, aesOpen, aesSeal } from './aes';
import { type Random, secureRandom } from './random';

export const CHUNK_BYTES = 65_536;
export const TAG_BYTES = 16;
const FILE_ID_BYTES = 16;
const KEY_BYTES = 32;

/** A file's id and key: for one file's content only, never for two. */
export class AttachmentKey {
    readonly fileId: Hex;
    readonly sizeBytes: number;
    readonly #raw: Bytes;
    #key: Promise<CryptoKey> | null = null;

    constructor(fileId: Hex, key: Bytes, sizeBytes: number) {
        this.fileId = fileId;
        this.sizeBytes = sizeBytes;
        this.#raw = key;
    }

    static create(sizeBytes: number, random: Random = secureRandom): AttachmentKey {
        return new AttachmentKey(hex(random(FILE_ID_BYTES)), random(KEY_BYTES), sizeBytes);
    }

    /** What the durable message that names the file says; `E_ENCODING`. */
    static parse(value: Value | undefined): AttachmentKey {
        const [fileId, key, sizeBytes] = asList(value, 3);
        return new AttachmentKey(asName(fileId, FILE_ID_BYTES), asBytes(key, KEY_BYTES), asUint(sizeBytes));
    }

    /** What goes into that message: whoever has it can read the file. */
    fields(): readonly [Bytes, Bytes, number] {
        return [unhex(this.fileId), this.#raw, this.sizeBytes];
    }

    get chunks(): number {
        return Math.max(1, Math.ceil(this.sizeBytes / CHUNK_BYTES));
    }

    /** The size of all sealed chunks together. */
    get sealedBytes(): number {
        return this.sizeBytes + TAG_BYTES * this.chunks;
    }

    /** How many bytes of the file chunk `index` holds; `E_ATTACHMENT` when the file has no such chunk. */
    plainBytes(index: number): number {
        const last = this.chunks - 1;
        if (!Number.isInteger(index) || index < 0 || index > last) refuse('E_ATTACHMENT', 'no such chunk');
        return index < last ? CHUNK_BYTES : this.sizeBytes - CHUNK_BYTES * last;
    }

    /**
     * Sealed chunk `index`; the same bytes each time, so an upload can resume anywhere.
     *
     * `E_ATTACHMENT` when `plain` is not of the size that this chunk must have.
     */
    async sealChunk(index: number, plain: Bytes): Promise<Bytes> {
        if (plain.length !== this.plainBytes(index)) refuse('E_ATTACHMENT', 'chunk size');
        return aesSeal(await this.#imported(), this.#nonce(index), plain, unhex(this.fileId));
    }

    /** The plaintext of chunk `index`; `E_ATTACHMENT` when altered, moved or of another size. */
    async openChunk(index: number, sealed: Bytes): Promise<Bytes> {
        if (sealed.length !== this.plainBytes(index) + TAG_BYTES) refuse('E_ATTACHMENT', 'chunk size');
        const plain = await aesOpen(await this.#imported(), this.#nonce(index), sealed, unhex(this.fileId));
        return plain ?? refuse('E_ATTACHMENT', 'chunk does not open');
    }

    /** Sealed chunks of a file that is read by place; `E_ATTACHMENT` when it is of another size than announced. */
    async *sealAll(file: Blob): AsyncGenerator<Bytes, void> {
        if (file.size !== this.sizeBytes) refuse('E_ATTACHMENT', 'another size than announced');
        for (let index = 0; index < this.chunks; index++) {
            const from = index * CHUNK_BYTES;
            const part = await file.slice(from, from + CHUNK_BYTES).arrayBuffer();
            yield await this.sealChunk(index, new Uint8Array(part));
        }
    }

    /**
     * Plain chunks of the sealed ones in order.
     *
     * Nothing counts before the end is reached without error: a file cut short is refused there, with `E_ATTACHMENT`.
     */
    async *openAll(sealed: AsyncIterable<Bytes> | Iterable<Bytes>): AsyncGenerator<Bytes, void> {
        let index = 0;
        for await (const chunk of sealed) yield await this.openChunk(index++, chunk);
        if (index !== this.chunks) refuse('E_ATTACHMENT', 'file cut short');
    }

    #nonce(index: number): Bytes {
        const nonce = new Uint8Array(12);
        // Eleven bytes of index, of which a number below 2^53 fills the last seven at most; then whether it is the last.
        const view = new DataView(nonce.buffer);
        view.setUint32(3, Math.floor(index / 2 ** 32));
        view.setUint32(7, index % 2 ** 32);
        view.setUint8(11, index === this.chunks - 1 ? 1 : 0);
        return nonce;
    }

    #imported(): Promise<CryptoKey> {
        return (this.#key ??= aesKey(this.#raw));
    }
}
