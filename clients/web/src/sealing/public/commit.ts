/**
 * Commits: the signed, hash-chained steps by which a channel changes its members and keys. Spec 04, "Commit".
 *
 * This module is the shape: parse and encode. The rules by which a commit is accepted are in `acceptance`. Field
 * numbers are those of the spec.
 */

import { sameBytes } from '~/protocol/bytes';
import type { AgencyId, ChannelId, DeviceId, IncidentId } from '~/protocol/ids';
import { refuse } from '../errors';
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
    idOf,
    unhex,
} from './encoding';
import {
    COMPARTMENTS,
    FULL_CLASS_MASK,
    HPKE_PUBLIC_BYTES,
    type RecordsId,
    SUITE_X25519,
    parseClassMask,
    parseSuite,
} from './entries';
import type { LogHead } from './seen';
import { PUBLIC_KEY_BYTES, type Signed, hashOfSigned } from './signed';

export const MAX_ROSTER = 200;
export const MAX_RECORDS = 16;
export const MAX_AGENCIES = 16;
export const MAX_AUTHORISATIONS = 16;
export const MAX_COMMIT_BYTES = 48 * 1024;
/** The incident of a standing channel: unit, desk, agency, on-call. */
export const NO_INCIDENT = '0'.repeat(32) as IncidentId;

export const REASON_CREATE = 0;
export const REASON_MEMBER = 1;
export const REASON_REVOKE = 2;
export const REASON_PERIODIC = 3;
export const REASON_CONSENT = 4;
const REASONS = [REASON_CREATE, REASON_MEMBER, REASON_REVOKE, REASON_PERIODIC, REASON_CONSENT] as const;
export type CommitReason = (typeof REASONS)[number];

export const AUTH_CONSENT = 1;
export const AUTH_BREAK_GLASS = 2;
const AUTHORISATIONS = [AUTH_CONSENT, AUTH_BREAK_GLASS] as const;
export type Authorisation = (typeof AUTHORISATIONS)[number];

/** A key that the committer vouched for, at most four hours; it is in no directory. */
export interface Guest {
    readonly public: Bytes;
    readonly hpkePublic: Bytes;
    readonly notAfterMs: number;
}

/** Who can read: a certified device, or a guest. `kid` is `NO_KID` for a dormant one. */
export interface RosterEntry {
    readonly deviceId: DeviceId;
    readonly agencyId: AgencyId;
    readonly kid: Hex;
    readonly classMask: number;
    readonly guest: Guest | null;
}

export interface RecordsEntry {
    readonly recordsId: RecordsId;
    readonly agencyId: AgencyId;
    readonly classMask: number;
    readonly kid: Hex;
}

/** A directory head that the committer acted on. */
export interface Head {
    readonly agencyId: AgencyId;
    readonly seq: number;
    readonly hash: Hex;
}

/** The legal ground for a sensitive channel: SHA-256 of the sealed record's frame. */
export interface AuthRecord {
    readonly kind: Authorisation;
    readonly recordHash: Hex;
}

/** Which agencies' devices may be here, and which records keys must read along; sorted. */
export interface Policy {
    readonly agencies: readonly AgencyId[];
    readonly records: readonly RecordsId[];
}

/** What a commit says. Lists of ids are in ascending order. */
export interface CommitFields {
    readonly suite: number;
    readonly channelId: ChannelId;
    readonly epoch: number;
    readonly prevHash: Hex;
    readonly committer: DeviceId;
    readonly tsMs: number;
    readonly reason: CommitReason;
    readonly compartment: number;
    readonly incidentId: IncidentId;
    /** 16 bytes at genesis, else empty. */
    readonly nonce: Bytes;
    readonly roster: readonly RosterEntry[];
    readonly records: readonly RecordsEntry[];
    readonly heads: readonly Head[];
    /** Of the durable, the ephemeral and the media secret; 32 bytes each. */
    readonly commitments: readonly [Hex, Hex, Hex];
    readonly auth: readonly AuthRecord[];
    readonly seen: LogHead;
    readonly policy: Policy;
}

/** A parsed commit. Only `acceptance` says whether it holds. */
export interface Commit extends CommitFields {
    readonly hash: Hex;
    readonly signed: Signed;
}

