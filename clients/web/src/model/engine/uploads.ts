/**
 * Files on their way: sealed chunk by chunk and kept here first, then stored at the server, then named in a message.
 *
 * The same key seals the same bytes to the same chunks, so an upload goes on where it broke off, over any number of reloads:
 * what of it stands, the server says. The key travels in the message alone. Spec chapter 04, "Attachments".
 *
 * Notes written: `upload <message>`: what is sent, once all its chunks are kept; `chunk <message> <index>`: one of them,
 * sealed twice, until the message that names the file is in the outbox.
 */
import { ApiError } from '~/link/errors';
import { askedMs, backoffMs } from '~/link/connection';
import { fromHex, NO_BYTES, toHex } from '~/protocol/bytes';
import { type ContentOf, FILE_NAME_CHARS, MEDIA_TYPE_CHARS, TEXT_CHARS } from '~/protocol/bodies';
import { WireError } from '~/protocol/errors';
import { type BlobId, idOf, type MessageId } from '~/protocol/ids';
import { BLOB_BYTES } from '~/protocol/limits';
import { AttachmentKey, CHUNK_BYTES } from '~/sealing/opening/attachments';
import type { Hex } from '~/sealing/public/encoding';

import type { ChannelId, EngineEvent, Row } from '../engine';
import { EngineFailure } from './errors';
import type { Home } from './home';
import { noteOf, readNote } from './notes';
import { waitingProgress } from './progress';
import type { Compose } from './room';
import { type Teller, tellWaiting } from './telling';

interface Upload {
    readonly id: MessageId;
    readonly channel: ChannelId;
    readonly key: string;
    readonly fileId: Hex;
    readonly sizeBytes: number;
    readonly sha256: string;
    readonly name: string;
    readonly mediaType: string;
    readonly caption: string;
    readonly blob: BlobId | null;
    readonly madeMs: number;
    /** A number of spec 90, once the server refused it for good. */
    readonly code: number;
}

/** How a row of an upload is told: by the teller of its channel. */
export type TellerOf = (channel: ChannelId) => Teller | null;

export class Uploads {
    private readonly uploads = new Map<MessageId, Upload>();
    /** Plain bytes of files that are under way, sent or fetched. */
    private readonly done = new Map<MessageId, number>();
    private readonly working = new Set<MessageId>();

    constructor(
        private readonly home: Home,
        private readonly put: (event: EngineEvent) => void,
        private readonly compose: Compose,
        private readonly tellerOf: TellerOf,
    ) {}

    async restore(): Promise<void> {
        for (const note of (await this.home.history.notes('upload ')).values()) {
            const upload = readNote(note) as Upload;
            this.uploads.set(upload.id, upload);
            this.done.set(upload.id, 0);
        }
    }

    /** Go on with what an earlier run left. */
    start(): void {
        for (const { id, code } of this.uploads.values()) if (code === 0) this.begin(id);
    }

    /** Plain bytes of a file that were sent or fetched; null for one that is not under way. */
    doneBytes(id: MessageId): number | null {
        return this.done.get(id) ?? null;
    }

    /** Seal a file and keep it: what is sent is on disk when this resolves. */
    async add(channel: ChannelId, file: Blob, name: string, caption: string): Promise<MessageId> {
        const { history, random } = this.home;
        const key = AttachmentKey.create(file.size);
        if (key.sealedBytes > BLOB_BYTES) throw new EngineFailure('too_large');
        if (Array.from(caption).length > TEXT_CHARS) throw new EngineFailure('too_long');
        const id = idOf<MessageId>(random.bytes(16));
        const digest = await crypto.subtle.digest('SHA-256', await file.arrayBuffer());
        try {
            let index = 0;
            for await (const chunk of key.sealAll(file)) {
                await history.keepNotes(new Map([[chunkNote(id, index++), chunk]]));
            }
            const [fileId, secret] = key.fields();
            await this.keep({
                id,
                channel,
                key: toHex(secret),
                fileId: toHex(fileId),
                sizeBytes: file.size,
                sha256: toHex(new Uint8Array(digest)),
                name: Array.from(name === '' ? 'file' : name)
                    .slice(0, FILE_NAME_CHARS)
                    .join(''),
                mediaType: file.type.slice(0, MEDIA_TYPE_CHARS),
                caption,
                blob: null,
                madeMs: this.home.nowMs(),
                code: 0,
            });
        } catch (error) {
            await this.forgetNotes(id);
            throw error;
        }
        this.done.set(id, 0);
        this.tell(id);
        this.begin(id);
        return id;
    }

    /** Take one back. False: there is none, or its message may be under way already. */
    async cancel(id: MessageId): Promise<boolean> {
        const upload = this.uploads.get(id);
        if (upload === undefined) return false;
        this.uploads.delete(id);
        this.done.delete(id);
        await this.forgetNotes(id);
        this.put({ kind: 'row_gone', channel: upload.channel, id });
        return true;
    }

    /** An ended incident: what was on its way there goes no further. */
    async forgetChannel(channel: ChannelId): Promise<void> {
        for (const upload of [...this.uploads.values()]) {
            if (upload.channel === channel) await this.cancel(upload.id);
        }
    }

    /** The rows of files on their way. */
    rows(channel: ChannelId, teller: Teller): Row[] {
        return [...this.uploads.values()]
            .filter((upload) => upload.channel === channel)
            .flatMap((upload) => this.row(upload, teller));
    }

