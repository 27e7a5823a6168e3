/**
 * The local store of this browser: made, opened, unlocked and wiped. See `LocalStore` in `~/model/ports`.
 *
 * Without a PIN the store's key stands in the database as a handle: the browser uses it for pages of this origin and gives
 * it to nobody, but whoever has the device unlocked has the page. With a PIN the key stands there wrapped under it alone.
 */

import {
    type LocalStore,
    StoreError,
    StoreGone,
    type StoreState,
    type Stores,
    WrongPin,
} from '~/model/ports';
import { Database, type LockRow, type Migration, MIGRATIONS } from '~/platform/database';
import { BrowserHistory } from '~/platform/history';
import { Lockbox, newKey, newPinnedKey, openPinnedKey, PIN_ITERATIONS } from '~/platform/lockbox';
import { BrowserOutbox } from '~/platform/outbox';
import { BrowserVault } from '~/platform/vault';

export const DATABASE_NAME = 'leeside';
export const PIN_TRIES = 5;
const LOCK = 'lock';

export interface LocalStoreOptions {
    readonly name?: string;
    /** Ask the browser not to throw the store away; resolves to whether it will keep it. */
    readonly persist?: () => Promise<boolean>;
    readonly pinIterations?: number;
    readonly migrations?: readonly Migration[];
}

export class BrowserStore implements LocalStore {
    readonly #name: string;
    readonly #persist: () => Promise<boolean>;
    readonly #pinIterations: number;
    readonly #migrations: readonly Migration[];
    #database: Database | null = null;

    constructor(options: LocalStoreOptions = {}) {
        this.#name = options.name ?? DATABASE_NAME;
        this.#persist = options.persist ?? persist;
        this.#pinIterations = options.pinIterations ?? PIN_ITERATIONS;
        this.#migrations = options.migrations ?? MIGRATIONS;
    }

    async state(): Promise<StoreState> {
        const lock = await readLock(await this.#opened());
        if (lock === undefined) return { kind: 'empty' };
        return lock.kind === 'pin' ? { kind: 'locked', tries: lock.tries } : { kind: 'closed' };
    }

    async create(pin?: string): Promise<Stores> {
        await this.wipe();
        const database = await this.#opened();
        if (pin === undefined) {
            const key = await newKey();
            await writeLock(database, { kind: 'handle', key });
            return this.#stores(database, key, false);
        }
        const { key, kept } = await newPinnedKey(pin, this.#pinIterations);
        await writeLock(database, { kind: 'pin', pinned: kept, tries: PIN_TRIES });
        return this.#stores(database, key, true);
    }

    async open(): Promise<Stores> {
        const database = await this.#opened();
        const lock = await readLock(database);
        if (lock?.kind !== 'handle') throw new StoreGone('there is no store that opens without a PIN');
        return this.#stores(database, lock.key, false);
    }

    async unlock(pin: string): Promise<Stores> {
        const database = await this.#opened();
        const lock = await spendTry(database);
        if (lock === null) throw new StoreGone('there is no store that opens with a PIN');
        const key = await openPinnedKey(lock.pinned, pin);
        if (key !== null) {
            await writeLock(database, { ...lock, tries: PIN_TRIES });
            return this.#stores(database, key, true);
        }
        if (lock.tries === 0) await this.wipe();
        throw new WrongPin(lock.tries);
    }

    async wipe(): Promise<void> {
        // Emptied first: that waits for nobody, while a deletion waits for tabs that the system has put to sleep.
        try {
            await (await this.#opened()).empty();
        } catch (error) {
            // One that cannot be opened can still be deleted.
            if (!(error instanceof StoreError)) throw error;
        }
        this.#database?.close();
        this.#database = null;
        await deleted(this.#name);
    }

    async #opened(): Promise<Database> {
        if (this.#database?.isOpen() !== true) {
            this.#database = await Database.open(this.#name, this.#migrations);
        }
        return this.#database;
    }

    async #stores(database: Database, key: CryptoKey, underPin: boolean): Promise<Stores> {
        const lockbox = new Lockbox(key);
        return {
            vault: new BrowserVault(database, lockbox, underPin),
            outbox: new BrowserOutbox(database, lockbox),
            history: new BrowserHistory(database, lockbox),
            persisted: await this.#persist().catch(() => false),
            onGone: (tell) => database.onGone(tell),
            close: () => database.close(),
        };
    }
}

function readLock(database: Database): Promise<LockRow | undefined> {
    return database.look(['meta'], (tx) => tx.objectStore('meta').get(LOCK));
}

async function writeLock(database: Database, lock: LockRow): Promise<void> {
    await database.change(['meta'], 'strict', (tx) => tx.objectStore('meta').put(lock, LOCK));
}

/** Count a try on disk before the PIN is tested, so that pulling the plug gives nobody another one. */
function spendTry(database: Database): Promise<Extract<LockRow, { kind: 'pin' }> | null> {
    return database.change(['meta'], 'strict', async (tx) => {
        const lock = await tx.objectStore('meta').get(LOCK);
        if (lock?.kind !== 'pin') return null;
        const spent = { ...lock, tries: Math.max(0, lock.tries - 1) };
        await tx.objectStore('meta').put(spent, LOCK);
        return spent;
    });
}

/** Delete a database that is empty already. Who still holds it is asked to let go; it goes when they do. */
function deleted(name: string): Promise<void> {
    return new Promise((resolve) => {
        const request = indexedDB.deleteDatabase(name);
        const done = (): void => resolve();
        request.onsuccess = done;
        request.onblocked = done;
        request.onerror = done;
    });
}

/** Only a page may ask; a worker can see what was granted. */
async function persist(): Promise<boolean> {
    const storage: Partial<StorageManager> = navigator.storage;
    if (storage.persist !== undefined) return navigator.storage.persist();
    return storage.persisted === undefined ? false : navigator.storage.persisted();
}
