/** What comes with a commit: one's own box, and whom to blame when it is not right. Spec 04, "Boxes". */

import { type SealingCode, SealingError, refuse } from '../errors';
import { type Directories, certificateFor, rosterPublicKey } from '../public/acceptance';
import { type Box, type BoxList, hashOfBox, verifyBoxList } from '../public/boxes';
import { type Commit, type RosterEntry, getsEpochSecret, rosterEntry } from '../public/commit';
import type { Bytes } from '../public/encoding';
import { type OpenedBox, openBox } from './boxes';
import type { DeviceKeys } from './keys';

/** What came with a commit: one's own box, and what says who made it. Null: it was not given. */
export interface Delivery {
    readonly box: Box | null;
    readonly boxList: BoxList | null;
}

/**
 * A commit was installed without the secrets it owed: ask any member to re-seal.
 *
 * `atFault`: the box differs from the list that the committer signed (`server`), or is as the committer made it
 * (`committer`), or nobody can tell. When no member of that epoch can re-seal, any member, this one included, commits
 * the next epoch.
 */
export interface Alarm {
    readonly code: SealingCode;
    readonly epoch: number;
    readonly atFault: 'server' | 'committer' | 'unknown';
}

/** One's own box of a commit, and what is wrong with it, if anything: it never stops the chain. */
export async function openDelivery(
    commit: Commit,
    entry: RosterEntry,
    { box, boxList }: Delivery,
    keys: DeviceKeys,
    directories: Directories,
): Promise<{ opened: OpenedBox | null; alarm: Alarm | null }> {
    const { epoch } = commit;
    const listed = boxList !== null && (await listHolds(commit, boxList, directories));
    if (box === null) {
        // The committer signed as many boxes as there are recipients, so one is withheld.
        return { opened: null, alarm: { code: 'E_BOX', epoch, atFault: listed ? 'server' : 'unknown' } };
    }
    // The suite comes from the wire as it is: only the one that is spoken is worth a hash.
    const inList = listed && box.suite === commit.suite && boxList.hashes.includes(await hashOfBox(box));
    let opened: OpenedBox;
    try {
        if (box.recipient !== entry.deviceId || box.kid !== entry.kid) {
            refuse('E_BOX', "another recipient's box");
        }
        const due = { classMask: entry.classMask, whole: getsEpochSecret(entry) };
        opened = await openBox(commit, box, keys.held(entry.kid), due);
    } catch (error) {
        if (!(error instanceof SealingError)) throw error;
        const unknown = error.code === 'E_NO_KEY' || boxList === null;
        const atFault = unknown ? 'unknown' : inList ? 'committer' : 'server';
        return { opened: null, alarm: { code: error.code, epoch, atFault } };
    }
    // The secrets are right, and still the list may have been changed on its way.
    const altered = boxList !== null && !inList;
    return { opened, alarm: altered ? { code: 'E_BOXLIST', epoch, atFault: 'server' } : null };
}

async function listHolds(commit: Commit, boxList: BoxList, directories: Directories): Promise<boolean> {
    try {
        await verifyBoxList(commit, boxList, committerPublic(commit, directories));
        return true;
    } catch (error) {
        if (!(error instanceof SealingError)) throw error;
        if (error.code !== 'E_BOXLIST' && error.code !== 'E_UNKNOWN_DEVICE') throw error;
        return false;
    }
}

/** The committer's key; one who left is no longer in the roster, but is in a directory. */
function committerPublic(commit: Commit, directories: Directories): Bytes {
    if (rosterEntry(commit, commit.committer) !== null) {
        return rosterPublicKey(commit, commit.committer, directories);
    }
    for (const head of commit.heads) {
        const certificate = certificateFor(directories, head.agencyId, commit.committer);
        if (certificate !== null) return certificate.public;
    }
    return refuse('E_UNKNOWN_DEVICE', 'committer not certified');
}
