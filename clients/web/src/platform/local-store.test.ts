import 'fake-indexeddb/auto';
import { afterEach, describe, expect, test, vi } from 'vitest';
import {
    OutboxFull,
    StoreDamaged,
    StoreError,
    StoreFull,
    StoreGone,
    StoreNewer,
    type Stores,
} from '~/model/ports';
import { AUTHORITY, takeAuthority } from '~/model/engine/authority';
import type { Directories } from '~/model/engine/directories';
import { Database, MIGRATIONS, type Migration, type Tables, told } from '~/platform/database';
import { BrowserStore } from '~/platform/local-store';
import { Lockbox, newKey, newPinnedKey, PIN_ITERATIONS } from '~/platform/lockbox';
import { BrowserOutbox } from '~/platform/outbox';
import { CANARY, fill, STORE_CASES } from '~/platform/testing/store-contract';
import { toHex, utf8 } from '~/protocol/bytes';
import { address, asId, type ChannelId, type MessageId, NO_KEY } from '~/protocol/ids';
import type { StoreNames } from 'idb';

let names = 0;
const fresh = (): string => `store-${names++}`;
/** PBKDF2 at its true cost would make every case take a second. */
const opener = (name: string) => () =>
    new BrowserStore({ name, persist: () => Promise.resolve(true), pinIterations: 1_000 });

afterEach(() => {
    vi.restoreAllMocks();
});

describe('the contract of stores', () => {
    test.each(STORE_CASES.map((one) => [one.name, one] as const))('%s', async (_, one) => {
        const again = opener(fresh());
        await one.run(again(), again);
    });
});

test("an authority's key is under the PIN like any other", async () => {
    const name = fresh();
    const stores = await opener(name)().create('493817');
    const directories = { own: { authority: () => ({ revokedSeq: null }) } } as unknown as Directories;
    await takeAuthority(stores.vault, directories, 'ab'.repeat(32));
    const database = await Database.open(name);
    const row = await database.look(['vault'], (tx) => tx.objectStore('vault').get(AUTHORITY));
    expect(row?.kind).toBe('wrapped');
    expect((await stores.vault.key(AUTHORITY))?.extractable).toBe(false);
});

/** Everything that stands in a database: texts, and bytes as texts of one letter each. */
async function dump(name: string): Promise<string> {
    const database = await Database.open(name);
    const letters = (value: unknown): unknown => {
        if (value instanceof Uint8Array) return String.fromCharCode(...value);
        if (Array.isArray(value)) return value.map(letters);
        if (typeof value === 'object' && value !== null && !(value instanceof CryptoKey)) {
            return Object.entries(value).map(letters);
        }
        return value;
    };
    const tables: StoreNames<Tables>[] = [
        'meta', 'vault', 'outbox', 'place', 'entry', 'known', 'urgent', 'chain', 'chain_epoch', 'directory', 'posted', 'note',
    ]; // prettier-ignore
    const rows = await database.look(tables, (tx) =>
        Promise.all(
            tables.map(async (table) => [
                table,
                await tx.objectStore(table).getAllKeys(),
                await tx.objectStore(table).getAll(),
            ]),
        ),
    );
    database.close();
    return JSON.stringify(letters(rows));
}

