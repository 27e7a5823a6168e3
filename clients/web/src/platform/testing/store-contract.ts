/**
 * What every local store must do, as cases that run anywhere: in node on a double of IndexedDB, in browsers on theirs.
 *
 * A case throws when the store breaks the contract. Nothing here knows a test runner.
 */

import {
    type Draft,
    type History,
    type LocalEntry,
    type LocalStore,
    type Place,
    Step,
    type Stores,
    Verdict,
    WrongPin,
} from '~/model/ports';
import { type Bytes, utf8 } from '~/protocol/bytes';
import {
    address,
    type AgencyId,
    asId,
    type ChannelAddress,
    type ChannelId,
    type DeviceId,
    type MessageId,
    NO_KEY,
    type StateKey,
    stateKey,
    type UnitId,
} from '~/protocol/ids';
import { Lane, Mark, Urgency } from '~/protocol/words';

export interface StoreCase {
    readonly name: string;
    /** `again` gives another `LocalStore` over the same database, as after a reload or in another tab. */
    run(store: LocalStore, again: () => LocalStore): Promise<void>;
}

// ---- what the cases are made of

// eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters -- the caller says whose id it is
const id = <T extends MessageId | ChannelId | DeviceId | UnitId | AgencyId>(n: number): T =>
    asId<T>(n.toString(16).padStart(32, '0'));
const CHANNEL = id<ChannelId>(0xc1);
const LOG = address('content', CHANNEL);
const OTHER = address('content', id<ChannelId>(0xc2));
const DEVICE = id<DeviceId>(0xd1);
const UNIT_KEY = stateKey('status', id<UnitId>(0xe1));

/** What must never stand in the database in the clear. */
export const CANARY = 'the canary sings of Ana at Quay Street 4';

const draft = (n: number, more: Partial<Draft> = {}): Draft => ({
    channel: LOG,
    id: id<MessageId>(n),
    lane: Lane.log,
    key: NO_KEY,
    body: utf8(`${CANARY} ${n}`),
    madeMs: n,
    urgency: Urgency.routine,
    mark: Mark.none,
    ...more,
});

const entry = (offset: number, more: Partial<LocalEntry> = {}): LocalEntry => ({
    offset,
    lane: Lane.log,
    key: NO_KEY,
    device: DEVICE,
    id: id<MessageId>(offset),
    atMs: offset * 10,
    urgency: Urgency.routine,
    mark: Mark.none,
    verdict: Verdict.opened,
    value: utf8(`${CANARY} ${offset}`),
    ...more,
});

const place = (offset: number, generation = 1): Place => ({
    position: { generation, offset },
    floor: 0,
    seen: { seq: offset, hash: new Uint8Array(32).fill(offset) },
});

/** Told by what it is, not by how it is written: bytes by their values, maps by their entries. */
function plain(value: unknown): unknown {
    if (value instanceof Uint8Array) return `bytes ${[...value].join()}`;
    if (value instanceof Map) return [...(value as Map<unknown, unknown>)].map(plain);
    if (Array.isArray(value)) return value.map(plain);
    if (typeof value === 'object' && value !== null) {
        return Object.fromEntries(
            Object.entries(value)
                .sort(([a], [b]) => (a < b ? -1 : 1))
                .map(([name, of]) => [name, plain(of)]),
        );
    }
    return value;
}

function same(what: string, found: unknown, expected: unknown): void {
    const [is, should] = [JSON.stringify(plain(found)), JSON.stringify(plain(expected))];
    if (is !== should) throw new Error(`${what}: ${is} is not ${should}`);
}

async function rejects(what: string, act: Promise<unknown>, name: string): Promise<Error> {
    try {
        await act;
    } catch (error) {
        if (error instanceof Error && error.name === name) return error;
        throw error;
    }
    throw new Error(`${what}: it was not refused`);
}

const made = (
    name: string,
    run: (stores: Stores, again: () => Promise<Stores>) => Promise<void>,
): StoreCase => ({
    name,
    async run(store, again) {
        const stores = await store.create();
        const opened: Stores[] = [stores];
        try {
            await run(stores, async () => {
                const next = await again().open();
                opened.push(next);
                return next;
            });
        } finally {
            for (const one of opened) one.close();
        }
    },
});

