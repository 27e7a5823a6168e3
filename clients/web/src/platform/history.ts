/** The local copy in the local database: see `History` in `~/model/ports` for what it guarantees. */

import {
    type ChainRecords,
    type History,
    type LocalEntry,
    type Place,
    type Pressing,
    Verdict,
} from '~/model/ports';
import { beginning, type Change, type Database, type EntryRow, type Table, under } from '~/platform/database';
import type { Lockbox } from '~/platform/lockbox';
import type { Bytes } from '~/protocol/bytes';
import type { AgencyId, ChannelAddress, ChannelId, DeviceId, MessageId, StateKey } from '~/protocol/ids';
import { Lane, type Mark, type Urgency } from '~/protocol/words';

/** What belongs to one log, its position apart. */
const OF_A_LOG = ['entry', 'known', 'urgent'] as const;

export class BrowserHistory implements History {
    readonly #database: Database;
    readonly #lockbox: Lockbox;

    constructor(database: Database, lockbox: Lockbox) {
        this.#database = database;
        this.#lockbox = lockbox;
    }

    // ---- logs

    async place(log: ChannelAddress): Promise<Place | null> {
        const row = await this.#database.look(['place'], (tx) => tx.objectStore('place').get(log));
        if (row === undefined) return null;
        const { generation, offset, floor, seen } = row;
        return { position: { generation, offset }, floor, seen };
    }

    async take(
        log: ChannelAddress,
        entries: readonly LocalEntry[],
        place: Place,
        pressing: readonly { readonly id: MessageId; readonly sinceMs: number }[] = [],
    ): Promise<void> {
        const rows = await Promise.all(entries.map((entry) => this.#sealed(log, entry)));
        const durability = pressing.length > 0 ? 'strict' : 'relaxed';
        await this.#database.change([...OF_A_LOG, 'place'], durability, async (tx) => {
            for (const [at, row] of rows.entries()) {
                const entry = entries[at];
                await taken(tx, row, entry !== undefined && deletes(entry));
            }
            for (const { id, sinceMs } of pressing) await pressed(tx, log, id, sinceMs);
            await placed(tx, log, place);
        });
    }

