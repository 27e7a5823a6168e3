/**
 * An agency's directory: who is certified, by whom, since when; one signed hash chain. Spec 04, "Directory".
 *
 * Every client replicates the whole chain and refuses gaps, so nobody can be shown a directory of their own without it
 * coming to light (`E_DIR_FORK`, `E_DIR_BEHIND`). A device's certificate *is* its `dev+` entry.
 */

import { type Bytes, sameBytes } from '~/protocol/bytes';
import type { AgencyId, DeviceId, MemberId } from '~/protocol/ids';
import { refuse } from '../errors';
import { InTurn } from '../in-turn';
import { weakIdentity } from './curve';
import { type Hex, ZERO32 } from './encoding';
import {
    type AuthorityId,
    CAP_POLICY,
    DUAL_CONTROL_COMPARTMENTS,
    type DeviceAdded,
    type Entry,
    type Limits,
    type RecordsId,
    type SignedEntry,
    agencyIdOf,
    decodeSignedEntry,
    hashOfEntry,
    parseEntry,
    verifyCosignature,
    verifyEntry,
} from './entries';

export const CLOCK_BOUND_MS = 10 * 60_000;

/** From when to when something may be used, both ends included; ms since 1970 UTC. */
export interface Dates {
    readonly notBeforeMs: number;
    readonly notAfterMs: number;
}

/** Where in the chain something was entered, and where it was withdrawn. */
export interface Standing {
    readonly seq: number;
    readonly revokedSeq: number | null;
}

/** A certified device, as its directory has it. */
export interface Certificate extends Dates, Standing {
    readonly agencyId: AgencyId;
    readonly deviceId: DeviceId;
    readonly public: Bytes;
    readonly memberId: MemberId;
    readonly role: string;
    readonly compartments: number;
    readonly caps: number;
}

/** A records custodian's HPKE key: it can read what its masks say, and never send. */
export interface RecordsKey extends Dates, Standing {
    readonly agencyId: AgencyId;
    readonly recordsId: RecordsId;
    readonly kid: Hex;
    readonly suite: number;
    readonly public: Bytes;
    readonly compartments: number;
    readonly classMask: number;
}

/** Who may certify devices: the root's delegate, full or (with `limits`) delegated. */
export interface Authority extends Standing {
    readonly authorityId: AuthorityId;
    readonly public: Bytes;
    readonly notAfterMs: number;
    readonly limits: Limits | null;
    readonly devicesCertified: number;
}

/** An entry that a directory has verified, ready to be applied and stored verbatim. */
export interface CheckedEntry {
    readonly signed: SignedEntry;
    readonly entry: Entry;
    readonly hash: Hex;
    /** Where two signed: what the entry's hash would be with the first signature alone. */
    readonly firstHash: Hex | null;
}

export function validAt(dates: Dates, tsMs: number): boolean {
    return dates.notBeforeMs <= tsMs && tsMs <= dates.notAfterMs;
}

export function revokedAsOf(standing: Standing, seq: number): boolean {
    return standing.revokedSeq !== null && standing.revokedSeq <= seq;
}

/** Whether a records key is known and not withdrawn as of head `seq`, and within its dates at `tsMs`. */
export function usableRecordsKey(key: RecordsKey, seq: number, tsMs: number): boolean {
    return key.seq <= seq && !revokedAsOf(key, seq) && validAt(key, tsMs);
}

/** The verified state of one agency's chain. A failed entry leaves it as it was. */
export class Directory {
    /** The newest entry; 0 while there is none. */
    seq = 0;
    /** The hash of the newest entry. */
    head = ZERO32;
    /** The time of the newest entry, ms since 1970 UTC. */
    tsMs = 0;
    readonly #hashes: Hex[] = [ZERO32];
    /** By seq, where two signed: the hash with the first signature alone. */
    readonly #firsts = new Map<number, Hex>();
    readonly #authorities = new Map<AuthorityId, Authority>();
    readonly #devices = new Map<DeviceId, Certificate>();
    readonly #records = new Map<RecordsId, RecordsKey>();
    readonly #byMember = new Map<MemberId, DeviceId[]>();
    readonly #turn = new InTurn();

    private constructor(
        readonly rootPublic: Bytes,
        readonly agencyId: AgencyId,
    ) {}

