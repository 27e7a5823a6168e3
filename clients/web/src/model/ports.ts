/**
 * The ports of the engine: what it needs of the machine, and `platform` implements.
 *
 * Clock, chance, socket and HTTP are the link's (`~/link/ports`). Here stand the local stores. All rows are sealed at
 * rest: what a person wrote, names, positions and keys never stand in the database in the clear; ids, offsets, times
 * and counts do, so that rows can be found.
 *
 * Errors of every method of a store:
 *
 *     StoreError
 *     ├── StoreFull      no room: nothing of this call was written, everything before it stands
 *     ├── StoreDamaged   a row was changed, or belongs to another key: the local copy cannot be trusted
 *     ├── StoreGone      the store was closed or wiped, here or in another tab
 *     ├── StoreNewer     it was written by a newer version of this client: load the page anew
 *     └── WrongPin       with how many tries are left; at 0 the store has been wiped
 *
 * Every method that changes something does all of it or nothing, in one transaction. "On disk" below means that the
 * browser was asked to wait for the disk (`durability: 'strict'`).
 */

import type { Bytes } from '~/protocol/bytes';
import type { Position } from '~/protocol/follow';
import type { AgencyId, ChannelAddress, ChannelId, DeviceId, MessageId, StateKey } from '~/protocol/ids';
import type { Lane, Mark, Urgency } from '~/protocol/words';

export type { Clock, Dialer, Http, Link, LinkEars, Random } from '~/link/ports';

// ---- errors

export class StoreError extends Error {
    override readonly name: string = 'StoreError';
}

export class StoreFull extends StoreError {
    override readonly name = 'StoreFull';
}

export class StoreDamaged extends StoreError {
    override readonly name = 'StoreDamaged';
}

export class StoreGone extends StoreError {
    override readonly name = 'StoreGone';
}

export class StoreNewer extends StoreError {
    override readonly name = 'StoreNewer';
}

export class WrongPin extends StoreError {
    override readonly name = 'WrongPin';
    readonly triesLeft: number;

    constructor(triesLeft: number) {
        super('wrong PIN');
        this.triesLeft = triesLeft;
    }
}

// ---- the store as a whole

/** What stands on this device. `locked`: it opens with `unlock` alone; `tries` are left before it is wiped. */
export type StoreState =
    | { readonly kind: 'empty' }
    | { readonly kind: 'closed' }
    | { readonly kind: 'locked'; readonly tries: number };

/** One device's local store: closed until it is opened, and at most one of it in an origin. */
export interface LocalStore {
    state(): Promise<StoreState>;
    /**
     * Make a new, empty one, and wipe what stands. With a `pin` everything in it opens with that PIN alone, which is then
     * asked after every start. Without one its key is a handle of this browser's that cannot be read out. A PIN of a
     * few digits stops whoever picks the device up, not one who copies its disk.
     */
    create(pin?: string): Promise<Stores>;
    /** Open what `create` made without a PIN. Rejects with `StoreGone` when there is none. */
    open(): Promise<Stores>;
    /** Open what `create` made with a PIN. A try is counted on disk before the PIN is tested; the fifth wrong one wipes. */
    unlock(pin: string): Promise<Stores>;
    /** Delete everything, even while other tabs hold it: they get `StoreGone`. Resolves when nothing is left. */
    wipe(): Promise<void>;
}

export interface Stores {
    readonly vault: Vault;
    readonly outbox: Outbox;
    readonly history: History;
    /** Whether the browser promised not to throw the store away when room gets short; asked for at every opening. */
    readonly persisted: boolean;
    /** Called once when the store was taken from us: wiped by another tab, or deleted by the browser. */
    onGone(tell: () => void): void;
    /** Let it go; what was written stays. */
    close(): void;
}

// ---- secrets

