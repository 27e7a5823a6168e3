/**
 * Directory entries: the signed steps of an agency's directory, parsed.
 *
 * An entry is `[payload, signer_id, signature]`; where two authorities must agree, the third field is
 * `signature || cosigner_id || cosignature` (144 bytes). The payload is
 * `[v=1, agency_id, seq, prev_hash, ts_ms, op, body]`. Nothing here verifies; `directory` does. Spec 04, "Directory".
 */

import type { Bytes } from '~/protocol/bytes';
import type { AgencyId, DeviceId, Id, MemberId } from '~/protocol/ids';
import { refuse } from '../errors';
import { lowOrder, weakIdentity } from './curve';
import {
    type Hex,
    PREFIX,
    type Value,
    asBytes,
    asId,
    asList,
    asName,
    asText,
    asUint,
    concat,
    decode,
    digest,
    encode,
    hex,
    idOf,
    pae,
    sha256,
    unhex,
    utf8,
} from './encoding';
import { PUBLIC_KEY_BYTES, SIGNATURE_BYTES, type Signed, verifyRaw, verifySigned } from './signed';

export type AuthorityId = Id<'authority'>;
export type RecordsId = Id<'records'>;

/** Compartments: one per channel, a bitmask per certificate. */
export const OPERATIONS = 0;
export const CLINICAL = 1;
export const RECORD = 2;
export const SUBSTANCE_USE = 3;
export const CRIMINAL_JUSTICE = 4;
export const COMPARTMENTS = [OPERATIONS, CLINICAL, RECORD, SUBSTANCE_USE, CRIMINAL_JUSTICE] as const;
export const ALL_COMPARTMENTS = 0b11111;
/** Devices that reach any of these need two authorities wherever an agency has two. */
export const DUAL_CONTROL_COMPARTMENTS = 0b11110;

/** Capabilities of a device. */
export const CAP_SEND = 1;
export const CAP_ADMIT = 2;
export const CAP_REMOVE = 4;
export const CAP_GRANT = 8;
export const CAP_POLICY = 16;
export const CAP_CREATE = 32;
export const ALL_CAPS = 63;

/** Key classes; a class mask has the bit `1 << class`. */
export const DURABLE = 1;
export const EPHEMERAL = 2;
export const MEDIA = 3;
export const CLASSES = [DURABLE, EPHEMERAL, MEDIA] as const;
export const FULL_CLASS_MASK = 0b1110;

export const SUITE_X25519 = 1;
/** The suites spoken, and the bytes of a public key in each. */
export const HPKE_PUBLIC_BYTES: ReadonlyMap<number, number> = new Map([[SUITE_X25519, 32]]);

export const DELEGATED_MAX_MS = 24 * 3_600_000;
export const MAX_ENTRY_BYTES = 4096;
export const MAX_ROLE_BYTES = 32;
export const MAX_REASON_BYTES = 64;
const ID_BYTES = 16;

export async function agencyIdOf(rootPublic: Bytes): Promise<AgencyId> {
    return (await idOf('agency', rootPublic)) as AgencyId;
}

export async function authorityIdOf(publicKey: Bytes): Promise<AuthorityId> {
    return (await idOf('issuer', publicKey)) as AuthorityId;
}

export async function deviceIdOf(publicKey: Bytes): Promise<DeviceId> {
    return (await idOf('device', publicKey)) as DeviceId;
}

export async function recordsIdOf(publicKey: Bytes): Promise<RecordsId> {
    return (await idOf('records', publicKey)) as RecordsId;
}

/** Key id: the first 8 bytes of SHA-256 over a DeviceKey payload or a raw public key. */
export async function kidOf(data: Bytes): Promise<Hex> {
    return (await sha256(data)).slice(0, 16) as Hex;
}

/** What a delegated authority may do: never more than `maxLifetimeMs` of 24 h. */
export interface Limits {
    readonly compartments: number;
    readonly maxLifetimeMs: number;
    readonly maxDevices: number;
}

/** `[pub, not_after, limits or nil]` */
export interface AuthorityAdded {
    readonly op: 'ea+';
    readonly authorityId: AuthorityId;
    readonly public: Bytes;
    readonly notAfterMs: number;
    readonly limits: Limits | null;
}

/** `[authority_id, reason, ts]` */
export interface AuthorityRemoved {
    readonly op: 'ea-';
    readonly authorityId: AuthorityId;
    readonly reason: string;
    readonly tsMs: number;
}

/** `[pub, member_id, role, compartments, caps, not_before, not_after]` */
export interface DeviceAdded {
    readonly op: 'dev+';
    readonly deviceId: DeviceId;
    readonly public: Bytes;
    readonly memberId: MemberId;
    readonly role: string;
    readonly compartments: number;
    readonly caps: number;
    readonly notBeforeMs: number;
    readonly notAfterMs: number;
}

/** `[device_id, reason, ts]` */
export interface DeviceRemoved {
    readonly op: 'dev-';
    readonly deviceId: DeviceId;
    readonly reason: string;
    readonly tsMs: number;
}

