/**
 * History grants as an observer without keys sees them: who gave whom which epochs. Spec 04, "History grants".
 *
 * Payload: `[v=1, channel, epoch, head_hash, to, kid, epochs, class_mask, ts]`, signed by the granter as "grant";
 * beside it an HPKE box.
 */

import type { ChannelId, DeviceId } from '~/protocol/ids';
import { refuse } from '../errors';
import { type ChannelLine, type Directories, REPLAY, type Receipt, certificateFor } from './acceptance';
import { type Commit, headOf, rosterEntry } from './commit';
import { CLOCK_BOUND_MS, revokedAsOf } from './directory';
import {
    type Bytes,
    type Hex,
    type Value,
    asBytes,
    asId,
    asList,
    asListOfAtMost,
    asName,
    asUint,
    decode,
    encode,
    unhex,
} from './encoding';
import { CAP_GRANT, parseClassMask, parseSuite } from './entries';
import { type Signed, hashOfSigned, signedFields, signedOf, verifySigned } from './signed';

export const MAX_GRANT_EPOCHS = 256;
export const MAX_GRANT_BYTES = 48 * 1024;

/** What a grant says. */
export interface GrantFields {
    readonly channelId: ChannelId;
    /** Of the commit against which the grant is checked, with its hash. */
    readonly epoch: number;
    readonly headHash: Hex;
    /** A device in the roster, or a records key. */
    readonly to: Hex;
    readonly kid: Hex;
    /** Rising. */
    readonly epochs: readonly number[];
    readonly classMask: number;
    readonly tsMs: number;
}

/** A parsed grant. */
export interface Grant extends GrantFields {
    readonly granter: DeviceId;
    readonly hash: Hex;
    readonly signed: Signed;
}

/** A grant with its box, as it is stored and sent: `[grant, suite, enc||ct]`. */
export interface SealedGrant {
    readonly signed: Signed;
    readonly suite: number;
    readonly box: Bytes;
}

export function encodeSealedGrant({ signed, suite, box }: SealedGrant): Bytes {
    return encode([signedFields(signed), suite, box]);
}

export function decodeSealedGrant(data: Uint8Array): SealedGrant {
    const [signed, suite, box] = asList(decode(data, { maxBytes: MAX_GRANT_BYTES }), 3);
    return { signed: signedOf(signed), suite: parseSuite(suite), box: asBytes(box) };
}

/** The payload to sign. */
export function encodeGrant(g: GrantFields): Bytes {
    const names = [unhex(g.headHash), unhex(g.to), unhex(g.kid)];
    return encode([1, unhex(g.channelId), g.epoch, ...names, g.epochs, g.classMask, g.tsMs]);
}

/** The grant in `signed`, unverified; `E_ENCODING` or `E_FORMAT`. */
export async function parseGrant(signed: Signed): Promise<Grant> {
    const values = asList(decode(signed.payload, { maxBytes: MAX_GRANT_BYTES }), 9);
    const [version, channel, epoch, head, to, kid, epochs, mask, ts] = values;
    if (asUint(version) !== 1) refuse('E_FORMAT', 'unknown version');
    const numbers = asRisingEpochs(epochs, MAX_GRANT_EPOCHS);
    const fields: GrantFields = {
        channelId: asId(channel) as ChannelId,
        epoch: asUint(epoch),
        headHash: asName(head, 32),
        to: asId(to),
        kid: asName(kid, 8),
        epochs: numbers,
        classMask: parseClassMask(mask),
        tsMs: asUint(ts),
    };
    return {
        ...fields,
        granter: signed.signer as DeviceId,
        hash: await hashOfSigned('grant', signed),
        signed,
    };
}

/** One epoch or more, `most` at most, each above the one before; else `E_ENCODING`. */
export function asRisingEpochs(value: Value | undefined, most: number): readonly number[] {
    const epochs = asListOfAtMost(value, most).map((epoch) => asUint(epoch));
    let before = -1;
    for (const epoch of epochs) {
        if (epoch <= before) refuse('E_ENCODING', 'epochs not rising');
        before = epoch;
    }
    if (epochs.length === 0) refuse('E_ENCODING', 'epochs not rising');
    return epochs;
}

