/**
 * The rules by which a commit is accepted, each with its code. Spec 04, "Acceptance".
 *
 * Server and members apply the same table: the server before it stores a commit (one invalid commit would otherwise
 * win the compare-and-set and brick the channel), members before they install it. Authorisation is the head roster
 * minus revocations, nothing else.
 */

import type { AgencyId, ChannelId, DeviceId } from '~/protocol/ids';
import { refuse } from '../errors';
import { InTurn } from '../in-turn';
import {
    type Commit,
    type Guest,
    type Head,
    type RosterEntry,
    channelIdOf,
    getsEpochSecret,
    headOf,
    parseCommit,
    rosterEntry,
    sameIds,
    samePolicy,
    sameSight,
} from './commit';
import { lowOrder, weakIdentity } from './curve';
import type { DeviceKeyBook } from './device-key';
import {
    CLOCK_BOUND_MS,
    type Certificate,
    type Directory,
    type RecordsKey,
    revokedAsOf,
    usableRecordsKey,
    validAt,
} from './directory';
import { type Bytes, type Hex, ZERO32 } from './encoding';
import {
    CAP_ADMIT,
    CAP_CREATE,
    CAP_GRANT,
    CAP_POLICY,
    CAP_REMOVE,
    CLINICAL,
    MEDIA,
    RECORD,
    type RecordsId,
    SUBSTANCE_USE,
    deviceIdOf,
    kidOf,
} from './entries';
import { type Signed, verifySigned } from './signed';

export const GUEST_LIFETIME_MS = 4 * 3_600_000;
export const MEDIA_MASK = 1 << MEDIA;
const AUTH_COMPARTMENTS: readonly number[] = [CLINICAL, RECORD, SUBSTANCE_USE];

export type Directories = ReadonlyMap<AgencyId, Directory>;

/** How a commit comes in, which decides what is compared with the present. */
export interface Receipt {
    /** Server time on live receipt; null when stored history is replayed. */
    readonly nowMs: number | null;
    /** Null when the DeviceKeys are not at hand. */
    readonly deviceKeys: DeviceKeyBook | null;
    /** The server's case: besides, nobody in the roster, nor the committer, may be revoked in the newest directory. */
    readonly storing: boolean;
}

/** Stored history: no clock. */
export const REPLAY: Receipt = { nowMs: null, deviceKeys: null, storing: false };

/** Live receipt by a member. */
export function live(nowMs: number, deviceKeys: DeviceKeyBook | null = null): Receipt {
    return { nowMs, deviceKeys, storing: false };
}

/** The verified chain of one channel, without keys; a member holds all epochs it wants to read. */
export class ChannelLine {
    readonly #commits = new Map<number, Commit>();
    #head: Commit | null = null;
    readonly #turn = new InTurn();

    constructor(readonly channelId: ChannelId) {}

    /** A line that trusts `head`, because it was verified when it was stored. */
    static at(head: Commit): ChannelLine {
        const line = new ChannelLine(head.channelId);
        line.install(head);
        return line;
    }

    /** The newest commit; null before genesis. */
    get head(): Commit | null {
        return this.#head;
    }

    /** The commits held, by epoch. */
    get commits(): ReadonlyMap<number, Commit> {
        return this.#commits;
    }

    /** The newest epoch; -1 before genesis. */
    get epoch(): number {
        return this.#head?.epoch ?? -1;
    }

    get headHash(): Hex {
        return this.#head?.hash ?? ZERO32;
    }

