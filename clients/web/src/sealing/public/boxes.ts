/**
 * Boxes as an observer without keys sees them, and the committer's signature over all of them. Spec 04, "Boxes".
 *
 * A box is `[recipient_id, kid8, suite, enc||ct]`. It is not signed itself: what it holds must match the signed
 * commitments. The signature over the list says whom to blame for a box that does not open: a box that is not in the
 * list was changed by the server, one that is in it was made so by the committer.
 */

import { SealingError, refuse } from '../errors';
import type { Commit } from './commit';
import { NO_KID } from './device-key';
import {
    type Bytes,
    type Hex,
    asBytes,
    asId,
    asList,
    asName,
    decode,
    digest,
    encode,
    pae,
    u64,
    unhex,
} from './encoding';
import { parseSuite } from './entries';
import { signingInput, verifyRaw } from './signed';

export const MAX_BOX_BYTES = 1024;

/** One recipient's sealed secret of an epoch. The recipient is a device, or a records key. */
export interface Box {
    readonly recipient: Hex;
    readonly kid: Hex;
    readonly suite: number;
    /** The encapsulated key, then the ciphertext. */
    readonly sealed: Bytes;
}

/** The hashes of all boxes of a commit, ordered by recipient, and the committer's signature. */
export interface BoxList {
    readonly hashes: readonly Hex[];
    readonly signature: Bytes;
}

export function encodeBox(box: Box): Bytes {
    return encode([unhex(box.recipient), unhex(box.kid), box.suite, box.sealed]);
}

export function decodeBox(data: Uint8Array): Box {
    const [recipient, kid, suite, sealed] = asList(decode(data, { maxBytes: MAX_BOX_BYTES }), 4);
    return {
        recipient: asId(recipient),
        kid: asName(kid, 8),
        suite: parseSuite(suite),
        sealed: asBytes(sealed),
    };
}

export function hashOfBox(box: Box): Promise<Hex> {
    return digest('box', unhex(box.recipient), unhex(box.kid), u64(box.suite), box.sealed);
}

/** Who must get a box: recipient id to kid. Dormant devices get none. */
export function recipientsOf(commit: Commit): ReadonlyMap<Hex, Hex> {
    const found = new Map<Hex, Hex>();
    for (const entry of commit.roster) if (entry.kid !== NO_KID) found.set(entry.deviceId, entry.kid);
    for (const entry of commit.records) found.set(entry.recordsId, entry.kid);
    return found;
}

/** What the committer signs over the boxes; `hashes` are ordered by recipient id. */
export function boxListInput(commit: Commit, hashes: readonly Hex[]): Bytes {
    return signingInput('boxes', commit.committer, pae(unhex(commit.hash), ...hashes.map(unhex)));
}

/** That the committer signed this list for this commit; else `E_BOXLIST`. */
export async function verifyBoxList(commit: Commit, boxList: BoxList, committerPublic: Bytes): Promise<void> {
    if (boxList.hashes.length !== recipientsOf(commit).size) {
        refuse('E_BOXLIST', 'a box for each recipient, and no other');
    }
    try {
        await verifyRaw(committerPublic, boxList.signature, boxListInput(commit, boxList.hashes));
    } catch (error) {
        if (error instanceof SealingError) refuse('E_BOXLIST', 'signature over the boxes');
        throw error;
    }
}

/**
 * What is checked before a commit's boxes are stored.
 *
 * One box for each recipient of the roster and the records, under the kid that the commit names, and the committer's
 * signature over the list; else `E_BOXLIST`.
 */
export async function verifyBoxes(
    commit: Commit,
    boxes: readonly Box[],
    signature: Bytes,
    committerPublic: Bytes,
): Promise<BoxList> {
    const expected = recipientsOf(commit);
    const ordered = boxes.toSorted((a, b) => (a.recipient < b.recipient ? -1 : 1));
    const named = [...expected.keys()].sort();
    if (ordered.length !== named.length || ordered.some((box, i) => box.recipient !== named[i])) {
        refuse('E_BOXLIST', 'a box for each recipient, and no other');
    }
    for (const box of ordered) {
        if (box.kid !== expected.get(box.recipient) || box.suite !== commit.suite) {
            refuse('E_BOXLIST', 'a box under another key than the commit names');
        }
        // `decodeBox` would refuse it, and with it the page of boxes in which the recipient asks for it.
        if (encodeBox(box).length > MAX_BOX_BYTES) refuse('E_BOXLIST', 'box too large');
    }
    const boxList = { hashes: await Promise.all(ordered.map(hashOfBox)), signature };
    await verifyBoxList(commit, boxList, committerPublic);
    return boxList;
}
