/**
 * The local database: one IndexedDB, its tables, and transactions that are all or nothing.
 *
 * Tables. In the clear stand ids, kinds, offsets, times, counts and steps; `sealed` fields open with the lockbox alone.
 *
 *     meta         by name      `lock`: how the store's key is kept, and how many tries of a PIN are left
 *     vault        by name      secrets: bytes, sealed; or a key's handle
 *     outbox       by seq       what was said and has not been taken yet: body and frame sealed
 *     place        by log       position, floor, and the running hash there
 *     entry        log, offset  what was received: value sealed
 *     known        log, device, id   everything ever taken, so that a replayed frame is recognised
 *     urgent       log, id      what repeats until it is acknowledged here
 *     chain        channel      head record of a channel's chain, sealed
 *     chain_epoch  channel, epoch    record of one epoch, sealed
 *     directory    agency, seq  signed entries, sealed
 *     posted       channel, epoch    own commits, sealed
 *     note         by name      small values, sealed
 *
 * `outbox`, `meta` and `vault` hold what nothing else holds; the rest can be fetched again.
 */

import { type DBSchema, type IDBPDatabase, type IDBPTransaction, openDB, type StoreNames } from 'idb';
import { StoreError, StoreFull, StoreGone, StoreNewer } from '~/model/ports';
import type { Bytes } from '~/protocol/bytes';
import type { PinnedKey } from '~/platform/lockbox';

export type LockRow =
    | { readonly kind: 'handle'; readonly key: CryptoKey }
    | { readonly kind: 'pin'; readonly pinned: PinnedKey; readonly tries: number };

export type VaultRow =
    | { readonly kind: 'bytes'; readonly sealed: Bytes }
    | { readonly kind: 'handle'; readonly key: CryptoKey }
    | {
          readonly kind: 'wrapped';
          readonly format: 'raw' | 'pkcs8';
          readonly algorithm: KeyAlgorithm;
          readonly usages: readonly KeyUsage[];
          readonly sealed: Bytes;
      };

export interface OutboxRow {
    /** Given by the database. */
    readonly seq?: number;
    readonly channel: string;
    readonly id: string;
    readonly lane: number;
    readonly key: string;
    readonly urgency: number;
    readonly mark: number;
    readonly step: number;
    readonly body: Bytes;
    readonly frame: Bytes | null;
    readonly epoch: number | null;
    readonly madeMs: number;
    readonly offset: number;
    readonly generation: number;
    readonly code: number;
}

export interface EntryRow {
    readonly log: string;
    readonly offset: number;
    readonly lane: number;
    readonly key: string;
    readonly device: string;
    readonly id: string;
    readonly atMs: number;
    readonly urgency: number;
    readonly mark: number;
    readonly verdict: number;
    readonly sealed: Bytes;
}

export interface PlaceRow {
    readonly log: string;
    readonly generation: number;
    readonly offset: number;
    readonly floor: number;
    readonly seen: { readonly seq: number; readonly hash: Bytes } | null;
}

export interface Tables extends DBSchema {
    meta: { key: string; value: LockRow };
    vault: { key: string; value: VaultRow };
    outbox: {
        key: number;
        value: OutboxRow;
        indexes: { id: string; turn: [number, string, number] };
    };
    place: { key: string; value: PlaceRow };
    entry: {
        key: [string, number];
        value: EntryRow;
        indexes: {
            lane: [string, number, number];
            slot: [string, number, string];
            id: [string, string];
            verdict: [string, number, number];
        };
    };
    known: { key: [string, string, string]; value: number };
    urgent: { key: [string, string]; value: number };
    chain: { key: string; value: { readonly generation: number; readonly sealed: Bytes } };
    chain_epoch: { key: [string, number]; value: Bytes };
    directory: { key: [string, number]; value: Bytes };
    posted: { key: [string, number]; value: Bytes };
    note: { key: string; value: Bytes };
}
export type Table = StoreNames<Tables>;
export type Change<T extends Table> = IDBPTransaction<Tables, T[], 'readwrite'>;
export type Look<T extends Table> = IDBPTransaction<Tables, T[]>;
type Upgrade = IDBPTransaction<Tables, Table[], 'versionchange'>;

/** From version n to n + 1. One is only ever added; what a released one does is never changed. */
export type Migration = (database: IDBPDatabase<Tables>, upgrade: Upgrade) => Promise<void> | void;

export const MIGRATIONS: readonly Migration[] = [
    (database) => {
        for (const name of [
            'meta',
            'vault',
            'chain',
            'chain_epoch',
            'directory',
            'posted',
            'note',
        ] as const) {
            database.createObjectStore(name);
        }
        database.createObjectStore('known');
        database.createObjectStore('urgent');
        database.createObjectStore('place', { keyPath: 'log' });
        const outbox = database.createObjectStore('outbox', { keyPath: 'seq', autoIncrement: true });
        outbox.createIndex('id', 'id', { unique: true });
        outbox.createIndex('turn', ['step', 'channel', 'seq']);
        const entry = database.createObjectStore('entry', { keyPath: ['log', 'offset'] });
        entry.createIndex('lane', ['log', 'lane', 'offset']);
        entry.createIndex('slot', ['log', 'lane', 'key']);
        entry.createIndex('id', ['log', 'id']);
        entry.createIndex('verdict', ['log', 'verdict', 'offset']);
    },
];