/** Write one of everything, with the canary in whatever a person could have written. */
export async function fill({ vault, outbox, history }: Stores): Promise<void> {
    const canary = utf8(CANARY);
    const pair = await crypto.subtle.generateKey('Ed25519', true, ['sign', 'verify']);
    if (!('privateKey' in pair)) throw new Error('no pair of keys');
    await vault.update(
        new Map<string, Bytes | CryptoKey>([
            ['device/identity', canary],
            ['device/key', pair.privateKey],
        ]),
    );
    await outbox.add([draft(1), draft(2)]);
    await outbox.seal(id<MessageId>(1), canary, 3);
    await history.take(LOG, [entry(1), entry(2, { lane: Lane.state, key: UNIT_KEY })], place(2), [
        { id: id<MessageId>(1), sinceMs: 5 },
    ]);
    await history.keepChain(CHANNEL, 1, canary, new Map([[0, canary]]));
    await history.keepDirectory(id<AgencyId>(0xa1), [{ seq: 0, value: canary }]);
    await history.keepPosted(CHANNEL, 0, canary);
    await history.keepNotes(new Map([['read', canary]]));
}

// ---- the cases

const vaultCases: StoreCase[] = [
    made('the vault keeps bytes and keys over a reload, several in one step', async ({ vault }, again) => {
        const pair = await crypto.subtle.generateKey('Ed25519', true, ['sign', 'verify']);
        if (!('privateKey' in pair)) throw new Error('no pair of keys');
        await vault.update(
            new Map<string, Bytes | CryptoKey>([
                ['device/identity', utf8('who')],
                ['device/signing', pair.privateKey],
                ['session', utf8('secret')],
            ]),
        );
        await vault.update(
            new Map<string, Bytes | null>([
                ['session', null],
                ['pin', utf8('set')],
            ]),
        );
        const { vault: reloaded } = await again();
        same('names', await reloaded.names(), ['device/identity', 'device/signing', 'pin']);
        same('names by prefix', await reloaded.names('device/'), ['device/identity', 'device/signing']);
        same('bytes', await reloaded.bytes('device/identity'), utf8('who'));
        same('no bytes', await reloaded.bytes('session'), null);
        await keySigns(reloaded.key('device/signing'), pair.publicKey);
        await rejects('bytes of a key', reloaded.bytes('device/signing'), 'StoreDamaged');
        await rejects('a key of bytes', reloaded.key('pin'), 'StoreDamaged');
    }),
];

async function keySigns(found: Promise<CryptoKey | null>, publicKey: CryptoKey): Promise<void> {
    const key = await found;
    if (key === null) throw new Error('the key is gone');
    same('extractable', key.extractable, false);
    const signature = await crypto.subtle.sign('Ed25519', key, utf8('x'));
    same('signs', await crypto.subtle.verify('Ed25519', publicKey, signature, utf8('x')), true);
}

