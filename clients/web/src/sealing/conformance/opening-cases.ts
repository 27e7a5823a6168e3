/**
 * The sections of the vector file that take keys to check: boxes, frames, grants, archives, attachments, media.
 *
 * Each gives the code in which a case ends, and fails besides when what was opened is not what the vectors say, or when
 * a refusal left a trace.
 */

import { AttachmentKey } from '../opening/attachments';
import { encodeBody } from '../opening/body';
import { acceptGrant } from '../opening/grants';
import {
    MediaKey,
    MediaReceiver,
    mediaBase,
    mediaBaseKey,
    mediaEpoch,
    mediaKeyAndSalt,
} from '../opening/media';
import { RecordsPrivateKey, openArchive, openRecordsBox } from '../opening/records';
import { live } from '../public/acceptance';
import { decodeArchive, verifyArchive } from '../public/archive';
import { decodeBox } from '../public/boxes';
import { type Bytes, concat, hex, sameBytes, sha256 } from '../public/encoding';
import { DURABLE, MEDIA } from '../public/entries';
import { decodeSealedGrant } from '../public/grant';
import { type ChannelView, viewOf } from './channel-view';
import type {
    ArchiveVector,
    AttachmentVector,
    FrameVector,
    GrantVector,
    OpeningVectors,
} from './opening-vectors';
import { type SealingVectors, codeOf, un } from './vectors';

type Vectors = OpeningVectors & SealingVectors;

function must(holds: boolean, what: string): asserts holds {
    if (!holds) throw new Error(`not as in the vectors: ${what}`);
}

function view(vectors: Vectors, name: string): Promise<ChannelView> {
    return viewOf(vectors.channel, name, vectors.now_ms);
}

/** That a device's own boxes open to the secrets written down. */
export async function boxesHold(vectors: Vectors, name: string): Promise<void> {
    const { channel } = await view(vectors, name);
    must(channel.line.epoch === vectors.channel.commits.length - 1, 'the newest epoch');
}

/** That the records key's boxes open to the durable secrets alone. */
export async function recordsBoxesHold(vectors: Vectors): Promise<void> {
    const key = await RecordsPrivateKey.fromBytes(un(vectors.channel.records.private));
    must(key.recordsId === vectors.channel.records.id, 'the id of the records key');
    const { channel } = await view(vectors, 'unit');
    for (const [epoch, step] of vectors.channel.commits.entries()) {
        const box = step.boxes.map((b) => decodeBox(un(b))).find((b) => b.recipient === key.recordsId);
        const commit = channel.line.commits.get(epoch);
        must(box !== undefined && commit !== undefined, 'a box of the records key');
        const { classes, chain } = await openRecordsBox(key, commit, box);
        must(chain === null && classes.size === 1, 'what a records key gets');
        must(hex(classes.get(DURABLE) ?? un('')) === step.class_secrets['1'], 'the durable secret');
    }
}

export async function frameOutcome(vectors: Vectors, given: FrameVector): Promise<string | null> {
    const { channel, directories } = await view(vectors, given.reader);
    for (const frame of given.before) await channel.open(un(frame), directories);
    return codeOf(async () => {
        const opened = await channel.open(un(given.frame), directories);
        must(hex(encodeBody(opened.body)) === given.body, 'the body');
    });
}

export async function grantOutcome(vectors: Vectors, given: GrantVector): Promise<string | null> {
    const { channel, keys, directories } = await view(vectors, given.reader);
    const before = channel.exportEpoch(0);
    const code = await codeOf(async () => {
        await acceptGrant(channel, decodeSealedGrant(un(given.grant)), keys, directories);
        const granted = hex(channel.secrets(0).get(DURABLE) ?? un(''));
        must(granted === vectors.channel.commits[0]?.class_secrets['1'], 'the secret granted');
    });
    must(code === null || sameBytes(channel.exportEpoch(0), before), 'nothing taken of a refused grant');
    return code;
}

