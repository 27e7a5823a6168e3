import { describe, expect, it } from 'vitest';
import { fromHex } from '~/protocol/bytes';
import type { ChannelId, DeviceId } from '~/protocol/ids';
import { type CommitCase, type PublicVectors, attemptOf, commitOutcome } from '../conformance/public-cases';
import { VECTORS as ALL } from '../conformance/read-vectors';
import { codeOf } from '../conformance/vectors';
import { ChannelLine, REPLAY, live, rosterPublicKey } from './acceptance';
import { encodeCommit, parseCommit, rosterEntry, rosterIndex } from './commit';
import { decodeSigned } from './signed';

const VECTORS = ALL as PublicVectors;
const CASES = VECTORS.commits;
const accepted = CASES.filter((given) => given.code === null);

function named(name: string): CommitCase {
    const found = CASES.find((given) => given.name === name);
    if (found === undefined) throw new Error(`the vectors have no case ${name}`);
    return found;
}

describe('the vectors', () => {
    it.each(CASES)('$name: $code', async (given) => {
        expect(await commitOutcome(VECTORS, given)).toBe(given.code);
    });

    it.each(accepted)('$name: read and written again', async (given) => {
        const signed = decodeSigned(fromHex(given.commit));
        expect(encodeCommit(await parseCommit(signed))).toEqual(signed.payload);
    });
});

describe('a line', () => {
    const next = named('next_commit');

    it('is left as it was by a commit with any bit of its payload turned', async () => {
        const { line, directories, signed } = await attemptOf(VECTORS, next);
        const held = [line.epoch, line.headHash, line.commits.size];
        for (let at = 0; at < signed.payload.length; at++) {
            const payload = signed.payload.slice();
            payload[at] = (payload[at] ?? 0) ^ 0x01;
            const code = await codeOf(() => line.accept({ ...signed, payload }, directories));
            expect(code).not.toBeNull();
        }
        expect([line.epoch, line.headHash, line.commits.size]).toEqual(held);
        expect(await codeOf(() => line.accept(signed, directories))).toBeNull();
    });

    it('takes one commit that comes twice at once only once', async () => {
        const { line, directories, signed } = await attemptOf(VECTORS, next);
        const codes = await Promise.all([
            codeOf(() => line.accept(signed, directories)),
            codeOf(() => line.accept(signed, directories)),
        ]);
        expect(codes).toEqual([null, 'E_DUPLICATE']);
        expect(line.epoch).toBe(1);
    });

    it('installs nothing in the place of another commit, nor after one that does not stand', async () => {
        const { line, directories, signed } = await attemptOf(VECTORS, next);
        const commit = await line.accept(signed, directories);
        const genesis = line.commits.get(0);
        if (genesis === undefined) throw new Error('no genesis');
        const other = { ...commit, hash: genesis.hash };
        expect(await codeOf(() => line.install(other))).toBe('E_CHAIN');
        const stray = { ...commit, epoch: 2 };
        expect(await codeOf(() => line.install(stray))).toBe('E_CHAIN');
        line.install(genesis);
        expect([line.epoch, line.head]).toEqual([1, commit]);
    });

    it('trusts a head that was verified when it was stored', async () => {
        const { line, directories, signed } = await attemptOf(VECTORS, next);
        const genesis = line.head;
        if (genesis === null) throw new Error('no genesis');
        const short = ChannelLine.at(genesis);
        expect((await short.accept(signed, directories, REPLAY)).epoch).toBe(1);
    });

    it('refuses another channel', async () => {
        const { directories, signed } = await attemptOf(VECTORS, next);
        const line = new ChannelLine('1'.repeat(32) as ChannelId);
        expect(await codeOf(() => line.accept(signed, directories))).toBe('E_CHAIN');
    });

    it('bounds the clock on live receipt only, at ten minutes', async () => {
        const { line, directories, signed } = await attemptOf(VECTORS, next);
        const { tsMs } = await parseCommit(signed);
        expect(await codeOf(() => line.accept(signed, directories, live(tsMs + 600_000)))).toBe('E_CLOCK');
        expect(await codeOf(() => line.accept(signed, directories, live(tsMs - 600_000)))).toBe('E_CLOCK');
        expect(await codeOf(() => line.accept(signed, directories, live(tsMs + 599_999)))).toBeNull();
    });
});

describe('the roster', () => {
    it('gives the keys of its devices, and of nobody else', async () => {
        const { line, directories } = await attemptOf(VECTORS, named('next_commit'));
        const { head } = line;
        const first = head?.roster[0];
        if (head === null || first === undefined) throw new Error('an empty roster');
        const certificate = [...directories.values()][0]?.device(first.deviceId);
        expect(rosterPublicKey(head, first.deviceId, directories)).toEqual(certificate?.public);
        expect(rosterIndex(head, first.deviceId)).toBe(0);
        expect(rosterEntry(head, first.deviceId)).toBe(first);
        const stranger = '2'.repeat(32) as DeviceId;
        expect(rosterIndex(head, stranger)).toBeNull();
        expect(await codeOf(() => rosterPublicKey(head, stranger, directories))).toBe('E_AUTHZ');
        expect(await codeOf(() => rosterPublicKey(head, first.deviceId, new Map()))).toBe('E_UNKNOWN_DEVICE');
    });
});