    /**
     * Verifies the next commit and makes it the head; unchanged when a rule fails.
     *
     * Calls that overlap are taken in turn.
     */
    accept(signed: Signed, directories: Directories, receipt: Receipt = REPLAY): Promise<Commit> {
        return this.#turn.run(async () => {
            const commit = await verifyCommit(this, signed, directories, receipt);
            this.install(commit);
            return commit;
        });
    }

    /**
     * Takes a commit that `verifyCommit` returned for this line, or that was verified when it was stored.
     *
     * Who waits in between must do nothing else to the line: `E_CHAIN`, and nothing is changed, when the epoch is
     * taken by another commit by now, or the next one does not follow the head.
     */
    install(commit: Commit): void {
        const known = this.#commits.get(commit.epoch);
        const follows = commit.epoch !== this.epoch + 1 || commit.prevHash === this.headHash;
        if ((known !== undefined && known.hash !== commit.hash) || (this.#head !== null && !follows)) {
            refuse('E_CHAIN', 'another commit came first');
        }
        this.#commits.set(commit.epoch, commit);
        if (commit.epoch > this.epoch) this.#head = commit;
    }
}

/**
 * The commit, if it may follow the line's head; nothing is changed.
 *
 * `directories` are those of the agencies concerned, by id. Fails with the code of the first rule that is broken;
 * `E_DUPLICATE` for a commit that stands already, `E_FORK` for another one validly signed for an epoch that is taken
 * (a member raises the alarm), `E_DIR_BEHIND` when a directory must be fetched first.
 */
export async function verifyCommit(
    line: ChannelLine,
    signed: Signed,
    directories: Directories,
    receipt: Receipt = REPLAY,
): Promise<Commit> {
    const commit = await parseCommit(signed);
    if (commit.channelId !== line.channelId) refuse('E_CHAIN', 'another channel');
    const names = await namesIn(commit);
    const { head } = line;
    if (commit.epoch <= line.epoch) await checkPassed(line, commit, names, directories);
    if (commit.epoch !== line.epoch + 1 || commit.prevHash !== line.headHash) {
        refuse('E_CHAIN', 'not the next commit');
    }
    await new Rules(head, commit, names, directories, receipt).check();
    return commit;
}

/** A device's certificate in its agency's directory, revoked or not. */
export function certificateFor(
    directories: Directories,
    agencyId: AgencyId,
    deviceId: DeviceId,
): Certificate | null {
    return directories.get(agencyId)?.device(deviceId) ?? null;
}

/**
 * The identity key (32 bytes) of a device in a verified commit's roster.
 *
 * `E_AUTHZ` when it is not in the roster; `E_UNKNOWN_DEVICE` when its directory is absent.
 */
export function rosterPublicKey(commit: Commit, deviceId: DeviceId, directories: Directories): Bytes {
    const entry = rosterEntry(commit, deviceId);
    if (entry === null) return refuse('E_AUTHZ', 'not in the roster');
    if (entry.guest !== null) return entry.guest.public;
    const certificate = certificateFor(directories, entry.agencyId, deviceId);
    return certificate === null ? refuse('E_UNKNOWN_DEVICE', 'device not certified') : certificate.public;
}

/** The names that follow from what a commit says, and that it must name rightly. */
interface Names {
    /** At genesis: what the channel must be called. */
    readonly channelId: ChannelId | null;
    /** By the device id that the roster has: what a guest's keys are called. */
    readonly guests: ReadonlyMap<DeviceId, { readonly deviceId: DeviceId; readonly kid: Hex }>;
}

/** Names are hashes, and WebCrypto's hashes have to be waited for: so they are made before the rules are gone through. */
async function namesIn(commit: Commit): Promise<Names> {
    const { epoch, committer, incidentId, compartment, nonce } = commit;
    const guests = new Map<DeviceId, { deviceId: DeviceId; kid: Hex }>();
    for (const { deviceId, guest } of commit.roster) {
        if (guest === null) continue;
        const [named, kid] = [await deviceIdOf(guest.public), await kidOf(guest.hpkePublic)];
        guests.set(deviceId, { deviceId: named, kid });
    }
    const channelId = epoch === 0 ? await channelIdOf(committer, incidentId, compartment, nonce) : null;
    return { channelId, guests };
}

