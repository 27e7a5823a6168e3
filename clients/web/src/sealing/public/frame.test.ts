import { describe, expect, it } from 'vitest';
import { fromHex } from '~/protocol/bytes';
import type { ChannelId, DeviceId } from '~/protocol/ids';
import { openingVectors } from '../conformance/opening-vectors';
import { channelLine } from '../conformance/public-cases';
import { VECTORS } from '../conformance/read-vectors';
import { codeOf } from '../conformance/vectors';
import { type Hex, u64 } from './encoding';
import { EPHEMERAL } from './entries';
import { type FrameHeader, HEADER_BYTES, MAX_FRAME_BYTES, checkFrame, packHeader, parseFrame } from './frame';

const vectors = openingVectors(VECTORS);
const good = vectors.frames.filter((given) => given.code === null);
const [first] = good;
if (first === undefined) throw new Error('the vectors have no good frame');
const frame = fromHex(first.frame);

describe('the frames of the vectors', () => {
    it.each(good)('$name: the header is read and written again', (given) => {
        const data = fromHex(given.frame);
        expect(packHeader(parseFrame(data))).toEqual(data.slice(0, HEADER_BYTES));
    });

    const shapes = ['version', 'class media', 'suite', 'flags', 'cut short', 'cut by a bucket'];
    it.each(vectors.frames.filter((given) => shapes.includes(given.name)))('$name', async (given) => {
        // A frame that is shorter by a whole bucket has a good shape while anything is left of it.
        const left = fromHex(given.frame).length - HEADER_BYTES - 80;
        const code = given.name === 'cut by a bucket' && left > 0 ? null : 'E_FORMAT';
        expect(await codeOf(() => parseFrame(fromHex(given.frame)))).toBe(code);
    });
});

describe('the size', () => {
    const sized = (bytes: number): Uint8Array => {
        const out = new Uint8Array(bytes);
        out.set(frame.subarray(0, Math.min(bytes, HEADER_BYTES)));
        return out;
    };

    it('is one bucket at least, whole buckets, and 60,000 bytes at most', async () => {
        const least = HEADER_BYTES + 80 + 64;
        const most = least + 64 * Math.floor((MAX_FRAME_BYTES - least) / 64);
        for (const bytes of [least, most]) {
            expect(await codeOf(() => parseFrame(sized(bytes)))).toBeNull();
        }
        for (const bytes of [0, 83, 84, least - 64, least - 1, least + 1, least + 32, most + 64]) {
            expect(await codeOf(() => parseFrame(sized(bytes)))).toBe('E_FORMAT');
        }
    });

    it('goes by half the bucket for ephemeral frames', async () => {
        const ephemeral = sized(HEADER_BYTES + 80 + 32);
        ephemeral[1] = EPHEMERAL;
        expect(await codeOf(() => parseFrame(ephemeral))).toBeNull();
    });
});

describe('large numbers', () => {
    it('keep all bits of the counter, and an epoch beyond 2^53 is none that a commit has', () => {
        const large = frame.slice();
        large.set(u64(2n ** 64n - 1n), 76);
        expect(parseFrame(large).seq).toBe(2n ** 64n - 1n);
        for (const epoch of [2n ** 53n, 2n ** 53n + 1n, 2n ** 64n - 1n]) {
            large.set(u64(epoch), 20);
            expect(parseFrame(large).epoch).toBeGreaterThan(Number.MAX_SAFE_INTEGER);
        }
    });
});

describe('a frame before it is sent', () => {
    it('is held against the newest commit', async () => {
        const { line } = await channelLine(vectors);
        const { head } = line;
        const [entry, ...others] = head?.roster ?? [];
        if (head === null || entry === undefined) throw new Error('an empty channel');
        const sender = entry.deviceId;
        const header: FrameHeader = {
            ...parseFrame(frame),
            channelId: head.channelId,
            epoch: head.epoch,
            commitPrefix: head.hash.slice(0, 32) as Hex,
            sender,
        };
        const stranger = '1'.repeat(32) as DeviceId;
        const masked = { ...head, roster: [{ ...entry, classMask: 1 << EPHEMERAL }, ...others] };
        const attempts: [string | null, FrameHeader, typeof head, DeviceId][] = [
            [null, header, head, sender],
            ['E_FORMAT', { ...header, channelId: '1'.repeat(32) as ChannelId }, head, sender],
            ['E_FORMAT', { ...header, suite: 2 }, head, sender],
            ['E_AUTHZ', header, head, stranger],
            ['E_UNKNOWN_EPOCH', { ...header, epoch: head.epoch - 1 }, head, sender],
            ['E_FORK', { ...header, commitPrefix: '0'.repeat(32) as Hex }, head, sender],
            ['E_AUTHZ', { ...header, sender: stranger }, head, stranger],
            ['E_AUTHZ', header, masked, sender],
            [null, { ...header, keyClass: EPHEMERAL }, masked, sender],
        ];
        for (const [code, given, newest, by] of attempts) {
            expect(await codeOf(() => checkFrame(given, newest, by))).toBe(code);
        }
    });
});