/** All rows whose key begins with these parts: an array sorts behind every number and text. */
export function under(...parts: readonly (string | number)[]): IDBKeyRange {
    return IDBKeyRange.bound([...parts], [...parts, []]);
}

/** All texts with this beginning. */
export function beginning(prefix: string): IDBKeyRange {
    return IDBKeyRange.bound(prefix, `${prefix}\uffff`);
}

export class Database {
    readonly #database: IDBPDatabase<Tables>;
    #gone = false;
    #tell: (() => void)[] = [];

    private constructor(database: IDBPDatabase<Tables>) {
        this.#database = database;
    }

    /** Open it, made or brought up to date. Rejects with a `StoreError`. */
    static async open(name: string, migrations: readonly Migration[] = MIGRATIONS): Promise<Database> {
        const taken: { by: Database | null } = { by: null };
        try {
            const database = await openDB<Tables>(name, migrations.length, {
                upgrade(db, from, _to, tx) {
                    void migrated(db, migrations.slice(from), tx);
                },
                // Another tab deletes or upgrades it: holding on would hold it up.
                blocking: () => taken.by?.lose(),
                terminated: () => taken.by?.lose(),
            });
            const opened = new Database(database);
            taken.by = opened;
            return opened;
        } catch (error) {
            throw told(error);
        }
    }

    /** Called once when the database was taken from us. */
    onGone(tell: () => void): void {
        if (this.#gone) tell();
        else this.#tell.push(tell);
    }

    /** Let go of it because somebody else must have it. */
    lose(): void {
        if (this.#gone) return;
        this.close();
        const tell = this.#tell;
        this.#tell = [];
        for (const one of tell) one();
    }

    isOpen(): boolean {
        return !this.#gone;
    }

    close(): void {
        this.#gone = true;
        this.#database.close();
    }

    /** Delete every row of every table. On disk when it resolves. */
    empty(): Promise<void> {
        const tables = [...this.#database.objectStoreNames];
        return this.change(tables, 'strict', async (tx) => {
            for (const table of tables) await tx.objectStore(table).clear();
        });
    }

    /**
     * One transaction that changes: all of `act` or nothing. `act` awaits nothing but the transaction's own requests, or it
     * ends under it. `strict`: on disk when this resolves.
     */
    async change<T extends Table, R>(
        tables: readonly T[],
        durability: 'strict' | 'relaxed',
        act: (tx: Change<T>) => Promise<R>,
    ): Promise<R> {
        if (this.#gone) throw new StoreGone();
        let tx: Change<T> | null = null;
        try {
            tx = this.#database.transaction([...tables], 'readwrite', { durability });
            handled(tx);
            const result = await act(tx);
            await tx.done;
            return result;
        } catch (error) {
            throw told(error, tx === null ? null : await aborted(tx));
        }
    }

    /** One transaction that only reads. */
    async look<T extends Table, R>(tables: readonly T[], act: (tx: Look<T>) => Promise<R>): Promise<R> {
        if (this.#gone) throw new StoreGone();
        try {
            const tx = this.#database.transaction([...tables]);
            handled(tx);
            return await act(tx);
        } catch (error) {
            throw told(error);
        }
    }
}

/** What goes wrong in a transaction is told by its requests; its end alone must not count as unhandled. */
function handled(tx: { readonly done: Promise<void> }): void {
    tx.done.catch(() => undefined);
}

/** Step by step; when one fails all are undone, and the database is as it was. */
async function migrated(
    database: IDBPDatabase<Tables>,
    steps: readonly Migration[],
    upgrade: Upgrade,
): Promise<void> {
    handled(upgrade);
    try {
        for (const step of steps) await step(database, upgrade);
    } catch {
        upgrade.abort();
    }
}

/** Undo the transaction, wait until it is undone, and give what the database itself says was wrong. */
async function aborted(tx: {
    abort(): void;
    readonly done: Promise<void>;
    readonly error: DOMException | null;
}): Promise<DOMException | null> {
    try {
        tx.abort();
    } catch {
        // It ended by itself.
    }
    await tx.done.catch(() => undefined);
    return tx.error;
}

/** What a failure of the database means for us. Errors of our own pass; the browser's texts never do. */
export function told(error: unknown, cause: DOMException | null = null): unknown {
    const names = [error, cause].map((one) => (one instanceof DOMException ? one.name : ''));
    if (names.includes('QuotaExceededError')) return new StoreFull('no room is left in the local store');
    if (names.includes('VersionError')) return new StoreNewer('the local store is newer than this client');
    if (names.includes('InvalidStateError')) return new StoreGone('the local store was closed');
    if (error instanceof DOMException) return new StoreError('the local store does not work');
    return error;
}