    /**
     * An empty directory. `rootPublic` is pinned at install (MDM or QR), never taken from the server; `E_DIR` for one
     * with which anybody can sign.
     */
    static async of(rootPublic: Bytes): Promise<Directory> {
        if (weakIdentity(rootPublic)) refuse('E_DIR', 'anybody can sign with this key');
        return new Directory(rootPublic, await agencyIdOf(rootPublic));
    }

    /** A directory from its stored entries, verified from the first. */
    static async replay(rootPublic: Bytes, entries: Iterable<Uint8Array>): Promise<Directory> {
        const directory = await Directory.of(rootPublic);
        for (const data of entries) await directory.apply(decodeSignedEntry(data));
        return directory;
    }

    // ---- looking up

    /** The head hash after entry `seq` (0: the empty directory); null when not yet seen. */
    hashAt(seq: number): Hex | null {
        return this.#hashes[seq] ?? null;
    }

    /** The certificate, revoked or not; null when never certified here. */
    device(deviceId: DeviceId): Certificate | null {
        return this.#devices.get(deviceId) ?? null;
    }

    /**
     * The certificate if known and unrevoked as of a head (by default the newest).
     *
     * `E_UNKNOWN_DEVICE` or `E_REVOKED`. Dates are not looked at.
     */
    liveDevice(deviceId: DeviceId, asOfSeq: number = this.seq): Certificate {
        const certificate = this.device(deviceId);
        if (certificate === null || certificate.seq > asOfSeq) {
            return refuse('E_UNKNOWN_DEVICE', 'device not certified');
        }
        if (revokedAsOf(certificate, asOfSeq)) refuse('E_REVOKED', 'device revoked');
        return certificate;
    }

    recordsKey(recordsId: RecordsId): RecordsKey | null {
        return this.#records.get(recordsId) ?? null;
    }

