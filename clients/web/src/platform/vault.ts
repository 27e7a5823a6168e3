/** The vault in the local database: see `Vault` in `~/model/ports` for what it guarantees. */

import { StoreDamaged, type Vault } from '~/model/ports';
import { beginning, type Database, type VaultRow } from '~/platform/database';
import type { Lockbox } from '~/platform/lockbox';
import type { Bytes } from '~/protocol/bytes';

const TABLE = 'vault';

/** `underPin`: extractable keys are kept wrapped, for a handle would open without the PIN. */
export class BrowserVault implements Vault {
    readonly #database: Database;
    readonly #lockbox: Lockbox;
    readonly #underPin: boolean;

    constructor(database: Database, lockbox: Lockbox, underPin: boolean) {
        this.#database = database;
        this.#lockbox = lockbox;
        this.#underPin = underPin;
    }

    async bytes(name: string): Promise<Bytes | null> {
        const row = await this.#row(name);
        if (row === undefined) return null;
        if (row.kind !== 'bytes') throw new StoreDamaged();
        return this.#lockbox.open(row.sealed, TABLE, name);
    }

    async key(name: string): Promise<CryptoKey | null> {
        const row = await this.#row(name);
        if (row === undefined) return null;
        if (row.kind === 'handle') return row.key;
        if (row.kind === 'bytes') throw new StoreDamaged();
        const data = await this.#lockbox.open(row.sealed, TABLE, name);
        try {
            return await crypto.subtle.importKey(row.format, data, row.algorithm, false, [...row.usages]);
        } finally {
            data.fill(0);
        }
    }

    names(prefix = ''): Promise<readonly string[]> {
        return this.#database.look([TABLE], (tx) => tx.objectStore(TABLE).getAllKeys(beginning(prefix)));
    }

    async update(changes: ReadonlyMap<string, Bytes | CryptoKey | null>): Promise<void> {
        const rows: [string, VaultRow | null][] = [];
        for (const [name, value] of changes) {
            rows.push([name, value === null ? null : await this.#kept(name, value)]);
        }
        await this.#database.change([TABLE], 'strict', async (tx) => {
            const table = tx.objectStore(TABLE);
            for (const [name, row] of rows) {
                if (row === null) await table.delete(name);
                else await table.put(row, name);
            }
        });
    }

    #row(name: string): Promise<VaultRow | undefined> {
        return this.#database.look([TABLE], (tx) => tx.objectStore(TABLE).get(name));
    }

    async #kept(name: string, value: Bytes | CryptoKey): Promise<VaultRow> {
        if (value instanceof Uint8Array) {
            return { kind: 'bytes', sealed: await this.#lockbox.seal(value, TABLE, name) };
        }
        if (!value.extractable || value.type === 'public') return { kind: 'handle', key: value };
        const format = value.type === 'private' ? 'pkcs8' : 'raw';
        const data = new Uint8Array(await crypto.subtle.exportKey(format, value));
        try {
            const { algorithm, usages } = value;
            if (!this.#underPin) {
                const key = await crypto.subtle.importKey(format, data, algorithm, false, usages);
                return { kind: 'handle', key };
            }
            const sealed = await this.#lockbox.seal(data, TABLE, name);
            return { kind: 'wrapped', format, algorithm: { ...algorithm }, usages: [...usages], sealed };
        } finally {
            data.fill(0);
        }
    }
}
