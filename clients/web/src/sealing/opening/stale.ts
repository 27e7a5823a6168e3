/** Who the next commit must drop: judged by the newest directories, before anything is sealed. Spec 04, "Who rotates". */

import type { SealingCode } from '../errors';
import { type Directories, certificateFor } from '../public/acceptance';
import type { Commit, RosterEntry } from '../public/commit';
import { usableRecordsKey } from '../public/directory';
import type { Hex } from '../public/encoding';

/** A roster device (or records key) that the next commit must drop, and why. */
export interface StaleMember {
    readonly recipient: Hex;
    readonly code: SealingCode;
}

export function staleMembersOf(
    commit: Commit,
    directories: Directories,
    nowMs: number,
): readonly StaleMember[] {
    const found: StaleMember[] = [];
    const atMs = Math.max(nowMs, commit.tsMs);
    for (const entry of commit.roster) {
        const code = staleCode(entry, directories, atMs);
        if (code !== null) found.push({ recipient: entry.deviceId, code });
    }
    for (const { agencyId, recordsId } of commit.records) {
        const directory = directories.get(agencyId);
        const key = directory?.recordsKey(recordsId) ?? null;
        if (directory === undefined || key === null || !usableRecordsKey(key, directory.seq, atMs)) {
            found.push({ recipient: recordsId, code: 'E_RECORDS' });
        }
    }
    return found;
}

function staleCode(entry: RosterEntry, directories: Directories, atMs: number): SealingCode | null {
    if (entry.guest !== null) return entry.guest.notAfterMs < atMs ? 'E_EXPIRED' : null;
    const certificate = certificateFor(directories, entry.agencyId, entry.deviceId);
    if (certificate === null) return 'E_UNKNOWN_DEVICE';
    if (certificate.revokedSeq !== null) return 'E_REVOKED';
    return atMs > certificate.notAfterMs ? 'E_EXPIRED' : null;
}