describe('at rest', () => {
    test.each([undefined, 'open sesame'])(
        'nothing that a person wrote is in the clear (PIN: %s)',
        async (pin) => {
            const name = fresh();
            const stores = await opener(name)().create(pin);
            await fill(stores);
            stores.close();
            const found = await dump(name);
            // The search would find it: ids are there, and so would this be.
            expect(found).toContain(asId<MessageId>('1'.padStart(32, '0')));
            for (const secret of [CANARY, CANARY.slice(4, 20), 'sings', 'open sesame']) {
                expect([secret, found.includes(secret)]).toEqual([secret, false]);
            }
        },
    );

    test('under a PIN no key can be used or read without it', async () => {
        const name = fresh();
        const stores = await opener(name)().create('4711');
        const pair = await crypto.subtle.generateKey('Ed25519', true, ['sign', 'verify']);
        if (!('privateKey' in pair)) throw new Error('no pair of keys');
        const raw = new Uint8Array(await crypto.subtle.exportKey('pkcs8', pair.privateKey));
        await stores.vault.update(new Map([['device/key', pair.privateKey]]));
        stores.close();
        expect(await dump(name)).not.toContain(String.fromCharCode(...raw.slice(-32)));
        const database = await Database.open(name);
        const rows = await database.look(['meta', 'vault'], async (tx) => [
            ...(await tx.objectStore('meta').getAll()),
            ...(await tx.objectStore('vault').getAll()),
        ]);
        expect(rows.map((row) => row.kind)).toEqual(['pin', 'wrapped']);
        database.close();
    });

    test('a value that was changed or moved does not open', async () => {
        const name = fresh();
        const stores = await opener(name)().create();
        await stores.history.keepNotes(
            new Map([
                ['one', utf8('1')],
                ['two', utf8('2')],
            ]),
        );
        const database = await Database.open(name);
        await database.change(['note'], 'relaxed', async (tx) => {
            const notes = tx.objectStore('note');
            const one = (await notes.get('one')) ?? new Uint8Array();
            await notes.put(one, 'two');
            const flipped = one.slice();
            flipped[20] = (flipped[20] ?? 0) ^ 1;
            await notes.put(flipped, 'one');
        });
        database.close();
        await expect(stores.history.note('one')).rejects.toBeInstanceOf(StoreDamaged);
        await expect(stores.history.note('two')).rejects.toBeInstanceOf(StoreDamaged);
        stores.close();
    });

    test('equal values are sealed differently', async () => {
        const name = fresh();
        const stores = await opener(name)().create();
        const written = async (): Promise<string> => {
            await stores.history.keepNotes(new Map([['same', utf8('same')]]));
            const database = await Database.open(name);
            const sealed = await database.look(['note'], (tx) => tx.objectStore('note').get('same'));
            database.close();
            return toHex(sealed ?? new Uint8Array());
        };
        expect(await written()).not.toBe(await written());
        stores.close();
    });

    test('a PIN costs what it should', async () => {
        expect(PIN_ITERATIONS).toBeGreaterThanOrEqual(600_000);
        const { kept } = await newPinnedKey('4711');
        expect(kept.iterations).toBe(PIN_ITERATIONS);
    });
});

const LOG = address('content', asId<ChannelId>('c1'.repeat(16)));
const message = (n: number) => asId<MessageId>(n.toString(16).padStart(32, '0'));
const draft = (n: number) => ({
    channel: LOG,
    id: message(n),
    lane: 1 as const,
    key: NO_KEY,
    body: utf8('x'),
    madeMs: n,
    urgency: 0 as const,
    mark: 0 as const,
});
const entry = (offset: number) => ({
    ...draft(offset),
    offset,
    device: asId<never>('d1'.repeat(16)),
    atMs: 1,
    verdict: 0 as const,
    value: utf8('x'),
});
const place = (offset: number) => ({ position: { generation: 1, offset }, floor: 0, seen: null });

/** From its nth write on the disk is full: until the mocks are restored. */
function fullAfter(writes: number): void {
    let count = 0;
    for (const method of ['put', 'add'] as const) {
        // eslint-disable-next-line @typescript-eslint/unbound-method -- called with `this` below
        const real = IDBObjectStore.prototype[method];
        vi.spyOn(IDBObjectStore.prototype, method).mockImplementation(function (
            this: IDBObjectStore,
            ...args
        ) {
            count += 1;
            if (count > writes) throw new DOMException('full', 'QuotaExceededError');
            return real.apply(this, args);
        });
    }
}