    recordsKeys(): readonly RecordsKey[] {
        return [...this.#records.values()];
    }

    devices(): readonly Certificate[] {
        return [...this.#devices.values()];
    }

    /** All devices ever certified for a member: a client warns of those it does not know. */
    devicesOf(memberId: MemberId): readonly Certificate[] {
        const ids = this.#byMember.get(memberId) ?? [];
        return ids.map((id) => this.device(id)).filter((certificate) => certificate !== null);
    }

    authority(authorityId: AuthorityId): Authority | null {
        return this.#authorities.get(authorityId) ?? null;
    }

    authorities(): readonly Authority[] {
        return [...this.#authorities.values()];
    }

    /**
     * Whether two full authorities live at `tsMs`, so that two must sign.
     *
     * Where it is false, the members' screens say so for good.
     */
    dualControl(tsMs: number): boolean {
        const live = this.authorities().filter(
            (a) => a.limits === null && a.revokedSeq === null && tsMs <= a.notAfterMs,
        );
        return live.length >= 2;
    }

    // ---- applying

    /**
     * Verifies the next entry and makes it the head.
     *
     * `nowMs` on live receipt bounds the entry's clock; null when replaying. Fails as `check` does, and then leaves
     * the directory unchanged. Calls that overlap are taken in turn.
     */
    apply(signed: SignedEntry, nowMs: number | null = null): Promise<CheckedEntry> {
        return this.#turn.run(async () => {
            const checked = await this.check(signed, nowMs);
            this.#install(checked);
            return checked;
        });
    }

    /**
     * Verifies the next entry without changing anything.
     *
     * `E_DUPLICATE` (already the entry of that seq), `E_DIR_FORK` (another entry validly signed for a seq already
     * passed: raise the alarm), `E_DIR_CHAIN` (a gap, or another branch), `E_DIR_SIGNER`, `E_SIG`, `E_CLOCK`,
     * `E_DIR`, `E_ENCODING`, `E_FORMAT`.
     */
    async check(signed: SignedEntry, nowMs: number | null = null): Promise<CheckedEntry> {
        const entry = await parseEntry(signed.signed.payload);
        if (entry.agencyId !== this.agencyId) refuse('E_DIR', 'another agency');
        const hash = await hashOfEntry(signed);
        const firstHash =
            signed.cosigned === null ? null : await hashOfEntry({ signed: signed.signed, cosigned: null });
        if (1 <= entry.seq && entry.seq <= this.seq) await this.#checkPassed(signed, entry, hash);
        if (entry.seq !== this.seq + 1 || entry.prevHash !== this.head) {
            refuse('E_DIR_CHAIN', 'not the next entry');
        }
        const signer = this.#signer(signed.signed.signer, entry.tsMs);
        await verifyEntry(signed, signer?.public ?? this.rootPublic);
        if (entry.tsMs < this.tsMs) refuse('E_CLOCK', 'earlier than the entry before');
        if (nowMs !== null && Math.abs(entry.tsMs - nowMs) >= CLOCK_BOUND_MS) {
            refuse('E_CLOCK', 'ten minutes off');
        }
        this.#checkScope(entry, signer);
        await this.#checkCosignature(signed, entry);
        this.#checkState(entry);
        return { signed, entry, hash, firstHash };
    }

    /** An entry for a seq already passed: the same one, evidence of a fork, or noise. */
    async #checkPassed(signed: SignedEntry, entry: Entry, hash: Hex): Promise<never> {
        if (hash === this.#hashes[entry.seq]) refuse('E_DUPLICATE', 'entry already applied');
        // Only a signed branch is evidence; anyone can invent an unsigned one, add 80 bytes to an entry that stands,
        // or take its second signature away.
        await verifyEntry(signed, this.#knownPublic(signed.signed.signer));
        if (signed.cosigned !== null) {
            if (signed.cosigned.signer === signed.signed.signer) {
                refuse('E_DIR_SIGNER', 'one authority signed twice');
            }
            const cosigner = this.#knownPublic(signed.cosigned.signer);
            await verifyCosignature(signed.signed, signed.cosigned, cosigner);
        } else if (hash === this.#firsts.get(entry.seq)) {
            refuse('E_DIR_SIGNER', 'second signature missing');
        }
        return refuse('E_DIR_FORK', 'two entries signed for one place');
    }

    /** The key of the root, or of an authority that ever was. */
    #knownPublic(signer: Hex): Bytes {
        if (signer === this.agencyId) return this.rootPublic;
        const known = this.authority(signer as AuthorityId);
        return known === null ? refuse('E_DIR_SIGNER', 'not an authority') : known.public;
    }

    /** The live authority of that id; null for the root. */
    #signer(signer: Hex, tsMs: number): Authority | null {
        if (signer === this.agencyId) return null;
        const authority = this.authority(signer as AuthorityId);
        if (authority?.revokedSeq !== null) return refuse('E_DIR_SIGNER', 'not an authority');
        if (tsMs > authority.notAfterMs) refuse('E_DIR_SIGNER', 'authority expired');
        return authority;
    }

