import { beforeAll, describe, expect, it } from 'vitest';
import { fromHex } from '~/protocol/bytes';
import { openingVectors } from '../conformance/opening-vectors';
import { channelLine } from '../conformance/public-cases';
import { VECTORS } from '../conformance/read-vectors';
import { codeOf } from '../conformance/vectors';
import { ChannelLine, type Directories, REPLAY, live } from './acceptance';
import {
    decodeArchive,
    encodeArchive,
    encodeArchiveLabel,
    isArchive,
    parseArchiveLabel,
    verifyArchive,
} from './archive';

const vectors = openingVectors(VECTORS);
/** What is wrong inside, which only the records key can tell. */
const INSIDE = ['shredded', 'fewer epochs than the label says', 'made-up secret'];
let line: ChannelLine;
let directories: Directories;

beforeAll(async () => {
    ({ line, directories } = await channelLine(vectors));
});

describe('the archives of the vectors', () => {
    it.each(vectors.archives)('$name: $code', async (given) => {
        const archive = decodeArchive(fromHex(given.archive));
        expect(encodeArchive(archive)).toEqual(fromHex(given.archive));
        const receipt = given.now_ms === null ? REPLAY : live(given.now_ms);
        const due = INSIDE.includes(given.name) ? null : given.code;
        expect(await codeOf(() => verifyArchive(line, archive, directories, receipt))).toBe(due);
    });
});

describe('an archive', () => {
    const given = vectors.archives.find((one) => one.code === null);
    if (given === undefined) throw new Error('the vectors have no good archive');
    const archive = decodeArchive(fromHex(given.archive));

    it('is told from a grant by its four elements', () => {
        expect(isArchive(fromHex(given.archive))).toBe(true);
        for (const grant of vectors.grants) expect(isArchive(fromHex(grant.grant))).toBe(false);
        expect(isArchive(new Uint8Array(0))).toBe(false);
    });

    it('says what was signed, of the commit that it names', async () => {
        const label = await parseArchiveLabel(archive.signed);
        const commit = line.commits.get(label.epoch);
        if (commit === undefined) throw new Error('no such commit');
        expect(encodeArchiveLabel(commit, label)).toEqual(archive.signed.payload);
    });

    it('needs the commit, the directory, and a moment less than ten minutes off', async () => {
        const empty = new ChannelLine(line.channelId);
        expect(await codeOf(() => verifyArchive(empty, archive, directories))).toBe('E_UNKNOWN_EPOCH');
        expect(await codeOf(() => verifyArchive(line, archive, new Map()))).toBe('E_UNKNOWN_DEVICE');
        const { tsMs } = await parseArchiveLabel(archive.signed);
        for (const [nowMs, code] of [
            [tsMs - 600_000, 'E_CLOCK'],
            [tsMs - 599_999, null],
        ] as const) {
            expect(await codeOf(() => verifyArchive(line, archive, directories, live(nowMs)))).toBe(code);
        }
    });
});