/** `[suite, pub, compartments, class_mask, not_before, not_after]` */
export interface RecordsAdded {
    readonly op: 'rec+';
    readonly recordsId: RecordsId;
    readonly kid: Hex;
    readonly suite: number;
    readonly public: Bytes;
    readonly compartments: number;
    readonly classMask: number;
    readonly notBeforeMs: number;
    readonly notAfterMs: number;
}

/** `[records_id, reason, ts]` */
export interface RecordsRemoved {
    readonly op: 'rec-';
    readonly recordsId: RecordsId;
    readonly reason: string;
    readonly tsMs: number;
}

export type Operation =
    AuthorityAdded | AuthorityRemoved | DeviceAdded | DeviceRemoved | RecordsAdded | RecordsRemoved;

/** A directory entry as it travels: one signature, or two. */
export interface SignedEntry {
    readonly signed: Signed;
    readonly cosigned: Cosigned | null;
}

/** The second signature of an entry, and whose it is. */
export interface Cosigned {
    readonly signer: Hex;
    readonly signature: Bytes;
}

/** The third field: 64 bytes; with a second signature `sig || cosigner || cosig`, 144 bytes. */
export function signatureField({ signed, cosigned }: SignedEntry): Bytes {
    if (cosigned === null) return signed.signature;
    return concat([signed.signature, unhex(cosigned.signer), cosigned.signature]);
}

export function encodeSignedEntry(entry: SignedEntry): Bytes {
    return encode([entry.signed.payload, unhex(entry.signed.signer), signatureField(entry)]);
}

/** An entry from its three fields, or `E_ENCODING`. Signatures are not yet verified. */
export function signedEntryOf(payload: Bytes, signer: Bytes, field: Bytes): SignedEntry {
    const double = field.length === 2 * SIGNATURE_BYTES + ID_BYTES;
    if (
        signer.length !== ID_BYTES ||
        (field.length !== SIGNATURE_BYTES && !double) ||
        payload.length > MAX_ENTRY_BYTES
    ) {
        refuse('E_ENCODING', 'wrong length');
    }
    const signed = { payload, signer: hex(signer), signature: field.slice(0, SIGNATURE_BYTES) };
    if (!double) return { signed, cosigned: null };
    const cosigner = hex(field.subarray(SIGNATURE_BYTES, SIGNATURE_BYTES + ID_BYTES));
    return { signed, cosigned: { signer: cosigner, signature: field.slice(SIGNATURE_BYTES + ID_BYTES) } };
}

export function decodeSignedEntry(data: Uint8Array): SignedEntry {
    const [payload, signer, field] = asList(decode(data, { maxBytes: MAX_ENTRY_BYTES }), 3);
    return signedEntryOf(asBytes(payload), asBytes(signer), asBytes(field));
}

/** The entry's name in the chain. It covers the second signature where there is one. */
export function hashOfEntry(entry: SignedEntry): Promise<Hex> {
    return digest('dir', entry.signed.payload, unhex(entry.signed.signer), signatureField(entry));
}

export function verifyEntry(entry: SignedEntry, publicKey: Bytes): Promise<void> {
    return verifySigned(entry.signed, publicKey, 'dir');
}

export function verifyCosignature(signed: Signed, cosigned: Cosigned, publicKey: Bytes): Promise<void> {
    return verifyRaw(publicKey, cosigned.signature, cosigningInput(signed, cosigned.signer));
}

/**
 * What the second authority signs.
 *
 * It covers the first signature and has a type of its own, so the two signatures can be neither swapped nor moved to
 * another entry.
 */
export function cosigningInput(signed: Signed, cosigner: Hex): Bytes {
    const first = pae(signed.payload, unhex(signed.signer), signed.signature);
    return pae(utf8(`${PREFIX}sig`), utf8('dir-co'), unhex(cosigner), first);
}

/** A parsed directory entry. */
export interface Entry {
    readonly agencyId: AgencyId;
    readonly seq: number;
    readonly prevHash: Hex;
    readonly tsMs: number;
    readonly operation: Operation;
}

/** The entry in `payload`; `E_ENCODING` or `E_FORMAT` for its shape, `E_DIR` for what it asks. */
export async function parseEntry(payload: Bytes): Promise<Entry> {
    const values = asList(decode(payload, { maxBytes: MAX_ENTRY_BYTES }), 7);
    if (asUint(values[0]) !== 1) refuse('E_FORMAT', 'unknown version');
    return {
        agencyId: asId(values[1]) as AgencyId,
        seq: asUint(values[2]),
        prevHash: asName(values[3], 32),
        tsMs: asUint(values[4]),
        operation: await parseOperation(asText(values[5], 8), values[6]),
    };
}

/** The payload to sign. */
export function encodeEntry(entry: Entry): Bytes {
    const { agencyId, seq, prevHash, tsMs, operation } = entry;
    return encode([1, unhex(agencyId), seq, unhex(prevHash), tsMs, operation.op, operationBody(operation)]);
}

