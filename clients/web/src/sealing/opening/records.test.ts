import { beforeEach, describe, expect, it } from 'vitest';
import { DAY_MS, NOW_MS, PERIODIC, type World, seed, smallWorld } from '../conformance/world';
import { codeOf } from '../conformance/vectors';
import { ChannelLine } from '../public/acceptance';
import { type Archive, decodeArchive, encodeArchive } from '../public/archive';
import { type RecordsId, DURABLE, MEDIA } from '../public/entries';
import type { SealedChannel } from './channel';
import { RecordsPrivateKey, archivable, makeArchive, openArchive } from './records';

let world: World;
let unit: SealedChannel;

beforeEach(async () => {
    world = await smallWorld();
    const genesis = await world.genesis(['dispatcher', 'unit'], true);
    const dispatcher = await world.view('dispatcher', genesis);
    unit = await world.view('unit', genesis, await world.commit('dispatcher', dispatcher, PERIODIC));
});

function archived(recordsId: RecordsId = world.records.recordsId): Promise<Archive | null> {
    return makeArchive(unit, world.keysOf('unit'), recordsId, world.directories, { nowMs: NOW_MS });
}

async function made(): Promise<Archive> {
    const archive = await archived();
    if (archive === null) throw new Error('there is something to archive');
    return archive;
}

const opened = (archive: Archive, key = world.records) =>
    openArchive(key, archive, unit.line, world.directories);

describe('an archive', () => {
    it('holds the durable secrets of every epoch, for the custodian alone', async () => {
        const archive = decodeArchive(encodeArchive(await made()));
        const secrets = await opened(archive);
        expect([...secrets.keys()]).toEqual([0, 1]);
        for (const [epoch, held] of secrets) {
            expect(held).toEqual(new Map([[DURABLE, unit.secrets(epoch).get(DURABLE)]]));
        }
        expect(await codeOf(async () => opened(archive, await RecordsPrivateKey.create()))).toBe('E_RECORDS');
    });

    it('is not made without secrets, nor to a key that the channel does not have', async () => {
        const stranger = await RecordsPrivateKey.create();
        expect(await codeOf(() => archived(stranger.recordsId))).toBe('E_RECORDS');
        expect(archivable(unit, 1 << MEDIA)).toEqual([]);
        unit.forgetAll();
        expect(await archived()).toBeNull();
    });

    it('is refused altered or for another key of the same', async () => {
        const archive = await made();
        const wrapped = archive.wrapped.slice();
        wrapped[5] = (wrapped[5] ?? 0) ^ 1;
        expect(await codeOf(() => opened({ ...archive, wrapped }))).toBe('E_AEAD');
        const keyBox = archive.keyBox.slice();
        keyBox[40] = (keyBox[40] ?? 0) ^ 1;
        expect(await codeOf(() => opened({ ...archive, keyBox }))).toBe('E_BOX');
        const other = await made();
        expect(await codeOf(() => opened({ ...archive, keyBox: other.keyBox }))).toBe('E_BOX');
    });

    it('needs the commits of its epochs to be held against', async () => {
        const archive = await made();
        const short = ChannelLine.at(unit.head);
        const opening = openArchive(world.records, archive, short, world.directories);
        expect(await codeOf(() => opening)).toBe('E_UNKNOWN_EPOCH');
    });
});

describe('a records key', () => {
    it('is certified by the entry that it makes, and cannot be read out', async () => {
        const key = await RecordsPrivateKey.fromBytes(await seed('custodian'));
        const terms = { compartments: 1, classMask: 2, notBeforeMs: NOW_MS, notAfterMs: NOW_MS + DAY_MS };
        await world.sign(world.first, key.entry(terms), world.second);
        const certified = world.directory.recordsKey(key.recordsId);
        expect(certified).toMatchObject({ ...terms, public: key.held.pair.public, kid: key.held.kid });
        expect(key.held.pair.privateKey.extractable).toBe(false);
    });
});