    async drop(log: ChannelAddress, place: Place): Promise<void> {
        await this.#database.change([...OF_A_LOG, 'place'], 'relaxed', async (tx) => {
            await emptied(tx, log);
            await placed(tx, log, place);
        });
    }

    async knownAt(log: ChannelAddress, device: DeviceId, message: MessageId): Promise<number | null> {
        const found = await this.#database.look(['known'], (tx) =>
            tx.objectStore('known').get([log, device, message]),
        );
        return found ?? null;
    }

    async before(log: ChannelAddress, offset: number, limit: number): Promise<readonly LocalEntry[]> {
        const rows = await this.#database.look(['entry'], async (tx) => {
            const found: EntryRow[] = [];
            const range = IDBKeyRange.bound([log, Lane.log], [log, Lane.log, offset], false, true);
            let cursor = await tx.objectStore('entry').index('lane').openCursor(range, 'prev');
            while (cursor !== null && found.length < limit) {
                found.push(cursor.value);
                cursor = await cursor.continue();
            }
            return found;
        });
        return this.#opened(rows.reverse());
    }

    async state(log: ChannelAddress): Promise<readonly LocalEntry[]> {
        const rows = await this.#database.look(['entry'], (tx) =>
            tx.objectStore('entry').index('lane').getAll(under(log, Lane.state)),
        );
        return this.#opened(rows);
    }

    async value(log: ChannelAddress, key: StateKey): Promise<LocalEntry | null> {
        const row = await this.#database.look(['entry'], (tx) =>
            tx.objectStore('entry').index('slot').get([log, Lane.state, key]),
        );
        return row === undefined ? null : this.#open(row);
    }

    async message(log: ChannelAddress, message: MessageId): Promise<LocalEntry | null> {
        const rows = await this.#database.look(['entry'], (tx) =>
            tx.objectStore('entry').index('id').getAll([log, message]),
        );
        const row = rows.find((one) => one.lane === Lane.log);
        return row === undefined ? null : this.#open(row);
    }

    async unopened(log: ChannelAddress, after: number, limit: number): Promise<readonly LocalEntry[]> {
        const rows = await this.#database.look(['entry'], (tx) =>
            Promise.all(
                [Verdict.notGranted, Verdict.unknownEpoch].map((verdict) => {
                    const beyond = IDBKeyRange.bound([log, verdict, after], [log, verdict, []], true);
                    return tx.objectStore('entry').index('verdict').getAll(beyond, limit);
                }),
            ),
        );
        const first = rows.flat().sort((a, b) => a.offset - b.offset);
        return this.#opened(first.slice(0, limit));
    }

    async settle(log: ChannelAddress, entry: LocalEntry): Promise<void> {
        const row = await this.#sealed(log, entry);
        await this.#database.change(['entry'], 'relaxed', async (tx) => {
            const table = tx.objectStore('entry');
            const stands = await table.get([log, entry.offset]);
            if (stands === undefined) return;
            if (deletes(entry)) await table.delete([log, entry.offset]);
            else await table.put({ ...stands, verdict: row.verdict, sealed: row.sealed });
        });
    }

    purge(log: ChannelAddress, beforeMs: number): Promise<number> {
        return this.#database.change(['entry'], 'relaxed', async (tx) => {
            let gone = 0;
            let cursor = await tx.objectStore('entry').index('lane').openCursor(under(log, Lane.log));
            while (cursor !== null) {
                if (cursor.value.atMs < beforeMs) {
                    await cursor.delete();
                    gone += 1;
                }
                cursor = await cursor.continue();
            }
            return gone;
        });
    }

    async forget(channel: ChannelId, log: ChannelAddress): Promise<void> {
        await this.#database.change([...OF_A_LOG, 'posted', 'note'], 'strict', async (tx) => {
            await emptied(tx, log);
            await tx.objectStore('posted').delete(under(channel));
            await tx.objectStore('note').delete(beginning(`upload ${channel} `));
        });
    }

    // ---- what sounds

    async press(log: ChannelAddress, message: MessageId, sinceMs: number): Promise<void> {
        await this.#database.change(['urgent'], 'strict', (tx) => pressed(tx, log, message, sinceMs));
    }

    async relieve(log: ChannelAddress, message: MessageId): Promise<void> {
        await this.#database.change(['urgent'], 'relaxed', (tx) =>
            tx.objectStore('urgent').delete([log, message]),
        );
    }

    async pressing(): Promise<readonly Pressing[]> {
        const [keys, since] = await this.#database.look(['urgent'], (tx) => {
            const table = tx.objectStore('urgent');
            return Promise.all([table.getAllKeys(), table.getAll()]);
        });
        return keys
            .map(([log, id], at) => ({
                log: log as ChannelAddress,
                id: id as MessageId,
                sinceMs: since[at] ?? 0,
            }))
            .sort((a, b) => a.sinceMs - b.sinceMs);
    }

    // ---- chains, directory, own commits

    async keepChain(
        channel: ChannelId,
        generation: number,
        head: Bytes,
        epochs: ReadonlyMap<number, Bytes | null>,
    ): Promise<void> {
        const sealed = await this.#lockbox.seal(head, 'chain', channel);
        const records = await Promise.all(
            [...epochs].map(
                async ([epoch, value]) =>
                    [epoch, value && (await this.#sealEpoch(channel, epoch, value))] as const,
            ),
        );
        await this.#database.change(['chain', 'chain_epoch'], 'relaxed', async (tx) => {
            await tx.objectStore('chain').put({ generation, sealed }, channel);
            for (const [epoch, record] of records) {
                if (record === null) await tx.objectStore('chain_epoch').delete([channel, epoch]);
                else await tx.objectStore('chain_epoch').put(record, [channel, epoch]);
            }
        });
    }

    async chain(channel: ChannelId): Promise<ChainRecords | null> {
        const [head, keys, records] = await this.#database.look(['chain', 'chain_epoch'], (tx) => {
            const epochs = tx.objectStore('chain_epoch');
            return Promise.all([
                tx.objectStore('chain').get(channel),
                epochs.getAllKeys(under(channel)),
                epochs.getAll(under(channel)),
            ]);
        });
        if (head === undefined) return null;
        const opened = await Promise.all(
            keys.map(async (key, at) => {
                const record = await this.#lockbox.open(records[at] ?? new Uint8Array(0), 'chain_epoch', key);
                return [key[1], record] as const;
            }),
        );
        return {
            generation: head.generation,
            head: await this.#lockbox.open(head.sealed, 'chain', channel),
            epochs: new Map(opened),
        };
    }

    async chainEpoch(channel: ChannelId, epoch: number): Promise<Bytes | null> {
        const record = await this.#database.look(['chain_epoch'], (tx) =>
            tx.objectStore('chain_epoch').get([channel, epoch]),
        );
        return record === undefined ? null : this.#lockbox.open(record, 'chain_epoch', [channel, epoch]);
    }

    async dropChain(channel: ChannelId): Promise<void> {
        await this.#database.change(['chain', 'chain_epoch'], 'strict', async (tx) => {
            await tx.objectStore('chain').delete(channel);
            await tx.objectStore('chain_epoch').delete(under(channel));
        });
    }

    async keepDirectory(
        agency: AgencyId,
        entries: readonly { readonly seq: number; readonly value: Bytes }[],
    ): Promise<void> {
        const rows = await Promise.all(
            entries.map(async ({ seq, value }) => ({
                key: [agency, seq] as [string, number],
                sealed: await this.#lockbox.seal(value, 'directory', [agency, seq]),
            })),
        );
        await this.#keepFirst('directory', rows, 'relaxed');
    }

    async directory(agency: AgencyId): Promise<readonly Bytes[]> {
        return (await this.#numbered('directory', under(agency))).map(([, value]) => value);
    }

    async keepPosted(channel: ChannelId, epoch: number, post: Bytes): Promise<void> {
        const sealed = await this.#lockbox.seal(post, 'posted', [channel, epoch]);
        await this.#keepFirst('posted', [{ key: [channel, epoch], sealed }], 'strict');
    }

    async posted(
        channel: ChannelId,
        fromEpoch: number,
    ): Promise<readonly { readonly epoch: number; readonly post: Bytes }[]> {
        const range = IDBKeyRange.bound([channel, fromEpoch], [channel, []]);
        return (await this.#numbered('posted', range)).map(([epoch, post]) => ({ epoch, post }));
    }

    // ---- small things

    async note(name: string): Promise<Bytes | null> {
        const sealed = await this.#database.look(['note'], (tx) => tx.objectStore('note').get(name));
        return sealed === undefined ? null : this.#lockbox.open(sealed, 'note', name);
    }

    async keepNotes(notes: ReadonlyMap<string, Bytes | null>): Promise<void> {
        const rows = await Promise.all(
            [...notes].map(
                async ([name, value]) =>
                    [name, value && (await this.#lockbox.seal(value, 'note', name))] as const,
            ),
        );
        await this.#database.change(['note'], 'relaxed', async (tx) => {
            for (const [name, sealed] of rows) {
                if (sealed === null) await tx.objectStore('note').delete(name);
                else await tx.objectStore('note').put(sealed, name);
            }
        });
    }

    async notes(prefix: string): Promise<ReadonlyMap<string, Bytes>> {
        const [names, values] = await this.#database.look(['note'], (tx) => {
            const table = tx.objectStore('note');
            return Promise.all([table.getAllKeys(beginning(prefix)), table.getAll(beginning(prefix))]);
        });
        return new Map(
            await Promise.all(
                names.map(
                    async (name, at) =>
                        [
                            name,
                            await this.#lockbox.open(values[at] ?? new Uint8Array(0), 'note', name),
                        ] as const,
                ),
            ),
        );
    }

    // ---- rows

    #sealEpoch(channel: ChannelId, epoch: number, value: Bytes): Promise<Bytes> {
        return this.#lockbox.seal(value, 'chain_epoch', [channel, epoch]);
    }

    /** Add rows; one that stands is left as it is. */
    async #keepFirst(
        table: 'directory' | 'posted',
        rows: readonly { readonly key: [string, number]; readonly sealed: Bytes }[],
        durability: 'strict' | 'relaxed',
    ): Promise<void> {
        await this.#database.change([table], durability, async (tx) => {
            for (const { key, sealed } of rows) {
                const stands = await tx.objectStore(table).getKey(key);
                if (stands === undefined) await tx.objectStore(table).put(sealed, key);
            }
        });
    }

    async #numbered(
        table: 'directory' | 'posted',
        range: IDBKeyRange,
    ): Promise<(readonly [number, Bytes])[]> {
        const [keys, values] = await this.#database.look([table], (tx) => {
            const rows = tx.objectStore(table);
            return Promise.all([rows.getAllKeys(range), rows.getAll(range)]);
        });
        return Promise.all(
            keys.map(
                async (key, at) =>
                    [key[1], await this.#lockbox.open(values[at] ?? new Uint8Array(0), table, key)] as const,
            ),
        );
    }

    async #sealed(log: ChannelAddress, entry: LocalEntry): Promise<EntryRow> {
        const { value, ...clear } = entry;
        return { ...clear, log, sealed: await this.#lockbox.seal(value, 'entry', [log, entry.offset]) };
    }

    async #open(row: EntryRow): Promise<LocalEntry> {
        return {
            offset: row.offset,
            lane: row.lane as Lane,
            key: row.key as StateKey,
            device: row.device as DeviceId,
            id: row.id as MessageId,
            atMs: row.atMs,
            urgency: row.urgency as Urgency,
            mark: row.mark as Mark,
            verdict: row.verdict as Verdict,
            value: await this.#lockbox.open(row.sealed, 'entry', [row.log, row.offset]),
        };
    }

    #opened(rows: readonly EntryRow[]): Promise<LocalEntry[]> {
        return Promise.all(rows.map((row) => this.#open(row)));
    }
}