export async function archiveOutcome(vectors: Vectors, given: ArchiveVector): Promise<string | null> {
    const key = await RecordsPrivateKey.fromBytes(un(vectors.channel.records.private));
    const { channel, directories } = await view(vectors, 'unit');
    return codeOf(async () => {
        const archive = decodeArchive(un(given.archive));
        if (given.now_ms !== null) {
            await verifyArchive(channel.line, archive, directories, live(given.now_ms));
        }
        const opened = await openArchive(key, archive, channel.line, directories);
        const found = [...opened].map(([epoch, held]) => [
            String(epoch),
            Object.fromEntries([...held].map(([c, secret]) => [String(c), hex(secret)])),
        ]);
        must(JSON.stringify(Object.fromEntries(found)) === JSON.stringify(given.secrets), 'the secrets');
    });
}

export async function attachmentOutcome(given: AttachmentVector): Promise<string | null> {
    const key = new AttachmentKey(hex(un(given.file_id)), un(given.key), given.size_bytes);
    if (given.chunk_hashes !== undefined) {
        const sealed = await all(key.sealAll(new Blob([new Uint8Array(given.size_bytes)])));
        const hashes = await Promise.all(sealed.map(sha256));
        must(hashes.join() === given.chunk_hashes.join(), 'the chunks');
        return null;
    }
    return codeOf(async () => {
        const plain = concat(await all(key.openAll((given.chunks ?? []).map(un))));
        must(hex(plain) === given.plain, 'the file');
    });
}

/** That media keys are derived, and frames sealed and opened, as the vectors say. */
export async function mediaHolds(vectors: Vectors): Promise<void> {
    const { media } = vectors;
    const { channel } = await view(vectors, 'unit');
    const secret = channel.secrets(media.epoch).get(MEDIA);
    const commit = channel.line.commits.get(media.epoch);
    must(secret !== undefined && commit !== undefined, 'an epoch with media');
    const baseKey = await mediaBaseKey(secret, commit.hash, hex(un(media.call_id)));
    must(hex(baseKey) === media.base_key, 'the base key');
    const base = await mediaBase(baseKey);
    const kid = BigInt(`0x${media.kid}`);
    const { key, salt } = await mediaKeyAndSalt(base, kid);
    must(hex(key) === media.key && hex(salt) === media.salt, 'the key and the salt');
    const receiver = await MediaKey.derive(base, kid);
    const sender = await MediaKey.derive(base, kid);
    for (const frame of media.frames) {
        must(hex(await receiver.decrypt(un(frame), un(media.metadata))) === media.plain, 'a frame opened');
        must(hex(await sender.encrypt(un(media.plain), un(media.metadata))) === frame, 'a frame sealed');
    }
}

/** The code in which each sealed frame ends, at one receiver, in their order. */
export async function sealedFrameOutcomes(vectors: Vectors): Promise<(string | null)[]> {
    const { media, now_ms: nowMs } = vectors;
    const { channel } = await view(vectors, 'unit');
    const secret = channel.secrets(media.epoch).get(MEDIA);
    const commit = channel.line.commits.get(media.epoch);
    must(secret !== undefined && commit !== undefined, 'an epoch with media');
    const receiver = new MediaReceiver();
    receiver.startEpoch(await mediaEpoch(secret, commit, hex(un(media.call_id))), nowMs);
    const outcomes: (string | null)[] = [];
    for (const given of media.sealed_frames) {
        const outcome = await codeOf(async () => {
            const atMs = nowMs + given.after_ms;
            const plain = await receiver.openFrame(given.media, un(given.frame), given.sender, atMs);
            must(hex(plain) === given.plain, given.name);
        });
        outcomes.push(outcome);
    }
    return outcomes;
}

async function all(chunks: AsyncIterable<Bytes>): Promise<Bytes[]> {
    const found: Bytes[] = [];
    for await (const chunk of chunks) found.push(chunk);
    return found;
}