/**
 * Small secrets by name (mirrors `keystore.py`): identity, device keys, the pinned root, the session's refresh secret,
 * settings. Names are in the clear and say nothing of a person.
 *
 * A private or secret `CryptoKey` that goes in extractable comes back with the same algorithm and usages, but never
 * extractable: make it, `update`, and go on with what `key` gives. Under a PIN it is kept wrapped; without one, as a
 * handle that the browser will not give out. One that goes in non-extractable can only be kept as a handle, which a
 * PIN does not protect: under a PIN make keys extractable.
 */
export interface Vault {
    /** The value, or null. Rejects with `StoreDamaged` when a key stands there. */
    bytes(name: string): Promise<Bytes | null>;
    /** The key, or null. Rejects with `StoreDamaged` when bytes stand there. */
    key(name: string): Promise<CryptoKey | null>;
    /** All names with that prefix, sorted. */
    names(prefix?: string): Promise<readonly string[]>;
    /** Several changes, all or none; null deletes. On disk when it resolves. */
    update(changes: ReadonlyMap<string, Bytes | CryptoKey | null>): Promise<void>;
}

// ---- what was said and has not been taken yet

/** How many messages may wait; `OutboxFull` beyond. */
export const WAITING_MESSAGES = 10_000;

/** So much waits to be sent that no more is taken: nothing was taken, nothing was lost. */
export class OutboxFull extends Error {
    override readonly name = 'OutboxFull';
}

/** How far a message has come. The numbers are on disk. */
export const Step = { composed: 0, sealed: 1, accepted: 2, refused: 3 } as const;
export type Step = (typeof Step)[keyof typeof Step];

/** A message to be sent; `body` is plain and sealed to its channel only when its turn comes. */
export interface Draft {
    readonly channel: ChannelAddress;
    readonly id: MessageId;
    readonly lane: Lane;
    readonly key: StateKey;
    readonly body: Bytes;
    readonly madeMs: number;
    readonly urgency: Urgency;
    readonly mark: Mark;
}

/** A row of the outbox. `frame` is what was, or may have been, sent: those bytes and no others. */
export interface Waiting {
    /** Order of composition. */
    readonly seq: number;
    readonly draft: Draft;
    readonly step: Step;
    readonly frame: Bytes | null;
    readonly epoch: number | null;
    /** Where it stands, once accepted. */
    readonly offset: number;
    readonly generation: number;
    /** A number of spec 90, once refused. */
    readonly code: number;
}

/**
 * Mirrors `outbox.py`. A message enters as `composed`; when its turn comes it is sealed, and the *exact* frame is written
 * down before its first byte leaves, for the server may store it and the answer be lost. From then on only those
 * bytes are sent, so it stands exactly once. Only a definite `stale` permits another sealing under the same id.
 * Accepted rows stay for a week, for a server that was restored from a backup; refused ones until a person has seen why.
 *
 * Order is kept within a channel. In the state lane only the newest value of a key counts, so one that was never
 * sealed gives way to a newer one. Every change is on disk when it resolves.
 */
