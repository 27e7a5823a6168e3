import { beforeEach, describe, expect, it } from 'vitest';
import type { DeviceId } from '~/protocol/ids';
import { MediaKind } from '~/protocol/video';
import { FRAME_BYTES, MARK, isSealed } from '~/protocol/video-frames';
import { NOW_MS, PERIODIC, seededBytes, smallWorld } from '../conformance/world';
import { codeOf } from '../conformance/vectors';
import { type Commit, rosterIndex } from '../public/commit';
import { type Bytes, type Hex, concat, sameBytes, utf8 } from '../public/encoding';
import { MEDIA } from '../public/entries';
import type { SealedChannel } from './channel';
import {
    type MediaEpoch,
    MediaKey,
    MediaReceiver,
    PREVIOUS_EPOCH_MS,
    decodeMediaHeader,
    encodeMediaHeader,
    mediaEpoch,
    mediaSender,
} from './media';

const CALL = '0c'.repeat(16) as Hex;
const FRAME = utf8('picture');
let channel: SealedChannel;
let next: Commit;
let index: number;
let me: DeviceId;
let receiver: MediaReceiver;

beforeEach(async () => {
    const world = await smallWorld();
    const genesis = await world.genesis(['dispatcher', 'unit']);
    channel = await world.view('unit', genesis);
    await world.process('unit', channel, await world.commit('unit', channel, PERIODIC));
    next = channel.head;
    index = rosterIndex(next, world.id('unit')) ?? -1;
    me = world.id('unit');
    receiver = new MediaReceiver();
});

const secret = (epoch: number): Bytes => channel.secrets(epoch).get(MEDIA) ?? new Uint8Array(0);
const commitOf = (epoch: number): Commit => channel.line.commits.get(epoch) ?? next;
const epochOf = (epoch: number, call = CALL): Promise<MediaEpoch> =>
    mediaEpoch(secret(epoch), commitOf(epoch), call);
const start = async (epoch: number, nowMs = NOW_MS): Promise<void> =>
    receiver.startEpoch(await epochOf(epoch), nowMs);