function operationBody(o: Operation): readonly Value[] {
    switch (o.op) {
        case 'ea+': {
            const { limits } = o;
            const given = limits && [limits.compartments, limits.maxLifetimeMs, limits.maxDevices];
            return [o.public, o.notAfterMs, given];
        }
        case 'ea-':
            return [unhex(o.authorityId), o.reason, o.tsMs];
        case 'dev+':
            return [o.public, unhex(o.memberId), o.role, o.compartments, o.caps, o.notBeforeMs, o.notAfterMs];
        case 'dev-':
            return [unhex(o.deviceId), o.reason, o.tsMs];
        case 'rec+':
            return [o.suite, o.public, o.compartments, o.classMask, o.notBeforeMs, o.notAfterMs];
        case 'rec-':
            return [unhex(o.recordsId), o.reason, o.tsMs];
    }
}

async function parseOperation(op: string, body: Value | undefined): Promise<Operation> {
    switch (op) {
        case 'ea+': {
            const [key, notAfter, limits] = asList(body, 3);
            const publicKey = asBytes(key, PUBLIC_KEY_BYTES);
            const parsed = { public: publicKey, notAfterMs: asUint(notAfter), limits: parseLimits(limits) };
            checkIdentity(publicKey);
            return { op, authorityId: await authorityIdOf(publicKey), ...parsed };
        }
        case 'ea-': {
            const { id, ...rest } = parseRemoval(body);
            return { op, authorityId: id as AuthorityId, ...rest };
        }
        case 'dev+': {
            const [key, member, role, compartments, caps, notBefore, notAfter] = asList(body, 7);
            const parsed = {
                public: asBytes(key, PUBLIC_KEY_BYTES),
                memberId: asId(member) as MemberId,
                role: asText(role, MAX_ROLE_BYTES),
                compartments: asUint(compartments, ALL_COMPARTMENTS),
                caps: asUint(caps, ALL_CAPS),
                notBeforeMs: asUint(notBefore),
                notAfterMs: asUint(notAfter),
            };
            checkIdentity(parsed.public);
            checkLifetime(parsed);
            return { op, deviceId: await deviceIdOf(parsed.public), ...parsed };
        }
        case 'dev-': {
            const { id, ...rest } = parseRemoval(body);
            return { op, deviceId: id as DeviceId, ...rest };
        }
        case 'rec+': {
            const [suiteValue, key, compartments, classMask, notBefore, notAfter] = asList(body, 6);
            const suite = parseSuite(suiteValue);
            const parsed = {
                suite,
                public: asBytes(key, HPKE_PUBLIC_BYTES.get(suite)),
                compartments: asUint(compartments, ALL_COMPARTMENTS),
                classMask: parseClassMask(classMask),
                notBeforeMs: asUint(notBefore),
                notAfterMs: asUint(notAfter),
            };
            if (lowOrder(parsed.public)) refuse('E_DIR', 'nobody can seal to this key');
            checkLifetime(parsed);
            const [recordsId, kid] = [await recordsIdOf(parsed.public), await kidOf(parsed.public)];
            return { op, recordsId, kid, ...parsed };
        }
        case 'rec-': {
            const { id, ...rest } = parseRemoval(body);
            return { op, recordsId: id as RecordsId, ...rest };
        }
        default:
            // Skipping an operation one does not know would split the directory in two.
            return refuse('E_DIR', 'unknown operation');
    }
}

function parseRemoval(body: Value | undefined) {
    const [id, reason, ts] = asList(body, 3);
    return { id: asId(id), reason: asText(reason, MAX_REASON_BYTES), tsMs: asUint(ts) };
}

function checkIdentity(publicKey: Bytes): void {
    if (weakIdentity(publicKey)) refuse('E_DIR', 'anybody can sign with this key');
}

function checkLifetime(dates: { readonly notBeforeMs: number; readonly notAfterMs: number }): void {
    if (dates.notBeforeMs >= dates.notAfterMs) refuse('E_DIR', 'empty lifetime');
}

function parseLimits(value: Value | undefined): Limits | null {
    if (value === null) return null;
    const [compartments, lifetime, count] = asList(value, 3);
    const limits = {
        compartments: asUint(compartments, ALL_COMPARTMENTS),
        maxLifetimeMs: asUint(lifetime),
        maxDevices: asUint(count, 1000),
    };
    if (limits.maxLifetimeMs === 0 || limits.maxLifetimeMs > DELEGATED_MAX_MS) {
        refuse('E_DIR', 'delegated lifetime over 24 hours');
    }
    return limits;
}

/** A suite this version speaks, or `E_FORMAT`. */
export function parseSuite(value: Value | undefined): number {
    const suite = asUint(value);
    if (!HPKE_PUBLIC_BYTES.has(suite)) refuse('E_FORMAT', 'unknown suite');
    return suite;
}

/** A non-empty set of the three classes, or `E_ENCODING`. */
export function parseClassMask(value: Value | undefined): number {
    const mask = asUint(value, FULL_CLASS_MASK);
    if (mask === 0 || (mask & ~FULL_CLASS_MASK) !== 0) refuse('E_ENCODING', 'class mask');
    return mask;
}
