import { beforeEach, describe, expect, it } from 'vitest';
import { DAY_MS, NOW_MS, World, seed } from '../conformance/world';
import { codeOf } from '../conformance/vectors';
import { type DeviceAdded, deviceIdOf } from '../public/entries';
import { AuthorityKey } from './authority';
import { SigningKey } from './signing-key';

let world: World;
let phone: DeviceAdded;

beforeEach(async () => {
    world = await World.of();
    const { public: publicKey } = await SigningKey.create();
    phone = {
        op: 'dev+',
        deviceId: await deviceIdOf(publicKey),
        public: publicKey,
        memberId: '0d'.repeat(16) as never,
        role: 'responder',
        compartments: 0b11,
        caps: 1,
        notBeforeMs: NOW_MS,
        notAfterMs: NOW_MS + DAY_MS,
    };
});

describe('an authority', () => {
    it('signs the next entry, which a second one confirms', async () => {
        const entry = await world.first.signEntry(world.directory, phone, NOW_MS);
        expect(await codeOf(() => world.directory.apply(entry))).toBe('E_DIR_SIGNER');
        await world.directory.apply(await world.second.cosign(entry));
        expect(world.directory.device(phone.deviceId)?.caps).toBe(1);
    });

    it('cannot confirm itself, and never signs before the head', async () => {
        const entry = await world.first.signEntry(world.directory, phone, 5);
        expect(await codeOf(async () => world.directory.apply(await world.first.cosign(entry)))).toBe(
            'E_DIR_SIGNER',
        );
        await world.directory.apply(await world.second.cosign(entry));
        expect(world.directory.tsMs).toBe(NOW_MS);
    });

    it('that the directory does not know is refused', async () => {
        const stranger = await AuthorityKey.of(await SigningKey.fromSeed(await seed('stranger')));
        const entry = await stranger.signEntry(world.directory, phone, NOW_MS);
        expect(await codeOf(() => world.directory.apply(entry))).toBe('E_DIR_SIGNER');
    });
});
