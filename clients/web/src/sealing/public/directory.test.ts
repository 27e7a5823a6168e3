import { describe, expect, it } from 'vitest';
import { fromHex } from '~/protocol/bytes';
import type { MemberId } from '~/protocol/ids';
import { type PublicVectors, contents, directoryOutcome, pooled } from '../conformance/public-cases';
import { VECTORS as ALL } from '../conformance/read-vectors';
import { codeOf } from '../conformance/vectors';
import { Directory } from './directory';
import { decodeSignedEntry, encodeEntry, encodeSignedEntry, parseEntry } from './entries';

const VECTORS = ALL as PublicVectors;
const CASES = VECTORS.directory;
const accepted = CASES.filter((given) => given.code === null);
const [first] = accepted;
if (first === undefined) throw new Error('the vectors have no accepted entry');

describe('the vectors', () => {
    it.each(CASES)('$name: $code', async (given) => {
        expect(await directoryOutcome(VECTORS, given)).toBe(given.code);
    });

    it.each(accepted)('$name: read and written again', async (given) => {
        const signed = decodeSignedEntry(fromHex(given.entry));
        expect(encodeSignedEntry(signed)).toEqual(fromHex(given.entry));
        expect(encodeEntry(await parseEntry(signed.signed.payload))).toEqual(signed.signed.payload);
    });
});

describe('a directory', () => {
    const replayed = (): Promise<Directory> =>
        Directory.replay(
            fromHex(first.root),
            first.before.map((index) => pooled(VECTORS, index)),
        );
    const next = decodeSignedEntry(fromHex(first.entry));

    it('takes overlapping calls in turn', async () => {
        const directory = await Directory.of(fromHex(first.root));
        const entries = first.before.map((index) => decodeSignedEntry(pooled(VECTORS, index)));
        await Promise.all(entries.map((entry) => directory.apply(entry)));
        expect(contents(directory)).toBe(contents(await replayed()));
    });

    it('takes one entry that comes twice at once only once', async () => {
        const directory = await replayed();
        const codes = await Promise.all([
            codeOf(() => directory.apply(next)),
            codeOf(() => directory.apply(next)),
        ]);
        expect(codes).toEqual([null, 'E_DUPLICATE']);
    });

    it('is left as it was by every entry with a bit turned', async () => {
        const directory = await replayed();
        const held = contents(directory);
        const data = fromHex(first.entry);
        for (let at = 0; at < data.length; at++) {
            const bent = data.slice();
            bent[at] = (bent[at] ?? 0) ^ 0x10;
            const code = await codeOf(() => directory.apply(decodeSignedEntry(bent)));
            expect(code).not.toBeNull();
        }
        expect(contents(directory)).toBe(held);
        expect(await codeOf(() => directory.apply(next))).toBeNull();
    });

    it('checks without changing', async () => {
        const directory = await replayed();
        const held = contents(directory);
        const checked = await directory.check(next);
        expect(checked.hash).toMatch(/^[0-9a-f]{64}$/);
        expect(contents(directory)).toBe(held);
    });

    it('bounds the clock on live receipt only, at ten minutes', async () => {
        const directory = await replayed();
        const { entry } = await directory.check(next);
        const tenMinutes = 600_000;
        expect(await codeOf(() => directory.check(next, entry.tsMs + tenMinutes))).toBe('E_CLOCK');
        expect(await codeOf(() => directory.check(next, entry.tsMs - tenMinutes))).toBe('E_CLOCK');
        expect(await codeOf(() => directory.check(next, entry.tsMs + tenMinutes - 1))).toBeNull();
        expect(await codeOf(() => directory.check(next))).toBeNull();
    });

    it('tells what it does not know', async () => {
        const directory = await replayed();
        const [device] = directory.devices();
        if (device === undefined) throw new Error('the vectors certify nobody');
        expect(await codeOf(() => attempt(() => directory.liveDevice(device.deviceId, device.seq - 1)))).toBe(
            'E_UNKNOWN_DEVICE',
        );
        expect(directory.liveDevice(device.deviceId)).toBe(device);
        expect(directory.devicesOf(device.memberId)).toContain(device);
        expect(directory.devicesOf('0'.repeat(32) as MemberId)).toEqual([]);
        expect(directory.hashAt(directory.seq + 1)).toBeNull();
        expect(directory.hashAt(-1)).toBeNull();
    });

    function attempt(step: () => unknown): Promise<unknown> {
        return Promise.resolve().then(step);
    }
});