    /** A whole file, opened and verified. Rejects with `EngineFailure` `failed` when it is not what the message names. */
    async fetch(content: ContentOf<'attachment'>, progressed: (doneBytes: number) => void): Promise<Blob> {
        const key = new AttachmentKey(toHex(content.fileId), content.key, content.sizeBytes);
        const parts: BlobPart[] = [];
        for (let index = 0; index < key.chunks; index++) {
            const sealed = await this.home.api.chunk(content.blob, index);
            parts.push(await key.openChunk(index, sealed));
            progressed(Math.min((index + 1) * CHUNK_BYTES, content.sizeBytes));
        }
        const file = new Blob(parts, { type: content.mediaType });
        const digest = await crypto.subtle.digest('SHA-256', await file.arrayBuffer());
        if (toHex(new Uint8Array(digest)) !== toHex(content.sha256)) throw new EngineFailure('failed');
        return file;
    }

    /** A file that is being fetched; null: no longer. */
    fetching(id: MessageId, doneBytes: number | null): void {
        if (doneBytes === null) this.done.delete(id);
        else this.done.set(id, doneBytes);
    }

    // ---- sending

    private begin(id: MessageId): void {
        if (this.working.has(id)) return;
        this.working.add(id);
        this.home.life.begin(async () => {
            try {
                await this.send(id);
            } finally {
                this.working.delete(id);
            }
        });
    }

    private async send(id: MessageId): Promise<void> {
        const { life, random } = this.home;
        for (let attempt = 0; this.uploads.has(id); attempt++) {
            try {
                await this.sendChunks(id);
                return;
            } catch (error) {
                life.check();
                if (!(error instanceof ApiError)) throw error;
                const upload = this.uploads.get(id);
                if (upload === undefined) return;
                if (error.number === WireError.not_found || error.number === WireError.expired) {
                    // The server gave the beginning up: it begins anew, with the same chunks.
                    if (upload.blob !== null) await this.keep({ ...upload, blob: null });
                } else if (!error.mayRetry && error.told) {
                    await this.keep({ ...upload, code: error.number });
                    this.tell(id);
                    return;
                }
                await life.sleep(Math.max(askedMs(error.retryMs), backoffMs(attempt, random), 1_000));
            }
        }
    }

    private async sendChunks(id: MessageId): Promise<void> {
        const { api, history, life } = this.home;
        const upload = this.uploads.get(id);
        if (upload === undefined) return;
        const key = new AttachmentKey(upload.fileId, fromHex(upload.key), upload.sizeBytes);
        const blob =
            upload.blob === null
                ? await api.createBlob(upload.channel, key.sealedBytes)
                : await api.blob(upload.blob);
        if (upload.blob === null) await this.keep({ ...upload, blob: blob.id });
        const have = new Set(blob.have);
        for (let index = 0; index < key.chunks; index++) {
            if (!have.has(index)) {
                const chunk = await history.note(chunkNote(id, index));
                if (chunk === null || !this.uploads.has(id)) return;
                await api.putChunk(blob.id, index, chunk);
                life.check();
            }
            this.done.set(id, Math.min((index + 1) * CHUNK_BYTES, upload.sizeBytes));
            this.tell(id);
        }
        const { name, mediaType, caption, sizeBytes, fileId } = upload;
        await this.compose(
            upload.channel,
            {
                type: 'attachment',
                blob: blob.id,
                key: fromHex(upload.key),
                fileId: fromHex(fileId),
                sizeBytes,
                sha256: fromHex(upload.sha256),
                name,
                mediaType,
                caption,
            },
            { id },
        );
        this.uploads.delete(id);
        this.done.delete(id);
        await this.forgetNotes(id);
    }

    private tell(id: MessageId): void {
        const upload = this.uploads.get(id);
        const teller = upload === undefined ? null : this.tellerOf(upload.channel);
        if (upload === undefined || teller === null) return;
        for (const row of this.row(upload, teller)) this.put({ kind: 'row', row });
    }

    private row(upload: Upload, teller: Teller): Row[] {
        const { id, name, mediaType, caption, sizeBytes, madeMs, code } = upload;
        const row = tellWaiting(
            {
                type: 'attachment',
                // Where it will stand is not known yet, and no row says it.
                blob: '' as BlobId,
                key: NO_BYTES,
                fileId: NO_BYTES,
                sha256: NO_BYTES,
                sizeBytes,
                name,
                mediaType,
                caption,
            },
            { id, offset: 0, device: this.home.keys.deviceId, atMs: madeMs, writtenMs: madeMs },
            waitingProgress(code),
            teller,
        );
        return row === null ? [] : [row];
    }

    private async keep(upload: Upload): Promise<void> {
        await this.home.history.keepNotes(new Map([[uploadNote(upload.id), noteOf(upload)]]));
        this.uploads.set(upload.id, upload);
    }

    private async forgetNotes(id: MessageId): Promise<void> {
        const names = [...(await this.home.history.notes(chunkNote(id, ''))).keys(), uploadNote(id)];
        await this.home.history.keepNotes(new Map(names.map((name) => [name, null])));
    }
}

function uploadNote(id: MessageId): string {
    return `upload ${id}`;
}

function chunkNote(id: MessageId, index: number | string): string {
    return `chunk ${id} ${index}`;
}
