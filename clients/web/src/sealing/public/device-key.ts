/**
 * DeviceKeys: the HPKE keys to which boxes are sealed, signed by the device, new each day. Spec 04, "Device keys".
 *
 * Payload: `[v=1, device_id, kseq, suite, hpke_pub, not_before, not_after]`, signed by the device's identity as
 * "devkey"; kid = SHA-256(payload)[:8].
 */

import type { DeviceId } from '~/protocol/ids';
import { refuse } from '../errors';
import { lowOrder } from './curve';
import { type Certificate, type Dates, validAt } from './directory';
import { type Bytes, type Hex, asBytes, asId, asList, asUint, decode, encode, unhex } from './encoding';
import { HPKE_PUBLIC_BYTES, kidOf, parseSuite } from './entries';
import { type Signed, verifySigned } from './signed';

export const DEVICE_KEY_LIFETIME_MS = 8 * 86_400_000;
/** How long a replaced key may still be named: its private half is deleted after that. */
export const REPLACED_GRACE_MS = 3_600_000;
/** The kid of a dormant device: it stays in the roster and gets no box. */
export const NO_KID = '0'.repeat(16) as Hex;

export const MAX_DEVICE_KEY_BYTES = 4096;
const KEPT_PER_DEVICE = 16;

/** What a DeviceKey says of itself. */
export interface DeviceKeyFields extends Dates {
    readonly deviceId: DeviceId;
    readonly kseq: number;
    readonly suite: number;
    readonly public: Bytes;
}

/** A parsed DeviceKey. */
export interface DeviceKey extends DeviceKeyFields {
    readonly kid: Hex;
}

/** The payload to sign. */
export function encodeDeviceKey(key: DeviceKeyFields): Bytes {
    const { deviceId, kseq, suite, notBeforeMs, notAfterMs } = key;
    return encode([1, unhex(deviceId), kseq, suite, key.public, notBeforeMs, notAfterMs]);
}

/** The key in `payload`, unverified: `E_ENCODING`, `E_FORMAT`, or `E_DEVKEY` for its dates and its point. */
export async function parseDeviceKey(payload: Bytes): Promise<DeviceKey> {
    const values = asList(decode(payload, { maxBytes: MAX_DEVICE_KEY_BYTES }), 7);
    const [version, device, kseq, suiteValue, publicKey, notBefore, notAfter] = values;
    if (asUint(version) !== 1) refuse('E_FORMAT', 'unknown version');
    const suite = parseSuite(suiteValue);
    const key = {
        deviceId: asId(device) as DeviceId,
        kseq: asUint(kseq),
        suite,
        public: asBytes(publicKey, HPKE_PUBLIC_BYTES.get(suite)),
        notBeforeMs: asUint(notBefore),
        notAfterMs: asUint(notAfter),
    };
    const lifetimeMs = key.notAfterMs - key.notBeforeMs;
    if (lifetimeMs <= 0 || lifetimeMs > DEVICE_KEY_LIFETIME_MS) {
        refuse('E_DEVKEY', 'lifetime over eight days');
    }
    if (lowOrder(key.public)) refuse('E_DEVKEY', 'nobody can seal to this key');
    return { ...key, kid: await kidOf(payload) };
}

/**
 * The DeviceKey, signed by the certified device itself; with `nowMs`, valid now.
 *
 * `E_SIG`, `E_DEVKEY`, `E_ENCODING`, `E_FORMAT`.
 */
export async function verifyDeviceKey(
    signed: Signed,
    certificate: Certificate,
    nowMs: number | null = null,
): Promise<DeviceKey> {
    if (signed.signer !== certificate.deviceId) refuse('E_DEVKEY', "another device's key");
    await verifySigned(signed, certificate.public, 'devkey');
    const key = await parseDeviceKey(signed.payload);
    if (key.deviceId !== certificate.deviceId) refuse('E_DEVKEY', "another device's key");
    if (nowMs !== null && !validAt(key, nowMs)) refuse('E_DEVKEY', 'not valid now');
    return key;
}

/**
 * Verified DeviceKeys by device, newest last; at most 16 are kept for each.
 *
 * Used to choose a key to seal to, and to judge whether a commit named keys that were fresh.
 */
export class DeviceKeyBook {
    readonly #keys = new Map<DeviceId, readonly DeviceKey[]>();

    /**
     * Verifies and remembers a DeviceKey.
     *
     * `E_DEVKEY` when the device already published another key of that kseq or a later one with an older kseq: a
     * server must not bring an old key back. Fails else as `verifyDeviceKey` does.
     */
    async add(signed: Signed, certificate: Certificate): Promise<DeviceKey> {
        const key = await verifyDeviceKey(signed, certificate);
        const kept = this.#of(key.deviceId);
        if (kept.some((other) => other.kid === key.kid)) return key;
        const newest = kept.at(-1);
        if (newest !== undefined && key.kseq <= newest.kseq) refuse('E_DEVKEY', 'older than the key known');
        this.#keys.set(key.deviceId, [...kept, key].slice(-KEPT_PER_DEVICE));
        return key;
    }

    newest(deviceId: DeviceId): DeviceKey | null {
        return this.#of(deviceId).at(-1) ?? null;
    }

    /** The newest key valid at `tsMs`; null: the device is dormant and gets no box. */
    current(deviceId: DeviceId, tsMs: number): DeviceKey | null {
        return this.#of(deviceId).findLast((key) => validAt(key, tsMs)) ?? null;
    }

    /**
     * The key that a commit made at `tsMs` names, if valid then; null for a dormant device.
     *
     * `E_DEVKEY` otherwise; when the key is merely not known here, fetching the device's keys and trying again may
     * help.
     */
    checkNamed(deviceId: DeviceId, kid: Hex, tsMs: number): DeviceKey | null {
        if (kid === NO_KID) return null;
        const named = this.#of(deviceId).find((key) => key.kid === kid);
        if (named === undefined) return refuse('E_DEVKEY', 'no such key of this device');
        if (!validAt(named, tsMs)) refuse('E_DEVKEY', "key not valid at the commit's time");
        return named;
    }

    /**
     * Besides `checkNamed`, that no newer key should have been named; else `E_DEVKEY`.
     *
     * Only who stores commits asks this, having the newest keys: a member that knew a newer key than the committer did
     * would refuse what all others accept. A device with a key out for over an hour is not dormant, so nobody is
     * starved of boxes in silence.
     */
    checkFresh(deviceId: DeviceId, kid: Hex, tsMs: number): void {
        const named = this.checkNamed(deviceId, kid, tsMs);
        for (const key of this.#of(deviceId)) {
            const newer = named === null || key.kseq > named.kseq;
            if (newer && validAt(key, tsMs) && key.notBeforeMs + REPLACED_GRACE_MS < tsMs) {
                refuse('E_DEVKEY', 'a newer key was out for over an hour');
            }
        }
    }

    #of(deviceId: DeviceId): readonly DeviceKey[] {
        return this.#keys.get(deviceId) ?? [];
    }
}