export interface Outbox {
    /** Take messages, all or none. Rejects with `OutboxFull`; an id that stands changes nothing. */
    add(drafts: readonly Draft[]): Promise<void>;
    /** Channels in which something waits, the one that waits longest first. */
    channels(): Promise<readonly ChannelAddress[]>;
    /** Whose turn it is in a channel: the oldest that was not answered. */
    first(channel: ChannelAddress): Promise<Waiting | null>;
    /** One message in whatever step. */
    get(message: MessageId): Promise<Waiting | null>;
    /** Everything that was not accepted, refused ones included, in order: what a screen shows as unsent. */
    waiting(channel?: ChannelAddress): Promise<readonly Waiting[]>;
    /** What stands in a channel's log lane of the last week. */
    accepted(
        channel: ChannelAddress,
    ): Promise<readonly { readonly id: MessageId; readonly generation: number; readonly offset: number }[]>;
    /**
     * Write the frame down before it is sent. Resolves to what is to be sent: the frame that was written first, else this
     * one. Null: it was taken back or replaced meanwhile, and must not leave.
     */
    seal(message: MessageId, frame: Bytes, epoch: number): Promise<Bytes | null>;
    /** The server proved that `frame` is not stored (`stale`): the message may be sealed anew. */
    unseal(message: MessageId, frame: Bytes): Promise<void>;
    /** It is durable at the server. An older accepted value of the same state key is forgotten. */
    accept(message: MessageId, offset: number, generation: number): Promise<void>;
    /** The server refused it for good. It stays, with the reason, until `cancel`. */
    refuse(message: MessageId, code: number): Promise<void>;
    /** Take a message back. False when it may have been sent already: then it cannot be. */
    cancel(message: MessageId): Promise<boolean>;
    /**
     * The server's history is another one: what stood in an earlier generation waits again, with the exact bytes. State
     * values only of `keys`: those that were ours to the last. Resolves to how many wait again.
     */
    reopen(channel: ChannelAddress, generation: number, keys: ReadonlySet<StateKey>): Promise<number>;
    /** Drop what was accepted over a week ago. Resolves to how many. */
    forget(nowMs: number): Promise<number>;
    /** An ended incident: drop whatever was composed, sent or refused in its channel. Resolves to how many. */
    forgetChannel(channel: ChannelAddress): Promise<number>;
}

// ---- the local copy

/** What became of an entry here. The numbers are on disk. */
export const Verdict = {
    opened: 0,
    /** Sealed before this device was admitted: a grant may still open it. */
    notGranted: 1,
    /** Its keys did not come in time: they may still. */
    unknownEpoch: 2,
    /** It failed a check; it is shown as such, with the code in `value`, and never opened. */
    unreadable: 3,
    /** The server no longer has the payload; `value` is its SHA-256. */
    pruned: 4,
} as const;
export type Verdict = (typeof Verdict)[keyof typeof Verdict];

/** One entry of the local copy. `value`: a body when opened, the frame while it may open later, the code if unreadable. */
export interface LocalEntry {
    readonly offset: number;
    readonly lane: Lane;
    readonly key: StateKey;
    readonly device: DeviceId;
    readonly id: MessageId;
    readonly atMs: number;
    readonly urgency: Urgency;
    readonly mark: Mark;
    readonly verdict: Verdict;
    readonly value: Bytes;
}

/** Where a log is followed from. `seen`: running hash of the log lane there (spec 04, "Seen"); null: not known. */
export interface Place {
    readonly position: Position;
    readonly floor: number;
    readonly seen: { readonly seq: number; readonly hash: Bytes } | null;
}

/** An urgent message that repeats here until it is acknowledged. */
export interface Pressing {
    readonly log: ChannelAddress;
    readonly id: MessageId;
    readonly sinceMs: number;
}

/** A channel's exported chain: one record that changes with every commit, and one an epoch, opaque here. */
export interface ChainRecords {
    /** Generation of the epochs log that it came from. */
    readonly generation: number;
    readonly head: Bytes;
    /** By epoch, ascending. */
    readonly epochs: ReadonlyMap<number, Bytes>;
}

/**
 * Mirrors `history.py`: what this device received, with the position up to which nothing is missing. It can all be
 * fetched again, so a change need not wait for the disk; but what belongs together is written together, and so a
 * crash never leaves one without the other. Exceptions, on disk when they resolve: `take` with `pressing`, `keepPosted`.
 */