/** The roster entry of a device, or null. */
export function rosterEntry(commit: CommitFields, deviceId: DeviceId): RosterEntry | null {
    return commit.roster.find((entry) => entry.deviceId === deviceId) ?? null;
}

/** A device's place in the roster, or null: media names a speaker by it. */
export function rosterIndex(commit: CommitFields, deviceId: DeviceId): number | null {
    const index = commit.roster.findIndex((entry) => entry.deviceId === deviceId);
    return index < 0 ? null : index;
}

export function headOf(commit: CommitFields, agencyId: AgencyId): Head | null {
    return commit.heads.find((head) => head.agencyId === agencyId) ?? null;
}

/** Whether its box is `[1, ..]`; masked devices and guests get `[2, ..]`. */
export function getsEpochSecret(entry: RosterEntry): boolean {
    return entry.guest === null && entry.classMask === FULL_CLASS_MASK;
}

export function sameGuest(a: Guest | null, b: Guest | null): boolean {
    if (a === null || b === null) return a === b;
    return (
        sameBytes(a.public, b.public) &&
        sameBytes(a.hpkePublic, b.hpkePublic) &&
        a.notAfterMs === b.notAfterMs
    );
}

/** Whether a device sees the same, as the same: its agency, classes and guest entry, whatever its key of the day. */
export function sameSight(a: RosterEntry, b: RosterEntry): boolean {
    return a.agencyId === b.agencyId && a.classMask === b.classMask && sameGuest(a.guest, b.guest);
}

export function samePolicy(a: Policy, b: Policy): boolean {
    return sameIds(a.agencies, b.agencies) && sameIds(a.records, b.records);
}

export function sameIds(a: readonly Hex[], b: readonly Hex[]): boolean {
    return a.length === b.length && a.every((id, i) => id === b[i]);
}

/** A channel's name: nobody else can create it, nor the creator with another compartment. */
export async function channelIdOf(
    creator: DeviceId,
    incidentId: IncidentId,
    compartment: number,
    nonce: Bytes,
): Promise<ChannelId> {
    const parts = [unhex(creator), unhex(incidentId), Uint8Array.of(compartment), nonce];
    return (await idOf('channel', ...parts)) as ChannelId;
}

/** The payload to sign, from fields that are already sorted. */
export function encodeCommit(c: CommitFields): Bytes {
    return encode([
        1,
        c.suite,
        unhex(c.channelId),
        c.epoch,
        unhex(c.prevHash),
        unhex(c.committer),
        c.tsMs,
        c.reason,
        c.compartment,
        unhex(c.incidentId),
        c.nonce,
        c.roster.map((e) => [
            unhex(e.deviceId),
            unhex(e.agencyId),
            unhex(e.kid),
            e.classMask,
            e.guest && [e.guest.public, e.guest.hpkePublic, e.guest.notAfterMs],
        ]),
        c.records.map((r) => [unhex(r.recordsId), unhex(r.agencyId), r.classMask, unhex(r.kid)]),
        c.heads.map((h) => [unhex(h.agencyId), h.seq, unhex(h.hash)]),
        c.commitments.map(unhex),
        c.auth.map((a) => [a.kind, unhex(a.recordHash)]),
        [c.seen.seq, unhex(c.seen.hash)],
        [c.policy.agencies.map(unhex), c.policy.records.map(unhex)],
    ]);
}

/**
 * The commit in `signed`, unverified.
 *
 * `E_ENCODING` for shape, order and bounds; `E_FORMAT` for a version or suite not spoken; `E_CHAIN` when the payload
 * names another committer than the signer.
 */
