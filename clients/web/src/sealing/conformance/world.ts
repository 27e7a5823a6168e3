/** A small agency for tests: root, two authorities, devices by name, a records key; identities from fixed seeds. */

import type { AgencyId, DeviceId, IncidentId, MemberId } from '~/protocol/ids';
import { AuthorityKey } from '../opening/authority';
import type { Body } from '../opening/body';
import { type Installed, SealedChannel } from '../opening/channel';
import type { Delivery } from '../opening/delivery';
import { type Change, Committer, type MadeCommit, type Seat, boxFor } from '../opening/committer';
import { DeviceKeys } from '../opening/keys';
import type { Random } from '../opening/random';
import { RecordsPrivateKey } from '../opening/records';
import { SigningKey } from '../opening/signing-key';
import type { Directories, Receipt } from '../public/acceptance';
import { type Policy, REASON_PERIODIC } from '../public/commit';
import { DeviceKeyBook } from '../public/device-key';
import { Directory } from '../public/directory';
import { type Bytes, type Hex, type Value, hex, utf8 } from '../public/encoding';
import {
    ALL_CAPS,
    ALL_COMPARTMENTS,
    CAP_SEND,
    DUAL_CONTROL_COMPARTMENTS,
    DURABLE,
    type Operation,
    authorityIdOf,
    encodeSignedEntry,
} from '../public/entries';

export const NOW_MS = 1_795_000_000_000;
export const HOUR_MS = 3_600_000;
export const DAY_MS = 24 * HOUR_MS;
export const INCIDENT = hex(new Uint8Array(16).fill(0x1c)) as string as IncidentId;
export const PERIODIC: Change = { reason: REASON_PERIODIC };

export async function seed(name: string): Promise<Bytes> {
    return new Uint8Array(await crypto.subtle.digest('SHA-256', utf8(`seed:${name}`)));
}

/** A reproducible source of numbers in [0, 1): mulberry32. */
export function seededNumbers(start: number): () => number {
    let state = start >>> 0;
    return () => {
        state = (state + 0x6d2b79f5) >>> 0;
        let t = Math.imul(state ^ (state >>> 15), state | 1);
        t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
        return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
    };
}

/** A reproducible source of bytes, which no two calls give alike. Good for nothing but tests. */
export function seededBytes(start: number): Random {
    const next = seededNumbers(start);
    return (length) => new Uint8Array(length).map(() => Math.floor(next() * 256));
}

export interface Terms {
    readonly role?: string;
    readonly caps?: number;
    readonly compartments?: number;
    readonly notAfterMs?: number;
}

/** One agency, its directory, and devices by name. */
export class World {
    readonly book = new DeviceKeyBook();
    readonly keys = new Map<string, DeviceKeys>();
    readonly random = seededBytes(7);
    /** The directory's entries, as a server would have them. */
    readonly entries: Bytes[] = [];

    private constructor(
        readonly name: string,
        readonly first: AuthorityKey,
        readonly second: AuthorityKey,
        readonly directory: Directory,
        readonly records: RecordsPrivateKey,
    ) {}

    static async of(name = 'north'): Promise<World> {
        const rootKey = await SigningKey.fromSeed(await seed(`${name}-root`));
        const root = await AuthorityKey.root(rootKey);
        const first = await AuthorityKey.of(await SigningKey.fromSeed(await seed(`${name}-first`)));
        const second = await AuthorityKey.of(await SigningKey.fromSeed(await seed(`${name}-second`)));
        const directory = await Directory.of(rootKey.public);
        const records = await RecordsPrivateKey.fromBytes(await seed(`${name}-records`));
        const world = new World(name, first, second, directory, records);
        for (const authority of [first, second]) {
            const { public: publicKey } = authority.key;
            const authorityId = await authorityIdOf(publicKey);
            const notAfterMs = NOW_MS + 400 * DAY_MS;
            await world.sign(root, { op: 'ea+', authorityId, public: publicKey, notAfterMs, limits: null });
        }
        return world;
    }

    get agency(): AgencyId {
        return this.directory.agencyId;
    }

    get directories(): Directories {
        return new Map([[this.agency, this.directory]]);
    }

    async sign(by: AuthorityKey, operation: Operation, cosigner?: AuthorityKey): Promise<void> {
        const first = await by.signEntry(this.directory, operation, NOW_MS);
        const entry = cosigner === undefined ? first : await cosigner.cosign(first);
        await this.directory.apply(entry);
        this.entries.push(encodeSignedEntry(entry));
    }