/**
 * The grant, if its granter might give it; checked against the commit it names.
 *
 * The granter needs GRANT, unless the receiver was in the roster of every epoch given with that sight: then it is a
 * re-seal of what was theirs (the line must hold those commits). The receiver must be in the *signed* roster, or among
 * the records keys, of the commit that the grant names. `E_UNKNOWN_EPOCH` (fetch commits first), `E_CHAIN`, `E_AUTHZ`,
 * `E_GRANT`, `E_REVOKED`, `E_EXPIRED`, `E_CLOCK`, `E_SIG`.
 */
export async function verifyGrant(
    line: ChannelLine,
    signed: Signed,
    directories: Directories,
    receipt: Receipt = REPLAY,
): Promise<Grant> {
    const { nowMs } = receipt;
    const grant = await parseGrant(signed);
    if (grant.channelId !== line.channelId) refuse('E_CHAIN', 'another channel');
    const commit = line.commits.get(grant.epoch);
    if (commit === undefined) return refuse('E_UNKNOWN_EPOCH', 'commit not known here');
    if (commit.hash !== grant.headHash) refuse('E_CHAIN', 'another branch');
    const entry = rosterEntry(commit, grant.granter);
    if (entry?.guest !== null) return refuse('E_AUTHZ', 'granter not in the roster');
    const head = headOf(commit, entry.agencyId);
    const directory = directories.get(entry.agencyId);
    const key = certificateFor(directories, entry.agencyId, grant.granter)?.public;
    if (key === undefined || head === null) return refuse('E_UNKNOWN_DEVICE', 'granter not certified');
    await verifySigned(signed, key, 'grant');
    // Asked for again: the directory may have grown while the signature was waited for.
    const certificate = certificateFor(directories, entry.agencyId, grant.granter);
    if (certificate === null || directory === undefined) {
        return refuse('E_UNKNOWN_DEVICE', 'granter not certified');
    }
    if (revokedAsOf(certificate, nowMs === null ? head.seq : directory.seq)) {
        refuse('E_REVOKED', 'granter revoked');
    }
    if (nowMs !== null && Math.abs(grant.tsMs - nowMs) >= CLOCK_BOUND_MS)
        refuse('E_CLOCK', 'ten minutes off');
    if (grant.tsMs > certificate.notAfterMs) refuse('E_EXPIRED', 'granter expired');
    checkReceiver(grant, commit, directories, receipt);
    if ((grant.epochs.at(-1) ?? 0) > commit.epoch) refuse('E_GRANT', 'an epoch yet to come');
    if ((certificate.caps & CAP_GRANT) === 0 && !isReseal(grant, line)) refuse('E_AUTHZ', 'may not grant');
    return grant;
}

/** The class mask of a device or a records key in a commit. */
function sightOf(commit: Commit, to: Hex): number | null {
    const device = commit.roster.find((entry) => entry.deviceId === to);
    const record = commit.records.find((entry) => entry.recordsId === to);
    return (device ?? record)?.classMask ?? null;
}

function checkReceiver(grant: Grant, commit: Commit, directories: Directories, receipt: Receipt): void {
    const mask = sightOf(commit, grant.to);
    if (mask === null) return refuse('E_GRANT', 'receiver not in the signed roster');
    if ((grant.classMask & ~mask) !== 0) refuse('E_GRANT', 'more than the receiver may see');
    const entry = rosterEntry(commit, grant.to as DeviceId);
    if (receipt.nowMs === null || entry?.guest !== null) return;
    const directory = directories.get(entry.agencyId);
    if (directory === undefined) return refuse('E_UNKNOWN_DEVICE', 'device not certified');
    directory.liveDevice(entry.deviceId);
}

function isReseal(grant: Grant, line: ChannelLine): boolean {
    return grant.epochs.every((epoch) => {
        const commit = line.commits.get(epoch);
        const mask = commit === undefined ? null : sightOf(commit, grant.to);
        return mask !== null && (grant.classMask & ~mask) === 0;
    });
}
