/**
 * What this client sealed once, for the other implementation to open: `protocol/vectors/sealed-by-web.json`.
 *
 * HPKE draws its own randomness, so the file cannot be made the same again: it is kept, and `LEESIDE_WRITE_VECTORS=1`
 * writes another. `tests/protocol/sealing/test_sealed_by_web.py` opens it in Python; here it is opened where it was made.
 */

import { readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, expect, it } from 'vitest';
import { MediaKind } from '~/protocol/video';
import { AttachmentKey } from '../opening/attachments';
import { SealedChannel } from '../opening/channel';
import { makeGrant } from '../opening/grants';
import { importHpkeKeyPair } from '../opening/hpke';
import { DeviceKeys } from '../opening/keys';
import { mediaEpoch, mediaSender } from '../opening/media';
import { makeArchive } from '../opening/records';
import { SigningKey } from '../opening/signing-key';
import { encodeArchive } from '../public/archive';
import { decodeBox, encodeBox } from '../public/boxes';
import { REASON_MEMBER } from '../public/commit';
import { encodeDeviceKey, parseDeviceKey } from '../public/device-key';
import { Directory } from '../public/directory';
import { type Bytes, type Hex, encode, hex } from '../public/encoding';
import { DURABLE, EPHEMERAL, MEDIA, SUITE_X25519, kidOf } from '../public/entries';
import { encodeSealedGrant } from '../public/grant';
import { decodeSigned, encodeSigned } from '../public/signed';
import { un } from './vectors';
import { DAY_MS, NOW_MS, World, seed, smallWorld } from './world';

const HERE = fileURLToPath(import.meta.url);
const PATH = resolve(HERE, '../../../../../../protocol/vectors/sealed-by-web.json');
const ABOUT =
    'Sealed by the web client, to be opened by the others (spec chapter 04). Byte strings are hexadecimal. ' +
    'Kept as it is: HPKE draws its own randomness.';
const CALL = '0c'.repeat(16) as Hex;
/** A key frame of VP8 and another one. */
const PICTURES = ['1002009d012a800268017069', '1102006368616e6765'] as const;
const SAID = [1, 'ü', null, true, -7, 2 ** 40, { to: 'all' }] as const;

type Sealed = Awaited<ReturnType<typeof seal>>;
let sealed: Sealed;

beforeAll(async () => {
    if (process.env.LEESIDE_WRITE_VECTORS === '1') {
        writeFileSync(PATH, `${JSON.stringify(await seal(), null, 1)}\n`);
    }
    sealed = JSON.parse(readFileSync(PATH, 'utf8')) as Sealed;
});

/** Give the unit a second DeviceKey whose private half is known, so that others can take the unit's part. */
async function knownKey(world: World): Promise<Hex> {
    const keys = world.keysOf('unit');
    const privateBytes = await seed('unit-hpke');
    const pair = await importHpkeKeyPair(privateBytes);
    const notAfterMs = NOW_MS + DAY_MS;
    const fields = { deviceId: keys.deviceId, kseq: 2, suite: SUITE_X25519, public: pair.public };
    const payload = encodeDeviceKey({ ...fields, notBeforeMs: NOW_MS, notAfterMs });
    const signed = await keys.identity.sign('devkey', keys.deviceId, payload);
    const kid = await kidOf(payload);
    keys.hold({ kid, suite: SUITE_X25519, pair, kseq: 2, notAfterMs, signed, replacedMs: null });
    await world.publish('unit');
    return hex(privateBytes);
}