const outboxCases: StoreCase[] = [
    made('the outbox keeps the order within a channel, and the exact frame', async ({ outbox }, again) => {
        await outbox.add([draft(1), draft(2, { channel: OTHER }), draft(3)]);
        same('channels', await outbox.channels(), [LOG, OTHER]);
        same('first', (await outbox.first(LOG))?.draft, draft(1));
        const frame = utf8('exact');
        same('sealed', await outbox.seal(id<MessageId>(1), frame, 7), frame);
        same('sealed twice', await outbox.seal(id<MessageId>(1), utf8('another'), 8), frame);
        const { outbox: reloaded } = await again();
        const first = await reloaded.first(LOG);
        same('after a reload', [first?.frame, first?.epoch, first?.step], [frame, 7, Step.sealed]);
        await reloaded.accept(id<MessageId>(1), 40, 2);
        same('next', (await reloaded.first(LOG))?.draft.id, id(3));
        same('accepted', await reloaded.accepted(LOG), [{ id: id(1), generation: 2, offset: 40 }]);
        same(
            'waiting',
            (await reloaded.waiting()).map((w) => w.draft.id),
            [id(2), id(3)],
        );
        same(
            'waiting here',
            (await reloaded.waiting(OTHER)).map((w) => w.draft.id),
            [id(2)],
        );
        same('channels then', await reloaded.channels(), [OTHER, LOG]);
    }),
    made('an id that stands changes nothing', async ({ outbox }) => {
        await outbox.add([draft(1)]);
        await outbox.add([draft(1, { body: utf8('other') })]);
        same(
            'waiting',
            (await outbox.waiting()).map((w) => w.draft),
            [draft(1)],
        );
    }),
    made('only the frame that was refused as stale is sealed anew', async ({ outbox }) => {
        await outbox.add([draft(1)]);
        const frame = utf8('one');
        await outbox.seal(id<MessageId>(1), frame, 1);
        await outbox.unseal(id<MessageId>(1), utf8('two'));
        same('another frame', (await outbox.get(id<MessageId>(1)))?.step, Step.sealed);
        await outbox.unseal(id<MessageId>(1), frame);
        same('unsealed', (await outbox.get(id<MessageId>(1)))?.step, Step.composed);
        same('anew', await outbox.seal(id<MessageId>(1), utf8('two'), 2), utf8('two'));
        await outbox.accept(id<MessageId>(1), 1, 1);
        await outbox.unseal(id<MessageId>(1), utf8('two'));
        same('accepted stays', (await outbox.get(id<MessageId>(1)))?.step, Step.accepted);
    }),
    made('what may have been sent cannot be taken back', async ({ outbox }) => {
        await outbox.add([draft(1), draft(2), draft(3)]);
        await outbox.seal(id<MessageId>(1), utf8('f'), 1);
        await outbox.refuse(id<MessageId>(3), 302);
        same('sealed', await outbox.cancel(id<MessageId>(1)), false);
        same('composed', await outbox.cancel(id<MessageId>(2)), true);
        same('again', await outbox.cancel(id<MessageId>(2)), false);
        same('sealing what was taken back', await outbox.seal(id<MessageId>(2), utf8('f'), 1), null);
        same(
            'refused',
            (await outbox.waiting()).map((w) => w.code),
            [0, 302],
        );
        same('refused, seen', await outbox.cancel(id<MessageId>(3)), true);
    }),
    made('in the state lane only the newest value of a key counts', async ({ outbox }) => {
        const state = (n: number, key: StateKey = UNIT_KEY) => draft(n, { lane: Lane.state, key });
        await outbox.add([state(1)]);
        await outbox.seal(id<MessageId>(1), utf8('sent'), 1);
        await outbox.add([state(2), draft(3), state(4), state(5, stateKey('name', id<UnitId>(0xe1)))]);
        same(
            'waiting',
            (await outbox.waiting()).map((w) => w.draft.id),
            [id(1), id(3), id(4), id(5)],
        );
        for (const n of [1, 3, 4]) await outbox.accept(id<MessageId>(n), n, 1);
        same('older accepted', await outbox.get(id<MessageId>(1)), null);
        same('newer accepted', (await outbox.get(id<MessageId>(4)))?.offset, 4);
    }),
    made('another generation brings back what stood, and keys that were ours', async ({ outbox }) => {
        const mine = draft(2, { lane: Lane.state, key: UNIT_KEY });
        const theirs = draft(3, { lane: Lane.state, key: stateKey('name', id<UnitId>(0xe1)) });
        await outbox.add([draft(1), mine, theirs, draft(4)]);
        for (const n of [1, 2, 3]) {
            await outbox.seal(id<MessageId>(n), utf8(`frame ${n}`), 1);
            await outbox.accept(id<MessageId>(n), n, 1);
        }
        same('same generation', await outbox.reopen(LOG, 1, new Set([UNIT_KEY])), 0);
        same('another', await outbox.reopen(LOG, 2, new Set([UNIT_KEY])), 2);
        same(
            'waiting',
            (await outbox.waiting()).map((w) => [w.draft.id, w.step, w.frame]),
            [
                [id(1), Step.sealed, utf8('frame 1')],
                [id(2), Step.sealed, utf8('frame 2')],
                [id(4), Step.composed, null],
            ],
        );
    }),
    made('accepted messages are forgotten after a week, a channel at once', async ({ outbox }) => {
        await outbox.add([draft(1), draft(2), draft(3, { channel: OTHER })]);
        await outbox.accept(id<MessageId>(1), 1, 1);
        const weekMs = 7 * 86_400_000;
        same('a week', await outbox.forget(weekMs + 1), 0);
        same('later', await outbox.forget(weekMs + 2), 1);
        same('channel', await outbox.forgetChannel(LOG), 1);
        same(
            'the rest',
            (await outbox.waiting()).map((w) => w.draft.id),
            [id(3)],
        );
    }),
];