type LogChange = Change<(typeof OF_A_LOG)[number] | 'place'>;

/** A state value that was opened and is empty deletes the one before. */
function deletes(entry: Pick<LocalEntry, 'lane' | 'verdict' | 'value'>): boolean {
    return entry.lane === Lane.state && entry.verdict === Verdict.opened && entry.value.length === 0;
}

async function taken(tx: LogChange, row: EntryRow, gone: boolean): Promise<void> {
    const name: [string, string, string] = [row.log, row.device, row.id];
    const known = tx.objectStore('known');
    if ((await known.getKey(name)) === undefined) await known.put(row.offset, name);
    const table = tx.objectStore('entry');
    if (row.lane === Lane.state) {
        const before = await table.index('slot').getAllKeys([row.log, Lane.state, row.key]);
        for (const key of before) await table.delete(key);
        if (gone) return;
    }
    await table.put(row);
}

async function pressed(
    tx: Change<'urgent'> | LogChange,
    log: string,
    id: string,
    sinceMs: number,
): Promise<void> {
    const table = (tx as Change<'urgent'>).objectStore('urgent');
    if ((await table.getKey([log, id])) === undefined) await table.put(sinceMs, [log, id]);
}

async function placed(tx: LogChange, log: string, place: Place): Promise<void> {
    const { generation, offset } = place.position;
    await tx.objectStore('place').put({ log, generation, offset, floor: place.floor, seen: place.seen });
}

async function emptied<T extends Table>(tx: Change<T>, log: string): Promise<void> {
    const change = tx as unknown as LogChange;
    for (const table of OF_A_LOG) await change.objectStore(table).delete(under(log));
}