describe('a full disk', () => {
    test('in the middle of a transaction loses nothing and leaves nothing half', async () => {
        const stores = await opener(fresh())().create();
        await stores.outbox.add([draft(1)]);
        await stores.history.take(LOG, [], place(1));
        fullAfter(2);
        await expect(stores.outbox.add([draft(2), draft(3), draft(4)])).rejects.toBeInstanceOf(StoreFull);
        vi.restoreAllMocks();
        fullAfter(3);
        const rows = [entry(2), entry(3), entry(4)];
        await expect(stores.history.take(LOG, rows, place(4))).rejects.toBeInstanceOf(StoreFull);
        vi.restoreAllMocks();
        expect((await stores.outbox.waiting()).map((w) => w.draft.id)).toEqual([message(1)]);
        expect(await stores.history.before(LOG, 99, 9)).toEqual([]);
        expect(await stores.history.place(LOG)).toEqual(place(1));
        // Room again: the same call goes through.
        await stores.outbox.add([draft(2), draft(3), draft(4)]);
        expect(await stores.outbox.waiting()).toHaveLength(4);
        stores.close();
    });

    test('that shows only at the commit is told as such', () => {
        const of = (name: string) => new DOMException('text of the browser', name);
        expect(told(of('AbortError'), of('QuotaExceededError'))).toBeInstanceOf(StoreFull);
        expect(told(of('QuotaExceededError'))).toBeInstanceOf(StoreFull);
        expect(told(of('InvalidStateError'))).toBeInstanceOf(StoreGone);
        const other = told(of('UnknownError'));
        expect(other).toBeInstanceOf(StoreError);
        expect(String(other)).not.toContain('text of the browser');
    });
});

test('the outbox takes no more than its bound, and tells', async () => {
    const database = await Database.open(fresh());
    const outbox = new BrowserOutbox(database, new Lockbox(await newKey()), 3);
    await outbox.add([draft(1), draft(2)]);
    await expect(outbox.add([draft(3), draft(4)])).rejects.toBeInstanceOf(OutboxFull);
    expect(await outbox.waiting()).toHaveLength(2);
    await outbox.add([draft(3), draft(1)]);
    await outbox.accept(message(1), 1, 1);
    await outbox.add([draft(4)]);
    expect(await outbox.waiting()).toHaveLength(3);
    database.close();
});

describe('versions', () => {
    const second: Migration = (database) => {
        database.createObjectStore('later' as 'note');
    };

    test('an older store is brought up to date with all that it holds', async () => {
        const name = fresh();
        const old = await opener(name)().create();
        await fill(old);
        old.close();
        const newer = new BrowserStore({
            name,
            persist: () => Promise.resolve(true),
            migrations: [...MIGRATIONS, second],
        });
        const stores = await newer.open();
        expect(await stores.outbox.waiting()).toHaveLength(2);
        expect(await stores.vault.bytes('device/identity')).toEqual(utf8(CANARY));
        stores.close();
        await expect(opener(name)().open()).rejects.toBeInstanceOf(StoreNewer);
        await opener(name)().wipe();
        expect(await opener(name)().state()).toEqual({ kind: 'empty' });
    });

    test('a migration that fails leaves the store as it was', async () => {
        const name = fresh();
        const old = await opener(name)().create();
        await fill(old);
        old.close();
        const broken: Migration = () => {
            throw new Error('broken');
        };
        const newer = new BrowserStore({ name, migrations: [...MIGRATIONS, second, broken] });
        await expect(newer.open()).rejects.toThrow();
        const stores = await opener(name)().open();
        expect(await stores.outbox.waiting()).toHaveLength(2);
        stores.close();
    });

    test('a tab that upgrades takes the store from the others, who are told', async () => {
        const name = fresh();
        const old: Stores = await opener(name)().create();
        const gone = vi.fn();
        old.onGone(gone);
        const newer = await Database.open(name, [...MIGRATIONS, second]);
        expect(gone).toHaveBeenCalledTimes(1);
        newer.close();
    });
});
