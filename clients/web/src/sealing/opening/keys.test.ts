import { beforeEach, describe, expect, it } from 'vitest';
import { DAY_MS, HOUR_MS, NOW_MS } from '../conformance/world';
import { codeOf } from '../conformance/vectors';
import { parseDeviceKey, verifyDeviceKey } from '../public/device-key';
import type { Certificate } from '../public/directory';
import { type Hex, hex, utf8 } from '../public/encoding';
import { verifyEnrolment } from '../public/enrolment';
import { MEDIA, SUITE_X25519, agencyIdOf, deviceIdOf, kidOf } from '../public/entries';
import { hpkeOpen, hpkeSeal } from './hpke';
import { DeviceKeys, ROTATION_MS } from './keys';

const INFO = utf8('info');
const SLACK_MS = 600_000;
let keys: DeviceKeys;

beforeEach(async () => {
    keys = await DeviceKeys.create(NOW_MS);
});

/** As much of a certificate as verifying a DeviceKey needs. */
function certified(): Certificate {
    return { deviceId: keys.deviceId, public: keys.identity.public } as Certificate;
}

async function newestKid(): Promise<Hex> {
    return kidOf(keys.newest.payload);
}

describe('a device', () => {
    it('is named by its identity, and signs its first DeviceKey', async () => {
        expect(keys.deviceId).toBe(await deviceIdOf(keys.identity.public));
        const key = await verifyDeviceKey(keys.newest, certified(), NOW_MS);
        expect([key.kseq, key.notBeforeMs, key.notAfterMs - key.notBeforeMs]).toEqual([
            1,
            NOW_MS - SLACK_MS,
            8 * DAY_MS,
        ]);
        const sealed = await hpkeSeal(SUITE_X25519, key.public, INFO, utf8('x'));
        expect(await hpkeOpen(SUITE_X25519, keys.held(key.kid).pair, INFO, sealed)).toEqual(utf8('x'));
    });

    it('proves at enrolment that it holds its identity', async () => {
        const proof = await keys.enrolmentProof('CODE');
        await verifyEnrolment(keys.identity.public, 'CODE', proof);
        expect(await codeOf(() => verifyEnrolment(keys.identity.public, 'OTHER', proof))).toBe('E_SIG');
    });

    it('makes a new key each day, or when the newest begins in the future', async () => {
        const dueMs = NOW_MS - SLACK_MS + ROTATION_MS;
        expect([keys.rotationDue(dueMs - 1), keys.rotationDue(dueMs)]).toEqual([false, true]);
        expect(keys.rotationDue(NOW_MS - DAY_MS)).toBe(true);
        await keys.rotate(dueMs);
        expect(keys.rotationDue(dueMs)).toBe(false);
        expect((await parseDeviceKey(keys.newest.payload)).kseq).toBe(2);
    });

    it('keeps the replaced private half for an hour, and until its boxes are fetched', async () => {
        const first = await newestKid();
        await keys.rotate(NOW_MS + DAY_MS);
        const goneMs = NOW_MS + DAY_MS + HOUR_MS;
        expect(keys.prune(goneMs - 1, true)).toBe(0);
        expect(keys.prune(goneMs, false)).toBe(0);
        expect(keys.holds(first)).toBe(true);
        expect(keys.prune(goneMs, true)).toBe(1);
        expect(await codeOf(() => keys.held(first))).toBe('E_NO_KEY');
        expect(keys.holds(await newestKid())).toBe(true);
    });

    it('makes one key of two calls at once, and another afterwards', async () => {
        const [one, other] = await Promise.all([keys.rotate(NOW_MS), keys.rotate(NOW_MS)]);
        expect(one).toBe(other);
        expect((await parseDeviceKey(one.payload)).kseq).toBe(2);
        expect((await parseDeviceKey((await keys.rotate(NOW_MS)).payload)).kseq).toBe(3);
    });
});

describe('keeping', () => {
    it('is a structured clone, whose private keys stay where they are', async () => {
        await keys.rotate(NOW_MS + DAY_MS);
        const kept = structuredClone(keys.export());
        for (const { pair } of kept.held) expect(pair.privateKey.extractable).toBe(false);
        const same = await DeviceKeys.restore(kept);
        expect(same.deviceId).toBe(keys.deviceId);
        expect(same.newest).toEqual(keys.newest);
        expect((await parseDeviceKey((await same.rotate(NOW_MS + 2 * DAY_MS)).payload)).kseq).toBe(3);
        expect(await codeOf(() => DeviceKeys.restore({ ...kept, version: 2 }))).toBe('E_STATE');
    });

    it('takes over what another process of the device made, and never counts back', async () => {
        const other = await DeviceKeys.restore(structuredClone(keys.export()));
        await other.rotate(NOW_MS + DAY_MS);
        const first = await newestKid();
        keys.adopt(other.export(), NOW_MS + DAY_MS);
        expect(keys.newest).toEqual(other.newest);
        expect(keys.prune(NOW_MS + DAY_MS + HOUR_MS, true)).toBe(1);
        expect(keys.holds(first)).toBe(false);
        expect((await parseDeviceKey((await keys.rotate(NOW_MS)).payload)).kseq).toBe(3);
    });

    it('does not bring back to use a key that it replaced itself', async () => {
        const before = structuredClone(keys.export());
        await keys.rotate(NOW_MS + DAY_MS);
        keys.adopt(before, NOW_MS + 2 * DAY_MS);
        expect((await parseDeviceKey(keys.newest.payload)).kseq).toBe(2);
        expect(keys.prune(NOW_MS + DAY_MS + HOUR_MS, true)).toBe(1);
    });
});

describe('a guest', () => {
    it('has one key that a voucher names, and no DeviceKey', async () => {
        const guest = await DeviceKeys.createGuest(NOW_MS + HOUR_MS);
        const agency = await agencyIdOf(keys.identity.public);
        const entry = guest.guestEntry(agency, 1 << MEDIA);
        expect(entry.deviceId).toBe(await deviceIdOf(guest.identity.public));
        expect(entry.guest?.notAfterMs).toBe(NOW_MS + HOUR_MS);
        expect(entry.kid).toBe(await kidOf(entry.guest?.hpkePublic ?? utf8('none')));
        expect(hex(guest.held(entry.kid).pair.public)).toBe(hex(entry.guest?.hpkePublic ?? utf8('none')));
        expect(await codeOf(() => guest.newest)).toBe('E_STATE');
        expect(await codeOf(() => keys.guestEntry(agency, 1 << MEDIA))).toBe('E_STATE');
        const restored = await DeviceKeys.restore(structuredClone(guest.export()));
        expect(restored.guestEntry(agency, 1 << MEDIA)).toEqual(entry);
    });
});