    async enrol(name: string, terms: Terms = {}): Promise<DeviceKeys> {
        const keys = await DeviceKeys.of(
            await SigningKey.fromSeed(await seed(`${this.name}-device-${name}`)),
        );
        await keys.rotate(NOW_MS);
        this.keys.set(name, keys);
        const { role = 'responder', caps = ALL_CAPS, compartments = ALL_COMPARTMENTS } = terms;
        const operation: Operation = {
            op: 'dev+',
            deviceId: keys.deviceId,
            public: keys.identity.public,
            memberId: hex((await seed(`${this.name}-member-${name}`)).slice(0, 16)) as string as MemberId,
            role,
            compartments,
            caps,
            notBeforeMs: NOW_MS - DAY_MS,
            notAfterMs: terms.notAfterMs ?? NOW_MS + 300 * DAY_MS,
        };
        const dual = (compartments & DUAL_CONTROL_COMPARTMENTS) !== 0;
        await this.sign(this.first, operation, dual ? this.second : undefined);
        await this.publish(name);
        return keys;
    }

    /** Publish the device's newest DeviceKey. */
    async publish(name: string): Promise<void> {
        const keys = this.keysOf(name);
        await this.book.add(keys.newest, this.directory.liveDevice(keys.deviceId));
    }

    async addRecords(): Promise<void> {
        const operation = this.records.entry({
            compartments: ALL_COMPARTMENTS,
            classMask: 1 << DURABLE,
            notBeforeMs: NOW_MS - DAY_MS,
            notAfterMs: NOW_MS + 400 * DAY_MS,
        });
        await this.sign(this.first, operation, this.second);
    }

    async revoke(name: string): Promise<void> {
        await this.sign(this.first, { op: 'dev-', deviceId: this.id(name), reason: 'lost', tsMs: NOW_MS });
    }

    keysOf(name: string): DeviceKeys {
        const keys = this.keys.get(name);
        if (keys === undefined) throw new Error(`no device called ${name}`);
        return keys;
    }

    id(name: string): DeviceId {
        return this.keysOf(name).deviceId;
    }

    seat(name: string): Seat {
        return { deviceId: this.id(name), agencyId: this.agency };
    }

    committer(name: string): Committer {
        return new Committer(this.keysOf(name), this.directories, this.book, this.random);
    }

    policy(records = false): Policy {
        return { agencies: [this.agency], records: records ? [this.records.recordsId] : [] };
    }

    /** A channel made by the first of `names`. */
    genesis(names: readonly string[], records = false): Promise<MadeCommit> {
        const seats = names.map((name) => this.seat(name));
        const plan = { seats, policy: this.policy(records), incidentId: INCIDENT };
        return this.committer(names[0] ?? '').create(plan, NOW_MS);
    }

    /** A device's own view of a channel, after these commits. */
    async view(name: string, ...made: readonly [MadeCommit, ...MadeCommit[]]): Promise<SealedChannel> {
        const channel = new SealedChannel(made[0].commit.channelId, this.id(name));
        for (const step of made) await this.process(name, channel, step);
        return channel;
    }

    process(
        name: string,
        channel: SealedChannel,
        made: MadeCommit,
        { nowMs = NOW_MS, receipt }: { nowMs?: number; receipt?: Receipt } = {},
    ): Promise<Installed> {
        const delivery: Delivery = { box: boxFor(made, this.id(name)), boxList: made.boxList };
        const options = receipt === undefined ? { nowMs } : { nowMs, receipt };
        return channel.processCommit(
            made.commit.signed,
            delivery,
            this.keysOf(name),
            this.directories,
            options,
        );
    }

    commit(name: string, channel: SealedChannel, change: Change, nowMs = NOW_MS): Promise<MadeCommit> {
        return this.committer(name).commit(channel, change, nowMs);
    }

    say(
        name: string,
        channel: SealedChannel,
        data: Value = 'on my way',
        { nowMs = NOW_MS, keyClass = DURABLE } = {},
    ): Promise<Bytes> {
        const { directories, random } = this;
        return channel.seal(body(data, nowMs), this.keysOf(name), directories, { nowMs, keyClass, random });
    }
}

export function body(data: Value = 'on my way', tsMs = NOW_MS): Body {
    return { type: 'chat', tsMs, msgId: '5e'.repeat(16) as Hex, seen: null, data };
}

/** Dispatcher and lead with all capabilities, a unit that may only send, a spare phone, and a clinician. */
export async function smallWorld(): Promise<World> {
    const world = await World.of();
    await world.enrol('dispatcher', { role: 'dispatcher' });
    await world.enrol('lead');
    await world.enrol('unit', { caps: CAP_SEND });
    await world.enrol('spare', { caps: CAP_SEND });
    await world.enrol('clinician', { role: 'psychiatrist' });
    await world.addRecords();
    return world;
}