export async function parseCommit(signed: Signed): Promise<Commit> {
    const values = asList(decode(signed.payload, { maxBytes: MAX_COMMIT_BYTES }), 18);
    if (asUint(values[0]) !== 1) refuse('E_FORMAT', 'unknown version');
    const epoch = asUint(values[3]);
    const reason = oneOf(REASONS, values[7]);
    const nonce = asBytes(values[10]);
    if (nonce.length !== (epoch === 0 ? 16 : 0)) refuse('E_ENCODING', 'nonce at genesis only');
    if ((epoch === 0) !== (reason === REASON_CREATE)) refuse('E_ENCODING', 'reason create at genesis only');
    const committer = asId(values[5]) as DeviceId;
    if (committer !== signed.signer) refuse('E_CHAIN', 'committer is not the signer');
    const [durable, ephemeral, media] = asList(values[14], 3);
    const [seenSeq, seenHash] = asList(values[16], 2);
    const [agencies, records] = asList(values[17], 2);
    const fields: CommitFields = {
        suite: parseSuite(values[1]),
        channelId: asId(values[2]) as ChannelId,
        epoch,
        prevHash: asName(values[4], 32),
        committer,
        tsMs: asUint(values[6]),
        reason,
        compartment: oneOf(COMPARTMENTS, values[8]),
        incidentId: asId(values[9]) as IncidentId,
        nonce,
        roster: parseRoster(values[11]),
        records: parseRecords(values[12]),
        heads: parseHeads(values[13]),
        commitments: [asName(durable, 32), asName(ephemeral, 32), asName(media, 32)],
        auth: parseAuth(values[15]),
        seen: { seq: asUint(seenSeq), hash: asName(seenHash, 32) },
        policy: {
            agencies: sortedIds(agencies, MAX_AGENCIES) as readonly AgencyId[],
            records: sortedIds(records, MAX_RECORDS) as readonly RecordsId[],
        },
    };
    return { ...fields, hash: await hashOfSigned('commit', signed), signed };
}

function oneOf<Known extends number>(known: readonly Known[], value: Value | undefined): Known {
    const number = asUint(value);
    return known.find((one) => one === number) ?? refuse('E_ENCODING', 'a number without a meaning');
}

function checkAscending(ids: readonly Hex[]): void {
    const unsorted = ids.some((id, i) => {
        const before = ids[i - 1];
        return before !== undefined && before >= id;
    });
    if (unsorted) refuse('E_ENCODING', 'not sorted, or named twice');
}

function sortedIds(value: Value | undefined, most: number): readonly Hex[] {
    const ids = asListOfAtMost(value, most).map(asId);
    checkAscending(ids);
    return ids;
}

function parseRoster(value: Value | undefined): readonly RosterEntry[] {
    const entries = asListOfAtMost(value, MAX_ROSTER).map((item) => {
        const [device, agency, kid, mask, guest] = asList(item, 5);
        return {
            deviceId: asId(device) as DeviceId,
            agencyId: asId(agency) as AgencyId,
            kid: asName(kid, 8),
            classMask: parseClassMask(mask),
            guest: parseGuest(guest),
        };
    });
    checkAscending(entries.map((entry) => entry.deviceId));
    return entries;
}

function parseGuest(value: Value | undefined): Guest | null {
    if (value === null) return null;
    const [publicKey, hpkePublic, notAfter] = asList(value, 3);
    return {
        public: asBytes(publicKey, PUBLIC_KEY_BYTES),
        hpkePublic: asBytes(hpkePublic, HPKE_PUBLIC_BYTES.get(SUITE_X25519)),
        notAfterMs: asUint(notAfter),
    };
}

function parseRecords(value: Value | undefined): readonly RecordsEntry[] {
    const entries = asListOfAtMost(value, MAX_RECORDS).map((item) => {
        const [records, agency, mask, kid] = asList(item, 4);
        return {
            recordsId: asId(records) as RecordsId,
            agencyId: asId(agency) as AgencyId,
            classMask: parseClassMask(mask),
            kid: asName(kid, 8),
        };
    });
    checkAscending(entries.map((entry) => entry.recordsId));
    return entries;
}

function parseHeads(value: Value | undefined): readonly Head[] {
    const heads = asListOfAtMost(value, MAX_AGENCIES).map((item) => {
        const [agency, seq, hash] = asList(item, 3);
        return { agencyId: asId(agency) as AgencyId, seq: asUint(seq), hash: asName(hash, 32) };
    });
    checkAscending(heads.map((head) => head.agencyId));
    return heads;
}

function parseAuth(value: Value | undefined): readonly AuthRecord[] {
    return asListOfAtMost(value, MAX_AUTHORISATIONS).map((item) => {
        const [kind, recordHash] = asList(item, 2);
        return { kind: oneOf(AUTHORISATIONS, kind), recordHash: asName(recordHash, 32) };
    });
}
