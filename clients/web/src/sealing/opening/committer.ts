/**
 * Making the next commit of a channel, with its boxes. Spec 04, "Commit" and "Boxes".
 *
 * Roster entries that are revoked or expired by the newest directories drop out by themselves, so whoever sends next
 * also cleans up.
 */

import type { AgencyId, ChannelId, DeviceId, IncidentId } from '~/protocol/ids';
import { refuse } from '../errors';
import { ChannelLine, type Directories, certificateFor, live, verifyCommit } from '../public/acceptance';
import { type Box, type BoxList, boxListInput, hashOfBox } from '../public/boxes';
import {
    type AuthRecord,
    type Commit,
    type CommitReason,
    type Head,
    NO_INCIDENT,
    type Policy,
    REASON_CREATE,
    type RecordsEntry,
    type RosterEntry,
    channelIdOf,
    encodeCommit,
    getsEpochSecret,
} from '../public/commit';
import { type DeviceKeyBook, NO_KID } from '../public/device-key';
import { usableRecordsKey } from '../public/directory';
import { NO_BYTES } from '~/protocol/bytes';
import type { Bytes, Hex } from '../public/encoding';
import { CLASSES, FULL_CLASS_MASK, OPERATIONS, SUITE_X25519 } from '../public/entries';
import { LOG_START, type LogHead } from '../public/seen';
import { sealBox, someClasses, wholeEpoch } from './boxes';
import { SealedChannel } from './channel';
import type { DeviceKeys } from './keys';
import { type Random, secureRandom } from './random';
import { SECRET_BYTES, commitmentOf, epochKeys, epochSecret } from './schedule';

/** A certified device to admit, with the classes it may see: all of them unless a mask is given. */
export interface Seat {
    readonly deviceId: DeviceId;
    readonly agencyId: AgencyId;
    readonly classMask?: number;
}

/** A channel to create. The creator's own seat must be among `seats`. */
export interface Genesis {
    readonly seats: readonly Seat[];
    readonly policy: Policy;
    /** Operations, unless another is named. */
    readonly compartment?: number;
    /** None for a standing channel. */
    readonly incidentId?: IncidentId;
    readonly auth?: readonly AuthRecord[];
    readonly guests?: readonly RosterEntry[];
}

/** What the next commit changes; what is left out stays as it is. `guests` are entries this committer vouches for. */
export interface Change {
    readonly reason: CommitReason;
    readonly admit?: readonly Seat[];
    readonly remove?: ReadonlySet<DeviceId>;
    readonly guests?: readonly RosterEntry[];
    readonly policy?: Policy;
    readonly auth?: readonly AuthRecord[];
}

/**
 * A commit to post with its boxes, which are in the order of their recipients. It counts once the server says it stands;
 * then the committer processes it like everyone, with its own box.
 */
export interface MadeCommit {
    readonly commit: Commit;
    readonly boxes: readonly Box[];
    readonly boxList: BoxList;
}

export function boxFor(made: MadeCommit, recipient: Hex): Box | null {
    return made.boxes.find((box) => box.recipient === recipient) ?? null;
}

/** All that a commit states, before keys are chosen. */
interface Plan {
    readonly line: ChannelLine;
    readonly chain: Bytes | null;
    readonly reason: CommitReason;
    readonly compartment: number;
    readonly incidentId: IncidentId;
    readonly nonce: Bytes;
    readonly roster: ReadonlyMap<DeviceId, RosterEntry>;
    readonly policy: Policy;
    readonly auth: readonly AuthRecord[];
    readonly seen: LogHead;
}

/** Someone to seal to: the public key that belongs to the kid named in the commit. */
interface Recipient<Entry> {
    readonly entry: Entry;
    readonly to: Bytes | null;
}

/**
 * Who commits, and what it knows: its keys, the newest directories and DeviceKeys.
 *
 * A commit for 200 devices seals 200 boxes: call it in a worker. It waits for WebCrypto at each, and so holds up no other.
 */
