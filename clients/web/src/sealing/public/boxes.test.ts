import { beforeAll, describe, expect, it } from 'vitest';
import { fromHex } from '~/protocol/bytes';
import { openingVectors } from '../conformance/opening-vectors';
import { channelLine } from '../conformance/public-cases';
import { VECTORS } from '../conformance/read-vectors';
import { codeOf } from '../conformance/vectors';
import { rosterPublicKey } from './acceptance';
import {
    type Box,
    MAX_BOX_BYTES,
    decodeBox,
    encodeBox,
    hashOfBox,
    recipientsOf,
    verifyBoxList,
    verifyBoxes,
} from './boxes';
import type { Commit } from './commit';
import { NO_KID } from './device-key';
import { type Bytes, type Hex, encode } from './encoding';

const vectors = openingVectors(VECTORS);
const steps = vectors.channel.commits;

interface Sealed {
    readonly commit: Commit;
    readonly boxes: readonly Box[];
    readonly hashes: readonly Hex[];
    readonly signature: Bytes;
    readonly committer: Bytes;
}
const sealed: Sealed[] = [];

beforeAll(async () => {
    const { line, directories } = await channelLine(vectors);
    for (const [epoch, step] of steps.entries()) {
        const commit = line.commits.get(epoch);
        if (commit === undefined) throw new Error('no such epoch');
        expect(commit.hash).toBe(step.hash);
        sealed.push({
            commit,
            boxes: step.boxes.map((box) => decodeBox(fromHex(box))),
            hashes: step.box_hashes as Hex[],
            signature: fromHex(step.box_list_signature),
            committer: rosterPublicKey(commit, commit.committer, directories),
        });
    }
});

function first(): Sealed & { readonly box: Box } {
    const [found] = sealed;
    const box = found?.boxes[0];
    if (found === undefined || box === undefined) throw new Error('the vectors have no box');
    return { ...found, box };
}

describe('the boxes of the vectors', () => {
    it('are read and written again', () => {
        for (const step of steps) {
            for (const box of step.boxes) expect(encodeBox(decodeBox(fromHex(box)))).toEqual(fromHex(box));
        }
    });

    it('are those that the committer signed, in any order', async () => {
        for (const { commit, boxes, hashes, signature, committer } of sealed) {
            const list = await verifyBoxes(commit, boxes.toReversed(), signature, committer);
            expect(list.hashes).toEqual(hashes);
            await verifyBoxList(commit, { hashes, signature }, committer);
        }
    });
});

describe('what is refused', () => {
    it('a missing box, one more, one twice, one under another key or suite, one too large', async () => {
        const { commit, boxes, signature, committer, box } = first();
        const rest = boxes.slice(1);
        const large = { ...box, sealed: new Uint8Array(MAX_BOX_BYTES) };
        const sets: (readonly Box[])[] = [
            rest,
            [...boxes, { ...box, recipient: 'f'.repeat(32) as Hex }],
            [box, ...boxes],
            [{ ...box, recipient: 'f'.repeat(32) as Hex }, ...rest],
            [{ ...box, kid: NO_KID }, ...rest],
            [{ ...box, suite: 2 }, ...rest],
            [large, ...rest],
            [{ ...box, sealed: box.sealed.map((byte) => byte ^ 1) }, ...rest],
            [],
        ];
        for (const set of sets) {
            expect(await codeOf(() => verifyBoxes(commit, set, signature, committer))).toBe('E_BOXLIST');
        }
    });

    it('a list that was not signed by this committer for this commit', async () => {
        const { commit, hashes, signature, committer } = first();
        const other = sealed[1]?.commit;
        if (other === undefined) throw new Error('the vectors have one commit only');
        const lists: [Commit, readonly Hex[], Bytes, Bytes][] = [
            [commit, hashes.slice(1), signature, committer],
            [commit, hashes.toReversed(), signature, committer],
            [commit, hashes, new Uint8Array(64), committer],
            [commit, hashes, signature, new Uint8Array(32).fill(5)],
            [{ ...other, roster: commit.roster, records: commit.records }, hashes, signature, committer],
        ];
        for (const [of, named, signed, by] of lists) {
            expect(await codeOf(() => verifyBoxList(of, { hashes: named, signature: signed }, by))).toBe(
                'E_BOXLIST',
            );
        }
    });

    it('a box in any other shape', async () => {
        const [id, kid, ct] = [new Uint8Array(16), new Uint8Array(8), new Uint8Array(64)];
        const shapes: [Uint8Array, string][] = [
            [encode([id, kid, 1]), 'E_ENCODING'],
            [encode([id, new Uint8Array(7), 1, ct]), 'E_ENCODING'],
            [encode([new Uint8Array(15), kid, 1, ct]), 'E_ENCODING'],
            [encode([id, kid, true, ct]), 'E_ENCODING'],
            [encode([id, kid, 1, new Uint8Array(MAX_BOX_BYTES)]), 'E_ENCODING'],
            [encode([id, kid, 2, ct]), 'E_FORMAT'],
        ];
        for (const [data, code] of shapes) expect(await codeOf(() => decodeBox(data))).toBe(code);
    });
});

describe('recipients', () => {
    it('are the roster and the records keys, but nobody dormant', () => {
        const { commit } = first();
        const [entry, ...others] = commit.roster;
        if (entry === undefined) throw new Error('an empty roster');
        const everybody = recipientsOf(commit);
        expect(everybody.size).toBe(commit.roster.length + commit.records.length);
        const dormant = recipientsOf({ ...commit, roster: [{ ...entry, kid: NO_KID }, ...others] });
        expect(dormant.has(entry.deviceId)).toBe(false);
        expect(dormant.size).toBe(everybody.size - 1);
    });

    it('hash their box by all that it says', async () => {
        const { box } = first();
        const names = await Promise.all([
            hashOfBox(box),
            hashOfBox({ ...box, kid: NO_KID }),
            hashOfBox({ ...box, suite: 2 }),
            hashOfBox({ ...box, sealed: new Uint8Array(1) }),
        ]);
        expect(new Set(names).size).toBe(4);
    });
});