async function offsets(found: Promise<readonly LocalEntry[]>): Promise<number[]> {
    return (await found).map((one) => one.offset);
}

const historyCases: StoreCase[] = [
    made('entries and the position that they reach stand together', async ({ history }, again) => {
        same('never followed', await history.place(LOG), null);
        await history.take(LOG, [entry(1), entry(2), entry(3)], place(3));
        const { history: reloaded } = await again();
        same('place', await reloaded.place(LOG), place(3));
        same('entries', await reloaded.before(LOG, 99, 10), [entry(1), entry(2), entry(3)]);
        same('page', await offsets(reloaded.before(LOG, 3, 1)), [2]);
        same('message', await reloaded.message(LOG, id<MessageId>(2)), entry(2));
        same('other log', await reloaded.before(OTHER, 99, 10), []);
        same('known', await reloaded.knownAt(LOG, DEVICE, id<MessageId>(2)), 2);
        same('not known', await reloaded.knownAt(LOG, DEVICE, id<MessageId>(9)), null);
        await reloaded.take(LOG, [entry(4, { id: id<MessageId>(2) })], place(4));
        same('known first', await reloaded.knownAt(LOG, DEVICE, id<MessageId>(2)), 2);
    }),
    made('pages read backwards end with the beginning', async ({ history }) => {
        const all = Array.from({ length: 25 }, (_, i) => entry(2 * i + 1));
        await history.take(LOG, all, place(50));
        const seen: number[] = [];
        for (let before = Number.MAX_SAFE_INTEGER; ;) {
            const page = await offsets(history.before(LOG, before, 10));
            if (page.length === 0) break;
            seen.unshift(...page);
            before = page[0] ?? 0;
        }
        same(
            'all of them',
            seen,
            all.map((one) => one.offset),
        );
    }),
    made('a state value replaces the one before, an empty one deletes it', async ({ history }) => {
        const state = (offset: number, more: Partial<LocalEntry> = {}) =>
            entry(offset, { lane: Lane.state, key: UNIT_KEY, ...more });
        const name = entry(2, { lane: Lane.state, key: stateKey('name', id<UnitId>(0xe1)) });
        await history.take(LOG, [state(1), name, state(3)], place(3));
        same('values', await history.state(LOG), [name, state(3)]);
        same('value', await history.value(LOG, UNIT_KEY), state(3));
        same('not in the log lane', await history.before(LOG, 99, 10), []);
        await history.take(LOG, [state(4, { value: new Uint8Array(0) })], place(4));
        same('deleted', await history.value(LOG, UNIT_KEY), null);
    }),
    made('frames that could not be opened are kept, and settled later', async ({ history }) => {
        const closed = (offset: number, verdict: Verdict) => entry(offset, { verdict });
        await history.take(
            LOG,
            [
                entry(1),
                closed(2, Verdict.unknownEpoch),
                closed(3, Verdict.notGranted),
                closed(4, Verdict.pruned),
            ],
            place(4),
        );
        same('unopened', await offsets(history.unopened(LOG, 0, 10)), [2, 3]);
        same('a page of one', await offsets(history.unopened(LOG, 0, 1)), [2]);
        same('the next page', await offsets(history.unopened(LOG, 2, 1)), [3]);
        same('no further page', await offsets(history.unopened(LOG, 3, 1)), []);
        await history.settle(LOG, entry(3, { value: utf8('opened') }));
        same('left', await offsets(history.unopened(LOG, 0, 10)), [2]);
        same('settled', await history.message(LOG, id<MessageId>(3)), entry(3, { value: utf8('opened') }));
        await history.settle(LOG, entry(9));
        same('what never stood', await history.message(LOG, id<MessageId>(9)), null);
    }),
    made('urgent messages sound until they are relieved', async ({ history }, again) => {
        await history.take(LOG, [entry(1), entry(2)], place(2), [
            { id: id<MessageId>(1), sinceMs: 20 },
            { id: id<MessageId>(2), sinceMs: 10 },
        ]);
        await history.press(LOG, id<MessageId>(1), 99);
        const { history: reloaded } = await again();
        same('pressing', await reloaded.pressing(), [
            { log: LOG, id: id(2), sinceMs: 10 },
            { log: LOG, id: id(1), sinceMs: 20 },
        ]);
        await reloaded.relieve(LOG, id<MessageId>(2));
        same(
            'relieved',
            (await reloaded.pressing()).map((p) => p.id),
            [id(1)],
        );
    }),
    made('a dropped log begins again, a forgotten one keeps its place', async ({ history }) => {
        const both = async (log: ChannelAddress): Promise<void> => {
            await history.take(log, [entry(1)], place(1), [{ id: id<MessageId>(1), sinceMs: 1 }]);
        };
        await both(LOG);
        await both(OTHER);
        await history.drop(LOG, place(0, 2));
        same('place', await history.place(LOG), place(0, 2));
        await empty(history, LOG);
        await history.keepNotes(
            new Map([
                [`upload ${CHANNEL} 1`, utf8('x')],
                ['read', utf8('y')],
            ]),
        );
        await history.keepPosted(CHANNEL, 3, utf8('commit'));
        await history.forget(CHANNEL, OTHER);
        same('place stays', await history.place(OTHER), place(1));
        await empty(history, OTHER);
        same('posted', await history.posted(CHANNEL, 0), []);
        same('notes', [...(await history.notes('')).keys()], ['read']);
    }),
    made('retention takes the log lane alone', async ({ history }) => {
        await history.take(
            LOG,
            [entry(1), entry(2), entry(3, { lane: Lane.state, key: UNIT_KEY, atMs: 1 })],
            place(3),
        );
        same('gone', await history.purge(LOG, 20), 1);
        same('left', await offsets(history.before(LOG, 99, 9)), [2]);
        same('values', await offsets(history.state(LOG)), [3]);
    }),
    made('chains are kept an epoch a record', async ({ history }, again) => {
        const record = (n: number) => new Uint8Array(40).fill(n);
        await history.keepChain(CHANNEL, 1, utf8('head'), new Map([0, 1, 2].map((n) => [n, record(n)])));
        await history.keepChain(
            CHANNEL,
            2,
            utf8('head 2'),
            new Map([
                [1, null],
                [11, record(11)],
            ]),
        );
        const { history: reloaded } = await again();
        same('chain', await reloaded.chain(CHANNEL), {
            generation: 2,
            head: utf8('head 2'),
            epochs: new Map([0, 2, 11].map((n) => [n, record(n)])),
        });
        same('one', await reloaded.chainEpoch(CHANNEL, 11), record(11));
        same('none', await reloaded.chainEpoch(CHANNEL, 1), null);
        await reloaded.dropChain(CHANNEL);
        same('dropped', await reloaded.chain(CHANNEL), null);
        same('with its epochs', await reloaded.chainEpoch(CHANNEL, 11), null);
    }),
    made('the directory and own commits are written once', async ({ history }) => {
        const agency = id<AgencyId>(0xa1);
        const entries = [0, 1, 2, 10].map((seq) => ({ seq, value: utf8(`entry ${seq}`) }));
        await history.keepDirectory(agency, entries);
        await history.keepDirectory(agency, [{ seq: 1, value: utf8('another') }]);
        same(
            'directory',
            await history.directory(agency),
            entries.map((one) => one.value),
        );
        await history.keepPosted(CHANNEL, 2, utf8('two'));
        await history.keepPosted(CHANNEL, 2, utf8('other'));
        await history.keepPosted(CHANNEL, 11, utf8('eleven'));
        same('posted', await history.posted(CHANNEL, 2), [
            { epoch: 2, post: utf8('two') },
            { epoch: 11, post: utf8('eleven') },
        ]);
        same('from', (await history.posted(CHANNEL, 3)).length, 1);
    }),
    made('notes are replaced and deleted together', async ({ history }) => {
        await history.keepNotes(
            new Map([
                ['a 1', utf8('x')],
                ['a 2', utf8('y')],
                ['b', utf8('z')],
            ]),
        );
        await history.keepNotes(
            new Map<string, Bytes | null>([
                ['a 1', null],
                ['b', utf8('w')],
            ]),
        );
        same('notes', await history.notes('a '), new Map([['a 2', utf8('y')]]));
        same('note', await history.note('b'), utf8('w'));
        same('none', await history.note('a 1'), null);
    }),
];