async function seal() {
    const world = await smallWorld();
    const hpkePrivate = await knownKey(world);
    const genesis = await world.genesis(['dispatcher', 'unit'], true);
    const channel = await world.view('dispatcher', genesis);
    const change = { reason: REASON_MEMBER, admit: [world.seat('lead')] } as const;
    const joined = await world.commit('dispatcher', channel, change);
    await world.process('dispatcher', channel, joined);
    const { directories, book: deviceKeys, records } = world;
    const keys = world.keysOf('dispatcher');
    const plan = { to: records.recordsId, epochs: [0, 1], classMask: 1 << DURABLE, directories, deviceKeys };
    const archive = await makeArchive(channel, keys, records.recordsId, directories, { nowMs: NOW_MS });
    if (archive === null) throw new Error('there is something to archive');
    const secret = channel.secrets(1).get(MEDIA) ?? new Uint8Array(0);
    const media = await mediaSender(await mediaEpoch(secret, channel.head, CALL), 0);
    const attachment = AttachmentKey.create(5);
    const position = await world.say('dispatcher', channel, 'here', { keyClass: EPHEMERAL });
    return {
        about: ABOUT,
        now_ms: NOW_MS,
        root: hex(world.directory.rootPublic),
        entries: world.entries.map(hex),
        device_keys: ['dispatcher', 'unit', 'lead'].map((name) =>
            hex(encodeSigned(world.keysOf(name).newest)),
        ),
        unit: { identity_seed: hex(await seed('north-device-unit')), hpke_private: hpkePrivate },
        records_private: hex(await seed('north-records')),
        channel_id: channel.channelId,
        commits: [genesis, joined].map(({ commit, boxes, boxList }) => ({
            commit: hex(encodeSigned(commit.signed)),
            boxes: boxes.map((box) => hex(encodeBox(box))),
            box_hashes: boxList.hashes,
            box_list_signature: hex(boxList.signature),
        })),
        frames: [
            { frame: hex(await world.say('dispatcher', channel, SAID)), data: SAID },
            { frame: hex(position), data: 'here' },
        ],
        grant: hex(encodeSealedGrant(await makeGrant(channel, keys, { ...plan, nowMs: NOW_MS }))),
        archive: hex(encodeArchive(archive)),
        call_id: CALL,
        media: await Promise.all(
            PICTURES.map(async (frame) => [hex(await media.sealFrame(MediaKind.video, un(frame))), frame]),
        ),
        attachment: hex(encode(attachment.fields())),
        chunks: [hex(await attachment.sealChunk(0, un('70686f746f')))],
    };
}

it('is opened by the client that sealed it', async () => {
    const keys = await DeviceKeys.of(await SigningKey.fromSeed(un(sealed.unit.identity_seed)));
    const pair = await importHpkeKeyPair(un(sealed.unit.hpke_private));
    for (const signed of sealed.device_keys.map((text) => decodeSigned(un(text)))) {
        if (signed.signer !== keys.deviceId) continue;
        const { kid, kseq, notAfterMs } = await parseDeviceKey(signed.payload);
        keys.hold({ kid, suite: SUITE_X25519, pair, kseq, notAfterMs, signed, replacedMs: null });
    }
    const directory = await Directory.replay(un(sealed.root), sealed.entries.map(un));
    const directories = new Map([[directory.agencyId, directory]]);
    const unit = new SealedChannel(sealed.channel_id, keys.deviceId);
    for (const step of sealed.commits) {
        const box =
            step.boxes.map((b) => decodeBox(un(b))).find((b) => b.recipient === keys.deviceId) ?? null;
        const boxList = { hashes: step.box_hashes, signature: un(step.box_list_signature) };
        const signed = decodeSigned(un(step.commit));
        const installed = await unit.processCommit(signed, { box, boxList }, keys, directories, {
            nowMs: NOW_MS,
        });
        expect([installed.opened, installed.alarm]).toEqual([true, null]);
    }
    const bytes: Bytes[] = sealed.frames.map(({ frame }) => un(frame));
    const said = await Promise.all(bytes.map((frame) => unit.open(frame, directories)));
    expect(JSON.stringify(said.map(({ body }) => body.data))).toBe(
        JSON.stringify(sealed.frames.map(({ data }) => data)),
    );
});