/** A commit for an epoch already taken: the same one, evidence of a fork, or noise. */
async function checkPassed(
    line: ChannelLine,
    commit: Commit,
    names: Names,
    directories: Directories,
): Promise<never> {
    const known = line.commits.get(commit.epoch);
    if (known === undefined) return refuse('E_CHAIN', 'an epoch long past');
    if (known.hash === commit.hash) refuse('E_DUPLICATE', 'commit already accepted');
    // Only two *signed* branches are a fork; whoever could sign was a member then. Before the first there was the
    // creator alone, whom the channel's id names.
    const before = line.commits.get(commit.epoch - 1);
    if (commit.epoch === 0 && names.channelId !== line.channelId) {
        refuse('E_AUTHZ', 'committer did not create this channel');
    }
    // Who was a member only the roster before can say: without it anyone certified could stop the channel.
    if (commit.epoch > 0 && before === undefined) return refuse('E_CHAIN', 'an epoch long past');
    const wasMember = before === undefined || rosterEntry(before, commit.committer) !== null;
    for (const directory of directories.values()) {
        const certificate = directory.device(commit.committer);
        if (certificate === null || !wasMember) continue;
        await verifySigned(commit.signed, certificate.public, 'commit');
        refuse('E_FORK', 'two commits signed for one epoch');
    }
    return refuse('E_AUTHZ', 'committer was not a member');
}

/** One commit against the table, rule by rule. It waits once, for the committer's signature. */
class Rules {
    constructor(
        private readonly prev: Commit | null,
        private readonly commit: Commit,
        private readonly names: Names,
        private readonly directories: Directories,
        private readonly receipt: Receipt,
    ) {}

    async check(): Promise<void> {
        this.#checkHeads();
        this.#checkUnchanged();
        const committer = await this.#checkCommitter();
        this.#checkClock();
        this.#checkPolicy(committer);
        this.#checkRoster(committer);
        this.#checkChanges(committer);
        this.#checkRecords();
        this.#checkAuth();
    }

