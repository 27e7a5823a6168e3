import { beforeAll, describe, expect, it } from 'vitest';
import type { AgencyId, MemberId } from '~/protocol/ids';
import { codeOf } from '../conformance/vectors';
import {
    DEVICE_KEY_LIFETIME_MS,
    type DeviceKeyFields,
    DeviceKeyBook,
    NO_KID,
    REPLACED_GRACE_MS,
    encodeDeviceKey,
    parseDeviceKey,
    verifyDeviceKey,
} from './device-key';
import type { Certificate } from './directory';
import { type Bytes, type Hex, encode, unhex } from './encoding';
import { deviceIdOf } from './entries';
import { type Signed, signingInput } from './signed';

const NOW_MS = 1_795_000_000_000;
const DAY_MS = 86_400_000;
let keys: CryptoKeyPair;
let certificate: Certificate;

beforeAll(async () => {
    keys = await crypto.subtle.generateKey('Ed25519', false, ['sign', 'verify']);
    const publicKey = new Uint8Array(await crypto.subtle.exportKey('raw', keys.publicKey));
    certificate = {
        agencyId: 'a'.repeat(32) as AgencyId,
        deviceId: await deviceIdOf(publicKey),
        public: publicKey,
        memberId: 'b'.repeat(32) as MemberId,
        role: 'responder',
        compartments: 1,
        caps: 1,
        notBeforeMs: 0,
        notAfterMs: NOW_MS * 2,
        seq: 1,
        revokedSeq: null,
    };
});

function fields(changes: Partial<DeviceKeyFields> = {}): DeviceKeyFields {
    return {
        deviceId: certificate.deviceId,
        kseq: 1,
        suite: 1,
        public: new Uint8Array(32).fill(9),
        notBeforeMs: NOW_MS,
        notAfterMs: NOW_MS + DAY_MS,
        ...changes,
    };
}

async function sign(payload: Bytes): Promise<Signed> {
    const input = signingInput('devkey', certificate.deviceId, payload);
    const signature = new Uint8Array(await crypto.subtle.sign('Ed25519', keys.privateKey, input));
    return { payload, signer: certificate.deviceId, signature };
}

const key = (changes: Partial<DeviceKeyFields> = {}): Promise<Signed> =>
    sign(encodeDeviceKey(fields(changes)));

describe('a DeviceKey', () => {
    it('is read as it was written', async () => {
        const parsed = await verifyDeviceKey(await key(), certificate, NOW_MS);
        const { kid, ...rest } = parsed;
        expect(rest).toEqual(fields());
        expect(kid).toMatch(/^[0-9a-f]{16}$/);
    });

    const lowOrder = new Uint8Array(32);
    const refused: [string, string, Partial<DeviceKeyFields>][] = [
        ['a lifetime over eight days', 'E_DEVKEY', { notAfterMs: NOW_MS + DEVICE_KEY_LIFETIME_MS + 1 }],
        ['no lifetime', 'E_DEVKEY', { notAfterMs: NOW_MS }],
        ['a point of low order', 'E_DEVKEY', { public: lowOrder }],
        ['a suite not spoken', 'E_FORMAT', { suite: 2 }],
        ['a key of another length', 'E_ENCODING', { public: new Uint8Array(33) }],
    ];
    it.each(refused)('is refused for %s', async (_name, code, changes) => {
        const signed = await key(changes);
        expect(await codeOf(() => verifyDeviceKey(signed, certificate))).toBe(code);
    });

    it('holds for eight days and not a millisecond longer', async () => {
        const notAfterMs = NOW_MS + DEVICE_KEY_LIFETIME_MS;
        expect((await parseDeviceKey(encodeDeviceKey(fields({ notAfterMs })))).notAfterMs).toBe(notAfterMs);
    });

    it("is no other device's, nor another version's", async () => {
        const other = '3'.repeat(32) as Certificate['deviceId'];
        const signed = await key({ deviceId: other });
        expect(await codeOf(() => verifyDeviceKey(signed, certificate))).toBe('E_DEVKEY');
        const foreign = { ...(await key()), signer: other };
        expect(await codeOf(() => verifyDeviceKey(foreign, certificate))).toBe('E_DEVKEY');
        const payload = encode([2, unhex(other), 1, 1, new Uint8Array(32).fill(9), 1, 2]);
        expect(await codeOf(() => parseDeviceKey(payload))).toBe('E_FORMAT');
    });

    it('must be signed by the device, and valid now where that is asked', async () => {
        const signed = await key();
        const unsigned = { ...signed, signature: new Uint8Array(64) };
        expect(await codeOf(() => verifyDeviceKey(unsigned, certificate))).toBe('E_SIG');
        expect(await codeOf(() => verifyDeviceKey(signed, certificate, NOW_MS - 1))).toBe('E_DEVKEY');
        expect(await codeOf(() => verifyDeviceKey(signed, certificate, NOW_MS + DAY_MS + 1))).toBe(
            'E_DEVKEY',
        );
    });
});

describe('the book of keys', () => {
    it('keeps the newest, and takes no older one back', async () => {
        const book = new DeviceKeyBook();
        const first = await key({ kseq: 1 });
        await book.add(first, certificate);
        const second = await book.add(await key({ kseq: 2, notBeforeMs: NOW_MS + 1 }), certificate);
        expect(await book.add(first, certificate)).toMatchObject({ kseq: 1 });
        const another = await key({ kseq: 2, notBeforeMs: NOW_MS + 2 });
        expect(await codeOf(() => book.add(another, certificate))).toBe('E_DEVKEY');
        expect(book.newest(certificate.deviceId)).toEqual(second);
        expect(book.current(certificate.deviceId, NOW_MS)).toMatchObject({ kseq: 1 });
        expect(book.current(certificate.deviceId, NOW_MS - 1)).toBeNull();
    });

    it('judges what a commit names', async () => {
        const book = new DeviceKeyBook();
        const { deviceId } = certificate;
        const old = await book.add(await key({ kseq: 1 }), certificate);
        expect(book.checkNamed(deviceId, old.kid, NOW_MS)).toEqual(old);
        expect(book.checkNamed(deviceId, NO_KID, NOW_MS)).toBeNull();
        const attempts: [Hex, number][] = [
            [old.kid, NOW_MS + DAY_MS + 1],
            ['12'.repeat(8) as Hex, NOW_MS],
        ];
        for (const [kid, tsMs] of attempts) {
            expect(await codeOf(() => book.checkNamed(deviceId, kid, tsMs))).toBe('E_DEVKEY');
        }
        await book.add(await key({ kseq: 2, notBeforeMs: NOW_MS + 1 }), certificate);
        const hourOut = NOW_MS + 1 + REPLACED_GRACE_MS;
        expect(await codeOf(() => book.checkFresh(deviceId, old.kid, hourOut))).toBeNull();
        for (const kid of [old.kid, NO_KID]) {
            expect(await codeOf(() => book.checkFresh(deviceId, kid, hourOut + 1))).toBe('E_DEVKEY');
        }
    });

    it('keeps sixteen keys of a device', async () => {
        const book = new DeviceKeyBook();
        const added = [];
        for (let kseq = 1; kseq <= 17; kseq++) added.push(await book.add(await key({ kseq }), certificate));
        const [oldest, second] = added;
        if (oldest === undefined || second === undefined) throw new Error('no keys');
        const { deviceId } = certificate;
        expect(await codeOf(() => book.checkNamed(deviceId, oldest.kid, NOW_MS))).toBe('E_DEVKEY');
        expect(book.checkNamed(deviceId, second.kid, NOW_MS)).toEqual(second);
    });
});