    /** What this signer may sign at all; the root (null) may sign everything. */
    #checkScope(entry: Entry, signer: Authority | null): void {
        if (signer === null) return;
        const { operation } = entry;
        if (operation.op === 'ea+') refuse('E_DIR_SIGNER', 'root only');
        if (operation.op === 'ea-') {
            // A full authority may stop a delegated one at night; all else waits for the root.
            const target = this.authority(operation.authorityId);
            if (signer.limits !== null || target === null || target.limits === null) {
                refuse('E_DIR_SIGNER', 'root only');
            }
        }
        if (signer.limits === null) return;
        if (operation.op === 'rec+' || operation.op === 'rec-') {
            refuse('E_DIR_SIGNER', 'not for a delegated authority');
        }
        if (operation.op === 'dev+') checkLimits(operation, entry.tsMs, signer, signer.limits);
    }

    async #checkCosignature({ signed, cosigned }: SignedEntry, entry: Entry): Promise<void> {
        const { operation } = entry;
        const reaches =
            operation.op === 'rec+' ||
            (operation.op === 'dev+' && (operation.compartments & DUAL_CONTROL_COMPARTMENTS) !== 0);
        if (!reaches || !this.dualControl(entry.tsMs)) {
            // A second signature that is not called for would give one entry two hashes.
            if (cosigned !== null) refuse('E_DIR_SIGNER', 'second signature not called for');
            return;
        }
        if (cosigned === null) return refuse('E_DIR_SIGNER', 'second signature missing');
        if (cosigned.signer === signed.signer) refuse('E_DIR_SIGNER', 'one authority signed twice');
        const cosigner = this.#signer(cosigned.signer, entry.tsMs);
        await verifyCosignature(signed, cosigned, cosigner?.public ?? this.rootPublic);
        this.#checkScope(entry, cosigner);
    }

    #checkState({ operation, tsMs }: Entry): void {
        switch (operation.op) {
            case 'ea+': {
                const known = this.#authorities.has(operation.authorityId);
                const expired = operation.notAfterMs <= tsMs;
                if (known || expired || sameBytes(operation.public, this.rootPublic)) {
                    refuse('E_DIR', 'authority reused or expired');
                }
                return;
            }
            case 'ea-':
                if (this.authority(operation.authorityId)?.revokedSeq !== null) {
                    refuse('E_DIR', 'no such authority');
                }
                return;
            case 'dev+':
                if (this.#devices.has(operation.deviceId)) refuse('E_DIR', 'device id reused');
                return;
            case 'dev-':
                if (this.device(operation.deviceId)?.revokedSeq !== null) refuse('E_DIR', 'no such device');
                return;
            case 'rec+':
                if (this.#records.has(operation.recordsId)) refuse('E_DIR', 'records id reused');
                return;
            case 'rec-':
                if (this.recordsKey(operation.recordsId)?.revokedSeq !== null) {
                    refuse('E_DIR', 'no such records key');
                }
                return;
        }
    }

    /** The one step in which the directory changes; nothing in it waits or fails. */
    #install({ signed, entry, hash, firstHash }: CheckedEntry): void {
        const { operation, seq } = entry;
        const standing = { seq, revokedSeq: null };
        switch (operation.op) {
            case 'ea+': {
                const { op: _op, ...fields } = operation;
                const authority = { ...fields, ...standing, devicesCertified: 0 };
                this.#authorities.set(fields.authorityId, authority);
                break;
            }
            case 'ea-':
                revoke(this.#authorities, operation.authorityId, seq);
                break;
            case 'dev+': {
                const { op: _op, ...fields } = operation;
                this.#devices.set(fields.deviceId, { agencyId: this.agencyId, ...fields, ...standing });
                const others = this.#byMember.get(fields.memberId) ?? [];
                this.#byMember.set(fields.memberId, [...others, fields.deviceId]);
                this.#count(signed.signed.signer);
                if (signed.cosigned !== null) this.#count(signed.cosigned.signer);
                break;
            }
            case 'dev-':
                revoke(this.#devices, operation.deviceId, seq);
                break;
            case 'rec+': {
                const { op: _op, ...fields } = operation;
                this.#records.set(fields.recordsId, { agencyId: this.agencyId, ...fields, ...standing });
                break;
            }
            case 'rec-':
                revoke(this.#records, operation.recordsId, seq);
                break;
        }
        this.seq = seq;
        this.head = hash;
        this.tsMs = entry.tsMs;
        this.#hashes.push(hash);
        if (firstHash !== null) this.#firsts.set(seq, firstHash);
    }

    #count(signer: Hex): void {
        const authority = this.authority(signer as AuthorityId);
        if (authority === null) return;
        const devicesCertified = authority.devicesCertified + 1;
        this.#authorities.set(authority.authorityId, { ...authority, devicesCertified });
    }
}

function checkLimits(added: DeviceAdded, tsMs: number, signer: Authority, limits: Limits): void {
    if ((added.compartments & ~limits.compartments) !== 0 || (added.caps & CAP_POLICY) !== 0) {
        refuse('E_DIR_SIGNER', "beyond the delegation's scope");
    }
    if (added.notAfterMs - tsMs > limits.maxLifetimeMs) {
        refuse('E_DIR_SIGNER', "beyond the delegation's lifetime");
    }
    if (signer.devicesCertified >= limits.maxDevices) {
        refuse('E_DIR_SIGNER', "beyond the delegation's count");
    }
}

function revoke<Id, Kept extends Standing>(kept: Map<Id, Kept>, id: Id, revokedSeq: number): void {
    const old = kept.get(id);
    if (old !== undefined) kept.set(id, { ...old, revokedSeq });
}
