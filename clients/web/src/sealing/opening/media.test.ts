import { beforeEach, describe, expect, it } from 'vitest';
import { NOW_MS, PERIODIC, seededBytes, smallWorld } from '../conformance/world';
import { codeOf } from '../conformance/vectors';
import { type Commit, rosterIndex } from '../public/commit';
import { type Bytes, type Hex, concat, hex, utf8 } from '../public/encoding';
import { MEDIA } from '../public/entries';
import type { SealedChannel } from './channel';
import {
    MediaKey,
    MediaReceiver,
    PREVIOUS_EPOCH_MS,
    decodeMediaHeader,
    encodeMediaHeader,
    mediaBaseKey,
    mediaSender,
} from './media';

const CALL = '0c'.repeat(16) as Hex;
const FRAME = utf8('picture');
let channel: SealedChannel;
let next: Commit;
let index: number;
let receiver: MediaReceiver;

beforeEach(async () => {
    const world = await smallWorld();
    const genesis = await world.genesis(['dispatcher', 'unit']);
    channel = await world.view('unit', genesis);
    await world.process('unit', channel, await world.commit('unit', channel, PERIODIC));
    next = channel.head;
    index = rosterIndex(next, world.id('unit')) ?? -1;
    receiver = new MediaReceiver(CALL);
});

const secret = (epoch: number): Bytes => channel.secrets(epoch).get(MEDIA) ?? new Uint8Array(0);
const commitOf = (epoch: number): Commit => channel.line.commits.get(epoch) ?? next;
const start = (epoch: number, nowMs = NOW_MS): Promise<void> =>
    receiver.startEpoch(secret(epoch), commitOf(epoch), nowMs);
const sender = (epoch: number): Promise<MediaKey> => mediaSender(secret(epoch), commitOf(epoch), CALL, index);
/** A key of the first epoch with any KID. */
async function keyOf(kid: bigint): Promise<MediaKey> {
    return MediaKey.derive(await mediaBaseKey(secret(0), commitOf(0).hash, CALL), kid);
}

describe('the header', () => {
    it.each([0n, 7n, 8n, 255n, 256n, 2n ** 56n - 1n, 2n ** 64n - 1n])('holds %s', (number) => {
        const header = encodeMediaHeader(number, number);
        expect(decodeMediaHeader(header)).toEqual({
            kid: number,
            counter: number,
            lengthBytes: header.length,
        });
    });

    it.each(['', '80', '8007', '0f0102', '910001'])('is refused as %s', async (text) => {
        const bytes = Uint8Array.from(text.match(/../g) ?? [], (digits) => Number.parseInt(digits, 16));
        expect(await codeOf(() => decodeMediaHeader(bytes))).toBe('E_FORMAT');
    });
});

describe('media', () => {
    it('is opened by who is in the call, and says whose place it is', async () => {
        await start(0);
        const metadata = utf8('clear');
        const frame = await (await sender(0)).encrypt(FRAME, metadata);
        expect(await receiver.decrypt(frame, NOW_MS, metadata)).toEqual({ index, plain: FRAME });
        expect(await codeOf(() => receiver.decrypt(frame, NOW_MS))).toBe('E_AEAD');
        const other = new MediaReceiver('0d'.repeat(16) as Hex);
        await other.startEpoch(secret(0), commitOf(0), NOW_MS);
        expect(await codeOf(() => other.decrypt(frame, NOW_MS, metadata))).toBe('E_AEAD');
    });

    it('never uses a counter twice, however many frames are sealed at once', async () => {
        const key = await sender(0);
        const frames = await Promise.all(Array.from({ length: 300 }, () => key.encrypt(FRAME)));
        const counters = frames.map((frame) => Number(decodeMediaHeader(frame).counter));
        expect(counters).toEqual(Array.from({ length: 300 }, (_, n) => n));
    });

    it('has a fresh context for each start, so that counters may begin anew', async () => {
        const [one, two] = [await sender(0), await sender(0)];
        expect(one.kid).not.toBe(two.kid);
        expect(one.kid & 0xffffn).toBe(two.kid & 0xffffn);
        const seeded = await mediaSender(secret(0), commitOf(0), CALL, index, seededBytes(1));
        expect(seeded.kid >> 56n).toBe(0n);
    });

    it('of the epoch before is opened for 10 s, and of another not at all', async () => {
        await start(0);
        const [old, young] = [await (await sender(0)).encrypt(FRAME), await (await sender(1)).encrypt(FRAME)];
        expect(await codeOf(() => receiver.decrypt(young, NOW_MS))).toBe('E_UNKNOWN_EPOCH');
        await start(1);
        expect((await receiver.decrypt(young, NOW_MS)).plain).toEqual(FRAME);
        expect((await receiver.decrypt(old, NOW_MS + PREVIOUS_EPOCH_MS)).plain).toEqual(FRAME);
        const late = NOW_MS + PREVIOUS_EPOCH_MS + 1;
        expect(await codeOf(() => receiver.decrypt(old, late))).toBe('E_UNKNOWN_EPOCH');
    });

    it('keeps the newest epoch when two are started at once', async () => {
        await Promise.all([start(1), start(0)]);
        const young = await (await sender(1)).encrypt(FRAME);
        expect((await receiver.decrypt(young, NOW_MS)).plain).toEqual(FRAME);
    });

    it('from a place beyond the roster, or of no KID of ours, is refused', async () => {
        await start(0);
        const beyond = await (await keyOf(2n << 8n)).encrypt(FRAME);
        expect(await codeOf(() => receiver.decrypt(beyond, NOW_MS))).toBe('E_AUTHZ');
        const wide = await (await keyOf(1n << 56n)).encrypt(FRAME);
        expect(await codeOf(() => receiver.decrypt(wide, NOW_MS))).toBe('E_AUTHZ');
        expect(await codeOf(() => mediaSender(secret(0), commitOf(0), CALL, 2))).toBe('E_AUTHZ');
        const [mine, other] = [await keyOf(0n), await keyOf(1n << 16n)];
        expect(await codeOf(async () => mine.decrypt(await other.encrypt(FRAME)))).toBe('E_FORMAT');
    });

    it('altered is refused', async () => {
        await start(0);
        const frame = await (await sender(0)).encrypt(FRAME);
        const longer = concat([frame, Uint8Array.of(0)]);
        for (const bad of [longer, frame.slice(0, -1), frame.slice(0, 9)]) {
            expect(await codeOf(() => receiver.decrypt(bad, NOW_MS))).toBe('E_AEAD');
        }
        expect(hex((await receiver.decrypt(frame, NOW_MS)).plain)).toBe(hex(FRAME));
    });
});