    /** Accepted agencies and heads agree; every head is one that this verifier has too. */
    #checkHeads(): void {
        const { heads, policy } = this.commit;
        const named = heads.map((head) => head.agencyId);
        if (!sameIds(named, policy.agencies)) {
            refuse('E_AGENCY', 'heads are not those of the accepted agencies');
        }
        for (const head of heads) {
            const known = this.#directory(head.agencyId).hashAt(head.seq);
            if (known === null) refuse('E_DIR_BEHIND', 'fetch the directory, then try again');
            if (known !== head.hash) refuse('E_DIR_FORK', 'two directories shown');
            const before = this.prev && headOf(this.prev, head.agencyId);
            if (before !== null && head.seq < before.seq)
                refuse('E_HEAD_ROLLBACK', 'an older directory head');
        }
    }

    #checkUnchanged(): void {
        const { commit, prev } = this;
        if (prev === null) {
            if (this.names.channelId !== commit.channelId) refuse('E_CHAIN', 'channel id');
        } else if (
            commit.incidentId !== prev.incidentId ||
            commit.compartment !== prev.compartment ||
            commit.suite !== prev.suite
        ) {
            refuse('E_CHAIN', 'incident, compartment or suite changed');
        }
    }

    /** A member of the previous roster that holds the epoch secret, and its signature. */
    async #checkCommitter(): Promise<Certificate> {
        const { commit, prev } = this;
        const entry = rosterEntry(prev ?? commit, commit.committer);
        if (entry === null) return refuse('E_AUTHZ', 'committer is not a member');
        if (!getsEpochSecret(entry)) refuse('E_AUTHZ', 'guests and masked devices do not commit');
        const certificate = this.#live(entry.agencyId, commit.committer);
        await verifySigned(commit.signed, certificate.public, 'commit');
        this.#checkCertificate(certificate);
        if (prev === null && !may(certificate, CAP_CREATE)) refuse('E_AUTHZ', 'may not create channels');
        return certificate;
    }

    #checkClock(): void {
        const { tsMs } = this.commit;
        const { nowMs } = this.receipt;
        if (this.prev !== null && tsMs < this.prev.tsMs) refuse('E_CLOCK', 'earlier than the commit before');
        if (nowMs !== null && Math.abs(tsMs - nowMs) >= CLOCK_BOUND_MS) refuse('E_CLOCK', 'ten minutes off');
    }

    #checkPolicy(committer: Certificate): void {
        const changed = this.prev !== null && !samePolicy(this.commit.policy, this.prev.policy);
        if (changed && !may(committer, CAP_POLICY)) refuse('E_AUTHZ', 'may not change the policy');
    }

    #checkRoster(committer: Certificate): void {
        for (const entry of this.commit.roster) {
            if (entry.guest !== null) {
                this.#checkGuest(entry, entry.guest, committer);
                continue;
            }
            this.#checkCertificate(this.#live(entry.agencyId, entry.deviceId));
            this.#checkDeviceKey(entry);
        }
    }

    /** Certified and unrevoked as of the heads that the commit names. */
    #live(agencyId: AgencyId, deviceId: DeviceId): Certificate {
        const head = headOf(this.commit, agencyId);
        if (head === null) return refuse('E_AGENCY', 'agency not accepted here');
        const directory = this.#directory(agencyId);
        const certificate = directory.liveDevice(deviceId, head.seq);
        if (this.receipt.storing && revokedAsOf(certificate, directory.seq)) {
            refuse('E_REVOKED', 'device revoked in the newest directory');
        }
        return certificate;
    }

    #checkCertificate(certificate: Certificate): void {
        const { tsMs, compartment } = this.commit;
        if (!validAt(certificate, tsMs)) {
            refuse('E_EXPIRED', "certificate not valid at the commit's time");
        }
        if (!has(certificate.compartments, compartment)) {
            refuse('E_COMPARTMENT', 'not certified for this compartment');
        }
    }

    #checkDeviceKey({ deviceId, kid }: RosterEntry): void {
        const { deviceKeys, nowMs, storing } = this.receipt;
        if (deviceKeys === null || nowMs === null) return;
        if (storing) deviceKeys.checkFresh(deviceId, kid, this.commit.tsMs);
        else deviceKeys.checkNamed(deviceId, kid, this.commit.tsMs);
    }

    #checkGuest(entry: RosterEntry, guest: Guest, committer: Certificate): void {
        const { commit, prev } = this;
        if (headOf(commit, entry.agencyId) === null) refuse('E_AGENCY', 'agency not accepted here');
        const named = this.names.guests.get(entry.deviceId);
        if (named?.deviceId !== entry.deviceId || named.kid !== entry.kid) {
            refuse('E_GUEST', "ids do not belong to the guest's keys");
        }
        if (weakIdentity(guest.public)) refuse('E_GUEST', 'anybody can sign with this key');
        if (lowOrder(guest.hpkePublic)) refuse('E_GUEST', 'nobody can seal to this key');
        if (this.#certified(entry.deviceId)) refuse('E_GUEST', 'a certified device is no guest');
        if (guest.notAfterMs < commit.tsMs) refuse('E_EXPIRED', 'guest expired');
        const before = prev && rosterEntry(prev, entry.deviceId);
        // Vouched for earlier, and carried over unchanged.
        if (before !== null && before.kid === entry.kid && sameSight(before, entry)) return;
        if (entry.agencyId !== committer.agencyId) refuse('E_GUEST', 'vouched for by another agency');
        if (guest.notAfterMs - commit.tsMs > GUEST_LIFETIME_MS) refuse('E_GUEST', 'over four hours');
        if (entry.classMask !== MEDIA_MASK && !may(committer, CAP_GRANT)) {
            refuse('E_GUEST', 'media only, unless the voucher may grant more');
        }
    }

    /** Whether any accepted directory has the device, revoked or not, as of its head. */
    #certified(deviceId: DeviceId): boolean {
        return this.commit.heads.some((head) => {
            const certificate = this.#directory(head.agencyId).device(deviceId);
            return certificate !== null && certificate.seq <= head.seq;
        });
    }

    /** Who comes, who goes, and whose sight changes. */
    #checkChanges(committer: Certificate): void {
        if (this.prev === null) return;
        const before = byDevice(this.prev);
        const after = byDevice(this.commit);
        for (const [deviceId, entry] of after) {
            const old = before.get(deviceId);
            // Seeing less is a change of sight too: it takes the same right.
            const changed = old === undefined || !sameSight(entry, old);
            if (changed && !may(committer, CAP_ADMIT)) refuse('E_AUTHZ', 'may not admit');
        }
        for (const [deviceId, entry] of before) {
            if (after.has(deviceId) || deviceId === committer.deviceId) continue;
            if (!may(committer, CAP_REMOVE) && !this.#lapsed(entry)) refuse('E_AUTHZ', 'may not remove');
        }
    }

    /** Revoked as of the named heads, or expired: anyone may drop it. */
    #lapsed(entry: RosterEntry): boolean {
        const { tsMs } = this.commit;
        if (entry.guest !== null) return entry.guest.notAfterMs < tsMs;
        const head = headOf(this.commit, entry.agencyId);
        const certificate = certificateFor(this.directories, entry.agencyId, entry.deviceId);
        if (head === null || certificate === null) return false;
        return revokedAsOf(certificate, head.seq) || tsMs > certificate.notAfterMs;
    }

    /**
     * Exactly the policy's custodians that are still usable, each with its full sight.
     *
     * A withdrawn or expired key drops out for everyone alike; else it would freeze the channel until somebody with
     * POLICY is awake.
     */
    #checkRecords(): void {
        const { policy, records, tsMs, compartment } = this.commit;
        const given = new Map(records.map((entry) => [entry.recordsId, entry]));
        let expected = 0;
        for (const recordsId of policy.records) {
            const { key, head } = this.#recordsKey(recordsId);
            const entry = given.get(recordsId);
            if (!usableRecordsKey(key, head.seq, tsMs)) {
                if (entry !== undefined) refuse('E_RECORDS', 'records key withdrawn or expired');
                continue;
            }
            expected += 1;
            if (!has(key.compartments, compartment)) {
                refuse('E_RECORDS', 'records key beyond its compartments');
            }
            if (
                entry?.agencyId !== key.agencyId ||
                entry.classMask !== key.classMask ||
                entry.kid !== key.kid
            ) {
                refuse('E_RECORDS', 'a records key was dropped, or is not as certified');
            }
        }
        if (expected !== given.size) refuse('E_RECORDS', 'a records key that no policy names');
    }

    /** A records key of the accepted agencies, and the head by which it is judged. */
    #recordsKey(recordsId: RecordsId): { key: RecordsKey; head: Head } {
        let found: { key: RecordsKey; head: Head } | null = null;
        for (const head of this.commit.heads) {
            const key = this.#directory(head.agencyId).recordsKey(recordsId);
            if (key !== null && key.seq <= head.seq) found = { key, head };
        }
        return found ?? refuse('E_RECORDS', 'policy names an unknown records key');
    }

    #checkAuth(): void {
        const { compartment, auth } = this.commit;
        if (AUTH_COMPARTMENTS.includes(compartment) && auth.length === 0) {
            refuse('E_AUTH', 'consent or break-glass record missing');
        }
    }

    #directory(agencyId: AgencyId): Directory {
        return this.directories.get(agencyId) ?? refuse('E_AGENCY', 'agency not known here');
    }
}

function byDevice(commit: Commit): ReadonlyMap<DeviceId, RosterEntry> {
    return new Map(commit.roster.map((entry) => [entry.deviceId, entry]));
}

function may(certificate: Certificate, capability: number): boolean {
    return (certificate.caps & capability) !== 0;
}

function has(mask: number, bit: number): boolean {
    return ((mask >> bit) & 1) === 1;
}
