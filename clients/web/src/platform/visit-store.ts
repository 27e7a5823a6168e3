/** A guest's visit in IndexedDB: one row, with key handles that nobody can read out; no table of it is left at the end. */
import { type DBSchema, deleteDB, type IDBPDatabase, openDB } from 'idb';

import type { KeptVisit, VisitStore } from '~/model/guest/visit';

export const VISIT_DATABASE = 'leeside-guest';
const TABLE = 'visit';
const KEY = 'visit';

interface Tables extends DBSchema {
    visit: { key: string; value: KeptVisit };
}

export class BrowserVisitStore implements VisitStore {
    async load(): Promise<KeptVisit | null> {
        return await this.with(async (database) => (await database.get(TABLE, KEY)) ?? null);
    }

    async keep(visit: KeptVisit): Promise<void> {
        await this.with(async (database) => {
            const change = database.transaction(TABLE, 'readwrite', { durability: 'strict' });
            await Promise.all([change.store.put(visit, KEY), change.done]);
        });
    }

    async wipe(): Promise<void> {
        await deleteDB(VISIT_DATABASE);
    }

    /** Open only while it is used: another page of the same link never holds up its end. */
    private async with<T>(act: (database: IDBPDatabase<Tables>) => Promise<T>): Promise<T> {
        const database = await openDB<Tables>(VISIT_DATABASE, 1, {
            upgrade: (fresh) => void fresh.createObjectStore(TABLE),
        });
        try {
            return await act(database);
        } finally {
            database.close();
        }
    }
}