export interface History {
    /** Where to go on; null for a log never followed. */
    place(log: ChannelAddress): Promise<Place | null>;
    /**
     * Add entries and move the position, both or neither. A state value replaces the one before; one that is opened and
     * empty deletes it. `pressing`: the urgent ones among them, which stand with them.
     */
    take(
        log: ChannelAddress,
        entries: readonly LocalEntry[],
        place: Place,
        pressing?: readonly { readonly id: MessageId; readonly sinceMs: number }[],
    ): Promise<void>;
    /** The server's history is another one: forget this copy of a log and go on from `place`. */
    drop(log: ChannelAddress, place: Place): Promise<void>;
    /** At which offset this message was taken before; null for a new one. */
    knownAt(log: ChannelAddress, device: DeviceId, message: MessageId): Promise<number | null>;
    /** Entries of the log lane below an offset, the newest `limit` of them, in order. */
    before(log: ChannelAddress, offset: number, limit: number): Promise<readonly LocalEntry[]>;
    /** Every current state value, in the order of offsets. */
    state(log: ChannelAddress): Promise<readonly LocalEntry[]>;
    /** The current value of one key. */
    value(log: ChannelAddress, key: StateKey): Promise<LocalEntry | null>;
    /** One entry of the log lane by its id. */
    message(log: ChannelAddress, message: MessageId): Promise<LocalEntry | null>;
    /** Entries above an offset whose frames may still open, the first `limit` of them, in order. */
    unopened(log: ChannelAddress, after: number, limit: number): Promise<readonly LocalEntry[]>;
    /** Write what became of an entry that was taken before; nothing happens when it is gone. */
    settle(log: ChannelAddress, entry: LocalEntry): Promise<void>;
    /** Retention: forget entries of the log lane that the server took before `beforeMs`. Resolves to how many. */
    purge(log: ChannelAddress, beforeMs: number): Promise<number>;
    /**
     * An ended incident: delete what a content log held, own commits and begun uploads. The position stays. What the chain's
     * records hold of keys is the caller's to replace (`keepChain`) or drop.
     */
    forget(channel: ChannelId, log: ChannelAddress): Promise<void>;

    /** It repeats here until acknowledged; an older `sinceMs` stands. */
    press(log: ChannelAddress, message: MessageId, sinceMs: number): Promise<void>;
    /** It was acknowledged. */
    relieve(log: ChannelAddress, message: MessageId): Promise<void>;
    /** Every urgent message not yet acknowledged here, the oldest first. */
    pressing(): Promise<readonly Pressing[]>;

    /** Replace a channel's head record, and the records of the epochs given; null deletes one. */
    keepChain(
        channel: ChannelId,
        generation: number,
        head: Bytes,
        epochs: ReadonlyMap<number, Bytes | null>,
    ): Promise<void>;
    chain(channel: ChannelId): Promise<ChainRecords | null>;
    /** One epoch's record, or null. */
    chainEpoch(channel: ChannelId, epoch: number): Promise<Bytes | null>;
    /** Forget a chain, for the server's history of it is another one. */
    dropChain(channel: ChannelId): Promise<void>;

    /** Add verified directory entries; a seq that stands is left as it is. */
    keepDirectory(
        agency: AgencyId,
        entries: readonly { readonly seq: number; readonly value: Bytes }[],
    ): Promise<void>;
    /** An agency's directory from its first entry. */
    directory(agency: AgencyId): Promise<readonly Bytes[]>;

    /** Keep a commit of one's own with its boxes, for the day the server lost it. The first of an epoch stands. */
    keepPosted(channel: ChannelId, epoch: number, post: Bytes): Promise<void>;
    /** Own commits at or above an epoch, in order. */
    posted(
        channel: ChannelId,
        fromEpoch: number,
    ): Promise<readonly { readonly epoch: number; readonly post: Bytes }[]>;

    /** A small value by name, or null. Names are in the clear: ids and fixed words only. */
    note(name: string): Promise<Bytes | null>;
    /** Replace small values, all or none; null deletes. */
    keepNotes(notes: ReadonlyMap<string, Bytes | null>): Promise<void>;
    /** All notes whose name begins with `prefix`, by name. */
    notes(prefix: string): Promise<ReadonlyMap<string, Bytes>>;
}