const sender = async (epoch: number): Promise<MediaKey> => mediaSender(await epochOf(epoch), index);
/** A key of the first epoch with any KID. */
async function keyOf(kid: bigint): Promise<MediaKey> {
    return MediaKey.derive((await epochOf(0)).base, kid);
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

const AUDIO = MediaKind.audio;
const open = (frame: Bytes, nowMs = NOW_MS, from = me): Promise<Bytes> =>
    receiver.openFrame(AUDIO, frame, from, nowMs);
const refusal = (frame: Bytes, nowMs = NOW_MS, from = me): Promise<string | null> =>
    codeOf(() => open(frame, nowMs, from));

describe('a sealed frame', () => {
    it('is opened by who is in the call, as the codec made it', async () => {
        await start(0);
        const key = await sender(0);
        for (const length of [0, 1, 3, 4, 10, 11, 4000, FRAME_BYTES - 64]) {
            const frame = new Uint8Array(length).fill(length & 1);
            for (const media of [MediaKind.audio, MediaKind.video]) {
                const sealed = await key.sealFrame(media, frame);
                expect(isSealed(sealed)).toBe(true);
                const opened = await receiver.openFrame(media, sealed, me, NOW_MS);
                expect(sameBytes(opened, frame)).toBe(true);
            }
        }
        expect(await codeOf(() => key.sealFrame(AUDIO, new Uint8Array(FRAME_BYTES)))).toBe('E_FORMAT');
    });

    it('is of one call', async () => {
        const frame = await (await sender(0)).sealFrame(AUDIO, FRAME);
        receiver.startEpoch(await epochOf(0, '0d'.repeat(16) as Hex), NOW_MS);
        expect(await refusal(frame)).toBe('E_AEAD');
    });

    it('never uses a counter twice, however many are sealed at once', async () => {
        const key = await sender(0);
        const frames = await Promise.all(Array.from({ length: 300 }, () => key.encrypt(FRAME)));
        const counters = frames.map((frame) => Number(decodeMediaHeader(frame).counter));
        expect(counters).toEqual(Array.from({ length: 300 }, (_, n) => n));
    });

    it('has a fresh context for each start, so that counters may begin anew', async () => {
        const [one, two] = [await sender(0), await sender(0)];
        expect(one.kid).not.toBe(two.kid);
        expect(one.kid & 0xffffn).toBe(two.kid & 0xffffn);
        const seeded = await mediaSender(await epochOf(0), index, seededBytes(1));
        expect(seeded.kid >> 56n).toBe(0n);
    });

    it('of the epoch before is opened for 10 s, and of another not at all', async () => {
        await start(0);
        const [first, second] = [await sender(0), await sender(1)];
        expect(await refusal(await second.sealFrame(AUDIO, FRAME))).toBe('E_UNKNOWN_EPOCH');
        await start(1);
        expect(await open(await second.sealFrame(AUDIO, FRAME))).toEqual(FRAME);
        const endMs = NOW_MS + PREVIOUS_EPOCH_MS;
        expect(await open(await first.sealFrame(AUDIO, FRAME), endMs)).toEqual(FRAME);
        expect(await refusal(await first.sealFrame(AUDIO, FRAME), endMs + 1)).toBe('E_UNKNOWN_EPOCH');
    });

    it('of an epoch that ended while it was opened is refused', async () => {
        await start(0);
        const frame = await (await sender(0)).sealFrame(AUDIO, FRAME);
        await start(1);
        const opening = refusal(frame, NOW_MS);
        expect(await refusal(frame, NOW_MS + PREVIOUS_EPOCH_MS + 1)).toBe('E_UNKNOWN_EPOCH');
        expect(await opening).toBe('E_UNKNOWN_EPOCH');
    });

    it('keeps the newest epoch when an older one is started after it', async () => {
        await start(1);
        await start(0);
        expect(await open(await (await sender(1)).sealFrame(AUDIO, FRAME))).toEqual(FRAME);
    });

    it('of another place than that of whom it came from is refused, and uses nothing up', async () => {
        await start(0);
        const frame = await (await sender(0)).sealFrame(AUDIO, FRAME);
        const other = commitOf(0).roster.find(({ deviceId }) => deviceId !== me)?.deviceId ?? me;
        expect(await refusal(frame, NOW_MS, other)).toBe('E_AUTHZ');
        expect(await open(frame)).toEqual(FRAME);
        for (const kid of [2n << 8n, 1n << 56n]) {
            expect(await refusal(await (await keyOf(kid)).sealFrame(AUDIO, FRAME))).toBe('E_AUTHZ');
        }
        expect(await codeOf(async () => mediaSender(await epochOf(0), 2))).toBe('E_AUTHZ');
        const [mine, foreign] = [await keyOf(0n), await keyOf(1n << 16n)];
        expect(await codeOf(async () => mine.decrypt(await foreign.encrypt(FRAME)))).toBe('E_FORMAT');
    });

    it('opens once, however often it comes at once', async () => {
        await start(0);
        const frame = await (await sender(0)).sealFrame(AUDIO, FRAME);
        const outcomes = await Promise.all(Array.from({ length: 5 }, () => refusal(frame)));
        expect(outcomes.filter((code) => code === null)).toHaveLength(1);
        expect(outcomes.filter((code) => code === 'E_DUPLICATE')).toHaveLength(4);
    });

    it('opens within the window of its key, in whatever order', async () => {
        await start(0);
        const key = await sender(0);
        const frames: Bytes[] = [];
        for (let n = 0; n < 1030; n++) frames.push(await key.sealFrame(AUDIO, FRAME));
        const outcome = (at: number): Promise<string | null> => refusal(frames[at] ?? FRAME);
        for (const at of [2, 1, 1029]) expect(await outcome(at)).toBe(null);
        for (const at of [6, 7, 1028]) expect(await outcome(at)).toBe(null);
        for (const at of [1, 2, 3, 5]) expect(await outcome(at)).toBe('E_REPLAY');
        for (const at of [6, 1028, 1029]) expect(await outcome(at)).toBe('E_DUPLICATE');
    });

    it('of any bytes, or with any changed, brings a code and nothing else', async () => {
        await start(0);
        const frame = await (await sender(0)).sealFrame(AUDIO, FRAME);
        for (let bit = 0; bit < 8 * frame.length; bit++) {
            const bad = frame.slice();
            bad[bit >> 3] = (bad[bit >> 3] ?? 0) ^ (1 << (bit & 7));
            expect(await refusal(bad)).toMatch(/^E_(FORMAT|AEAD|AUTHZ|UNKNOWN_EPOCH)$/);
        }
        const random = seededBytes(7);
        for (let length = 0; length < 60; length++) {
            expect(await refusal(concat([random(length), MARK]))).toMatch(/^E_/);
            expect(await refusal(random(length))).toBe('E_FORMAT');
        }
        expect(await open(frame)).toEqual(FRAME);
    });
});
