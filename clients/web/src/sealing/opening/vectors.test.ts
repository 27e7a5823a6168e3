/** What the vector file says of boxes, frames, grants, archives and media; attachments have a test of their own. */

import { beforeAll, describe, expect, it } from 'vitest';
import { type ChannelView, viewOf } from '../conformance/channel-view';
import { openingVectors } from '../conformance/opening-vectors';
import { VECTORS } from '../conformance/read-vectors';
import { codeOf, un } from '../conformance/vectors';
import { live } from '../public/acceptance';
import { decodeArchive, verifyArchive } from '../public/archive';
import { decodeBox } from '../public/boxes';
import { hex } from '../public/encoding';
import { DURABLE, MEDIA } from '../public/entries';
import { decodeSealedGrant } from '../public/grant';
import { encodeBody } from './body';
import { acceptGrant } from './grants';
import { MediaKey, mediaBaseKey, mediaKeyAndSalt } from './media';
import { RecordsPrivateKey, openArchive, openRecordsBox } from './records';

const { channel: CHANNEL, now_ms: NOW_MS, frames, grants, archives, media } = openingVectors(VECTORS);
const view = (name: string): Promise<ChannelView> => viewOf(CHANNEL, name, NOW_MS);

describe('boxes', () => {
    it.each(['dispatcher', 'unit', 'clinician'])(
        'of the %s open to the secrets written down',
        async (name) => {
            expect((await view(name)).channel.line.epoch).toBe(CHANNEL.commits.length - 1);
        },
    );

    it('of the records key open to the durable secrets alone', async () => {
        const key = await RecordsPrivateKey.fromBytes(un(CHANNEL.records.private));
        expect(key.recordsId).toBe(CHANNEL.records.id);
        const { channel } = await view('unit');
        for (const [epoch, step] of CHANNEL.commits.entries()) {
            const box = step.boxes.map((b) => decodeBox(un(b))).find((b) => b.recipient === key.recordsId);
            const commit = channel.line.commits.get(epoch);
            if (box === undefined || commit === undefined) throw new Error('not in the vectors');
            const { classes, chain } = await openRecordsBox(key, commit, box);
            expect(chain).toBeNull();
            expect([...classes].map(([c, s]) => [c, hex(s)])).toEqual([[DURABLE, step.class_secrets['1']]]);
        }
    });
});

describe('frames', () => {
    it.each(frames)('$name', async (vector) => {
        const { channel, directories } = await view(vector.reader);
        for (const frame of vector.before) await channel.open(un(frame), directories);
        const code = await codeOf(async () => {
            const opened = await channel.open(un(vector.frame), directories);
            expect(hex(encodeBody(opened.body))).toBe(vector.body);
        });
        expect(code).toBe(vector.code);
    });
});

describe('grants', () => {
    it.each(grants)('$name', async (vector) => {
        const { channel, keys, directories } = await view(vector.reader);
        const before = channel.exportEpoch(0);
        const code = await codeOf(async () => {
            await acceptGrant(channel, decodeSealedGrant(un(vector.grant)), keys, directories);
            expect(hex(channel.secrets(0).get(DURABLE) ?? un(''))).toBe(
                CHANNEL.commits[0]?.class_secrets['1'],
            );
        });
        expect(code).toBe(vector.code);
        if (code !== null) expect(channel.exportEpoch(0)).toEqual(before);
    });
});

describe('archives', () => {
    let key: RecordsPrivateKey;
    let unit: ChannelView;
    beforeAll(async () => {
        key = await RecordsPrivateKey.fromBytes(un(CHANNEL.records.private));
        unit = await view('unit');
    });

    it.each(archives)('$name', async (vector) => {
        const { channel, directories } = unit;
        const code = await codeOf(async () => {
            const archive = decodeArchive(un(vector.archive));
            if (vector.now_ms !== null) {
                await verifyArchive(channel.line, archive, directories, live(vector.now_ms));
            }
            const opened = await openArchive(key, archive, channel.line, directories);
            const found = [...opened].map(([epoch, held]) => [
                epoch,
                Object.fromEntries([...held].map(([c, secret]) => [c, hex(secret)])),
            ]);
            expect(Object.fromEntries(found)).toEqual(vector.secrets);
        });
        expect(code).toBe(vector.code);
    });
});

it('media', async () => {
    const { channel } = await view('unit');
    const secret = channel.secrets(media.epoch).get(MEDIA) ?? un('');
    const commit = channel.line.commits.get(media.epoch);
    const base = await mediaBaseKey(secret, commit?.hash ?? hex(un('')), hex(un(media.call_id)));
    expect(hex(base)).toBe(media.base_key);
    const kid = BigInt(`0x${media.kid}`);
    const { key, salt } = await mediaKeyAndSalt(base, kid);
    expect([hex(key), hex(salt)]).toEqual([media.key, media.salt]);
    const receiver = await MediaKey.derive(base, kid);
    for (const frame of media.frames) {
        expect(hex(await receiver.decrypt(un(frame), un(media.metadata)))).toBe(media.plain);
    }
    const sender = await MediaKey.derive(base, kid);
    const sent = await Promise.all(
        media.frames.map(() => sender.encrypt(un(media.plain), un(media.metadata))),
    );
    expect(sent.map(hex)).toEqual(media.frames);
});