async function empty(history: History, log: ChannelAddress): Promise<void> {
    same('entries', await history.before(log, 99, 9), []);
    same('known', await history.knownAt(log, DEVICE, id<MessageId>(1)), null);
    same(
        'pressing',
        (await history.pressing()).filter((p) => p.log === log),
        [],
    );
}

const PIN = '4711';

const wholeCases: StoreCase[] = [
    {
        name: 'an empty store is said to be empty, and opens with nothing',
        async run(store, again) {
            await store.wipe();
            same('state', await store.state(), { kind: 'empty' });
            await rejects('open', again().open(), 'StoreGone');
            await rejects('unlock', again().unlock(PIN), 'StoreGone');
        },
    },
    {
        name: 'a store under a PIN opens with that PIN alone',
        async run(store, again) {
            const stores = await store.create(PIN);
            await fill(stores);
            const key = await crypto.subtle.generateKey('Ed25519', true, ['sign', 'verify']);
            if (!('privateKey' in key)) throw new Error('no pair of keys');
            await stores.vault.update(new Map([['signing', key.privateKey]]));
            stores.close();
            const reloaded = again();
            same('state', await reloaded.state(), { kind: 'locked', tries: 5 });
            await rejects('without', again().open(), 'StoreGone');
            const wrong = await rejects('wrong', reloaded.unlock('4712'), 'WrongPin');
            same('tries', wrong instanceof WrongPin && wrong.triesLeft, 4);
            same('counted', await again().state(), { kind: 'locked', tries: 4 });
            const opened = await reloaded.unlock(PIN);
            same('bytes', await opened.vault.bytes('device/identity'), utf8(CANARY));
            await keySigns(opened.vault.key('signing'), key.publicKey);
            same('rows', (await opened.outbox.waiting()).length, 2);
            opened.close();
            same('counted anew', await again().state(), { kind: 'locked', tries: 5 });
        },
    },
    {
        name: 'the fifth wrong PIN wipes the store, over any number of reloads',
        async run(store, again) {
            const stores = await store.create(PIN);
            await fill(stores);
            stores.close();
            for (let left = 4; left >= 0; left--) {
                const error = await rejects('wrong', again().unlock('0000'), 'WrongPin');
                same('tries', error instanceof WrongPin && error.triesLeft, left);
            }
            same('state', await again().state(), { kind: 'empty' });
            await rejects('the right one', again().unlock(PIN), 'StoreGone');
        },
    },
    {
        name: 'a wiped store is gone for every tab',
        async run(store, again) {
            const mine = await store.create();
            await fill(mine);
            const other = await again().open();
            let told = 0;
            other.onGone(() => (told += 1));
            await again().wipe();
            same('told', told, 1);
            await rejects('another tab', other.outbox.waiting(), 'StoreGone');
            await rejects('this one', mine.vault.bytes('device/identity'), 'StoreGone');
            same('state', await again().state(), { kind: 'empty' });
            const fresh = await again().create();
            same('nothing of it', [await fresh.vault.names(), await fresh.outbox.waiting()], [[], []]);
            fresh.close();
        },
    },
    {
        name: 'two tabs of one store see one truth',
        async run(store, again) {
            const one = await store.create();
            const two = await again().open();
            await Promise.all([one.outbox.add([draft(1)]), two.outbox.add([draft(2), draft(1)])]);
            same('once each', (await one.outbox.waiting()).length, 2);
            const frames = await Promise.all([
                one.outbox.seal(id<MessageId>(1), utf8('one'), 1),
                two.outbox.seal(id<MessageId>(1), utf8('two'), 1),
            ]);
            same('one frame', frames[0], frames[1]);
            one.close();
            await rejects('closed', one.outbox.waiting(), 'StoreGone');
            same('the other goes on', (await two.outbox.waiting()).length, 2);
            two.close();
        },
    },
];

export const STORE_CASES: readonly StoreCase[] = [
    ...vaultCases,
    ...outboxCases,
    ...historyCases,
    ...wholeCases,
];
