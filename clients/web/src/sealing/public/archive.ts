/**
 * Archives of an incident's secrets: what they say of themselves, and who might make them. Spec 04, "Records".
 *
 * An observer verifies everything but what is inside.
 */

import type { ChannelId, DeviceId, IncidentId } from '~/protocol/ids';
import { refuse } from '../errors';
import { type ChannelLine, type Directories, REPLAY, type Receipt, rosterPublicKey } from './acceptance';
import { type Commit, rosterEntry } from './commit';
import { CLOCK_BOUND_MS } from './directory';
import {
    type Bytes,
    type Hex,
    asBytes,
    asId,
    asList,
    asName,
    asUint,
    decode,
    encode,
    sha256,
    unhex,
} from './encoding';
import { type RecordsId, parseClassMask, parseSuite } from './entries';
import { asRisingEpochs } from './grant';
import { type Signed, hashOfSigned, signedFields, signedOf, verifySigned } from './signed';

/** Like a grant's: it stands in one entry of a log. */
export const MAX_ARCHIVE_BYTES = 48 * 1024;
export const MAX_ARCHIVE_EPOCHS = 1000;

/** What the maker of an archive decides; the rest follows from the channel's newest commit. */
export interface ArchiveContents {
    readonly recordsId: RecordsId;
    readonly classMask: number;
    /** Rising. */
    readonly epochs: readonly number[];
    readonly tsMs: number;
    /** SHA-256 of the wrapped secrets. */
    readonly wrappedHash: Hex;
}

/**
 * What an archive's signature says is inside: the secrets of `epochs`, of the classes in `classMask`.
 *
 * `epoch` and `headHash` name the channel's newest commit then; `archiver` is who signed.
 */
export interface ArchiveLabel extends ArchiveContents {
    readonly channelId: ChannelId;
    readonly incidentId: IncidentId;
    readonly epoch: number;
    readonly headHash: Hex;
    readonly archiver: DeviceId;
    readonly hash: Hex;
}

/**
 * The secrets of one channel of an incident, sealed to a records key, as it is stored and sent:
 * `[[payload, signer, signature], suite, sealed key, wrapped]`.
 *
 * `wrapped` is useless without `keyBox`; shredding deletes both.
 */
export interface Archive {
    readonly signed: Signed;
    readonly suite: number;
    readonly keyBox: Bytes;
    readonly wrapped: Bytes;
}

export function encodeArchive({ signed, suite, keyBox, wrapped }: Archive): Bytes {
    return encode([signedFields(signed), suite, keyBox, wrapped]);
}

export function decodeArchive(data: Uint8Array): Archive {
    const [signed, suite, keyBox, wrapped] = asList(decode(data, { maxBytes: MAX_ARCHIVE_BYTES }), 4);
    return {
        signed: signedOf(signed),
        suite: parseSuite(suite),
        keyBox: asBytes(keyBox),
        wrapped: asBytes(wrapped),
    };
}

/** Whether an entry of a `grants` log is an archive: it has four elements, and a grant three. */
export function isArchive(data: Uint8Array): boolean {
    return data[0] === 0x94;
}

/** The payload to sign, by the channel's newest commit. */
export function encodeArchiveLabel(commit: Commit, contents: ArchiveContents): Bytes {
    const { recordsId, classMask, epochs, tsMs, wrappedHash } = contents;
    const place = [unhex(commit.channelId), unhex(commit.incidentId), commit.epoch, unhex(commit.hash)];
    return encode([1, ...place, unhex(recordsId), classMask, epochs, tsMs, unhex(wrappedHash)]);
}

/** What the archive says of itself, unverified; `E_ENCODING` or `E_FORMAT`. */
export async function parseArchiveLabel(signed: Signed): Promise<ArchiveLabel> {
    const values = asList(decode(signed.payload, { maxBytes: MAX_ARCHIVE_BYTES }), 10);
    const [version, channel, incident, epoch, head, records, mask, epochs, ts, wrapped] = values;
    if (asUint(version) !== 1) refuse('E_FORMAT', 'unknown version');
    const rising = asRisingEpochs(epochs, MAX_ARCHIVE_EPOCHS);
    const label = {
        channelId: asId(channel) as ChannelId,
        incidentId: asId(incident) as IncidentId,
        epoch: asUint(epoch),
        headHash: asName(head, 32),
        recordsId: asId(records) as RecordsId,
        classMask: parseClassMask(mask),
        epochs: rising,
        tsMs: asUint(ts),
        wrappedHash: asName(wrapped, 32),
        archiver: signed.signer as DeviceId,
    };
    return { ...label, hash: await hashOfSigned('archive', signed) };
}

/**
 * The label, if its signer might archive; what is inside only the records key can tell.
 *
 * `line` must hold the commit that the archive names. `E_UNKNOWN_EPOCH`, `E_RECORDS` (another channel, or not to a
 * records key of it within its classes), `E_AUTHZ`, `E_SIG`, `E_REVOKED`, `E_CLOCK`, `E_AEAD`.
 */
export async function verifyArchive(
    line: ChannelLine,
    archive: Archive,
    directories: Directories,
    receipt: Receipt = REPLAY,
): Promise<ArchiveLabel> {
    const { nowMs } = receipt;
    const label = await parseArchiveLabel(archive.signed);
    const commit = line.commits.get(label.epoch);
    if (commit === undefined) return refuse('E_UNKNOWN_EPOCH', 'commit not known here');
    if (
        label.channelId !== line.channelId ||
        label.headHash !== commit.hash ||
        label.incidentId !== commit.incidentId
    ) {
        refuse('E_RECORDS', 'another channel, branch or incident');
    }
    const record = commit.records.find((entry) => entry.recordsId === label.recordsId);
    if (record === undefined || (label.classMask & ~record.classMask) !== 0) {
        refuse('E_RECORDS', 'not a records key of this channel, or more than it may see');
    }
    if ((label.epochs.at(-1) ?? 0) > label.epoch) refuse('E_RECORDS', 'an epoch yet to come');
    const entry = rosterEntry(commit, label.archiver);
    if (entry?.guest !== null) return refuse('E_AUTHZ', 'archived by someone not in the roster');
    const archiverPublic = rosterPublicKey(commit, label.archiver, directories);
    await verifySigned(archive.signed, archiverPublic, 'archive');
    if (nowMs !== null) {
        const directory = directories.get(entry.agencyId);
        if (directory === undefined) return refuse('E_UNKNOWN_DEVICE', 'device not certified');
        directory.liveDevice(label.archiver);
        if (Math.abs(label.tsMs - nowMs) >= CLOCK_BOUND_MS) refuse('E_CLOCK', 'ten minutes off');
    }
    if ((await sha256(archive.wrapped)) !== label.wrappedHash) refuse('E_AEAD', 'archive altered');
    return label;
}