export class Committer {
    readonly #keys: DeviceKeys;
    readonly #directories: Directories;
    readonly #deviceKeys: DeviceKeyBook;
    readonly #random: Random;

    constructor(
        keys: DeviceKeys,
        directories: Directories,
        deviceKeys: DeviceKeyBook,
        random: Random = secureRandom,
    ) {
        this.#keys = keys;
        this.#directories = directories;
        this.#deviceKeys = deviceKeys;
        this.#random = random;
    }

    /**
     * The genesis of a new channel; `commit.channelId` names it.
     *
     * Refuses as `verifyCommit` would: `E_AUTHZ`, `E_COMPARTMENT`, `E_AUTH`, ...
     */
    async create(genesis: Genesis, nowMs: number): Promise<MadeCommit> {
        const { compartment = OPERATIONS, incidentId = NO_INCIDENT, policy, auth = [] } = genesis;
        const nonce = this.#random(16);
        const channelId = await channelIdOf(this.#keys.deviceId, incidentId, compartment, nonce);
        const roster = new Map([...genesis.seats.map(unkeyed), ...(genesis.guests ?? [])].map(byId));
        const plan: Plan = {
            line: new ChannelLine(channelId),
            chain: null,
            reason: REASON_CREATE,
            compartment,
            incidentId,
            nonce,
            roster,
            policy,
            auth,
            seen: LOG_START,
        };
        return this.#make(plan, nowMs);
    }

    /**
     * The commit that follows the channel's head.
     *
     * On a lost compare-and-set: process the winner, and if the change is still missing, call this again. Refuses as
     * `verifyCommit` would. When another commit becomes the head meanwhile, this one still follows the head before: then
     * the server is there to say so, and it is no fork.
     */
    async commit(channel: SealedChannel, change: Change, nowMs: number): Promise<MadeCommit> {
        const { head } = channel;
        const tsMs = Math.max(nowMs, head.tsMs);
        const stale = channel.staleMembers(this.#directories, tsMs);
        const gone = new Set<Hex>([...stale.map(({ recipient }) => recipient), ...(change.remove ?? [])]);
        const staying = head.roster.filter((entry) => !gone.has(entry.deviceId));
        const coming = [...(change.admit ?? []).map(unkeyed), ...(change.guests ?? [])];
        const plan: Plan = {
            line: ChannelLine.at(head),
            chain: channel.chain,
            reason: change.reason,
            compartment: head.compartment,
            incidentId: head.incidentId,
            nonce: NO_BYTES,
            roster: new Map([...staying, ...coming].map(byId)),
            policy: change.policy ?? head.policy,
            auth: change.auth ?? head.auth,
            seen: channel.seen.head,
        };
        return this.#make(plan, tsMs);
    }

    async #make(plan: Plan, tsMs: number): Promise<MadeCommit> {
        const { channelId, headHash: prevHash } = plan.line;
        const epoch = plan.line.epoch + 1;
        const { deviceId, identity } = this.#keys;
        const members = [...plan.roster.values()].sort(byDevice).map((entry) => this.#keyed(entry, tsMs));
        const heads = this.#heads(plan.policy);
        const custodians = this.#custodians(plan.policy, tsMs);
        const secret = await epochSecret(this.#random(SECRET_BYTES), plan.chain, channelId, epoch, prevHash);
        const { classes } = await epochKeys(secret, channelId, epoch, prevHash);
        const payload = encodeCommit({
            suite: SUITE_X25519,
            channelId,
            epoch,
            prevHash,
            committer: deviceId,
            tsMs,
            reason: plan.reason,
            compartment: plan.compartment,
            incidentId: plan.incidentId,
            nonce: plan.nonce,
            roster: members.map(({ entry }) => entry),
            records: custodians.map(({ entry }) => entry),
            heads,
            commitments: await commitmentsTo(classes, channelId, epoch),
            auth: plan.auth,
            seen: plan.seen,
            policy: plan.policy,
        });
        const signed = await identity.sign('commit', deviceId, payload);
        const commit = await verifyCommit(plan.line, signed, this.#directories, live(tsMs));
        const boxes: Box[] = [];
        for (const { entry, to } of members) {
            if (to === null) continue;
            const content = getsEpochSecret(entry)
                ? wholeEpoch(secret)
                : someClasses(classes, entry.classMask);
            boxes.push(await sealBox(commit, entry.deviceId, entry.kid, to, content));
        }
        for (const { entry, to } of custodians) {
            const content = someClasses(classes, entry.classMask);
            boxes.push(await sealBox(commit, entry.recordsId, entry.kid, to, content));
        }
        boxes.sort((a, b) => (a.recipient < b.recipient ? -1 : 1));
        const hashes = await Promise.all(boxes.map(hashOfBox));
        const signature = await identity.signRaw(boxListInput(commit, hashes));
        return { commit, boxes, boxList: { hashes, signature } };
    }

    /** The entry with the kid to seal to; a device without a valid key is dormant. */
    #keyed(entry: RosterEntry, tsMs: number): Recipient<RosterEntry> {
        if (entry.guest !== null) return { entry, to: entry.guest.hpkePublic };
        const key = this.#deviceKeys.current(entry.deviceId, tsMs);
        // A dormant device must not block the others: it keeps its seat and is re-sealed on return.
        if (key === null) return { entry: { ...entry, kid: NO_KID }, to: null };
        return { entry: { ...entry, kid: key.kid }, to: key.public };
    }

    #heads(policy: Policy): readonly Head[] {
        return policy.agencies.map((agencyId) => {
            const directory = this.#directories.get(agencyId) ?? refuse('E_AGENCY', 'agency not known here');
            return { agencyId, seq: directory.seq, hash: directory.head };
        });
    }

    /** The policy's records keys that are usable now, each with its full class mask. */
    #custodians(policy: Policy, tsMs: number): readonly (Recipient<RecordsEntry> & { readonly to: Bytes })[] {
        return policy.records.flatMap((recordsId) => {
            for (const agencyId of policy.agencies) {
                const directory = this.#directories.get(agencyId);
                const key = directory?.recordsKey(recordsId) ?? null;
                if (directory === undefined || key === null) continue;
                if (!usableRecordsKey(key, directory.seq, tsMs)) continue;
                const { classMask, kid } = key;
                return [{ entry: { recordsId, agencyId, classMask, kid }, to: key.public }];
            }
            return [];
        });
    }
}

async function commitmentsTo(
    classes: ReadonlyMap<number, Bytes>,
    channelId: ChannelId,
    epoch: number,
): Promise<readonly [Hex, Hex, Hex]> {
    const of = (keyClass: number): Promise<Hex> =>
        commitmentOf(classes.get(keyClass) ?? refuse('E_STATE', 'no secret'), keyClass, channelId, epoch);
    return [await of(CLASSES[0]), await of(CLASSES[1]), await of(CLASSES[2])];
}

function unkeyed({ deviceId, agencyId, classMask = FULL_CLASS_MASK }: Seat): RosterEntry {
    return { deviceId, agencyId, kid: NO_KID, classMask, guest: null };
}

function byId(entry: RosterEntry): [DeviceId, RosterEntry] {
    return [entry.deviceId, entry];
}

function byDevice(a: RosterEntry, b: RosterEntry): number {
    return a.deviceId < b.deviceId ? -1 : 1;
}

/** Full seats for devices of one agency; `E_UNKNOWN_DEVICE` for one not certified there. */
export function seatsOf(
    directories: Directories,
    agencyId: AgencyId,
    deviceIds: readonly DeviceId[],
): readonly Seat[] {
    return deviceIds.map((deviceId) => {
        if (certificateFor(directories, agencyId, deviceId) === null) {
            refuse('E_UNKNOWN_DEVICE', 'device not certified');
        }
        return { deviceId, agencyId };
    });
}

/** An empty view of a newly created channel; process its genesis next. */
export function channelFor(made: MadeCommit, deviceId: DeviceId): SealedChannel {
    return new SealedChannel(made.commit.channelId, deviceId);
}
