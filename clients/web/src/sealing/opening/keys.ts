/**
 * A device's private keys: its identity, and the HPKE keys that change daily.
 *
 * Owned by one caller. `export()` gives plain data with WebCrypto's keys inside, which IndexedDB keeps by structured
 * clone; their bytes are seen by nobody.  Spec 04, "Keys".
 */

import type { AgencyId, DeviceId } from '~/protocol/ids';
import { refuse } from '../errors';
import type { Guest, RosterEntry } from '../public/commit';
import { DEVICE_KEY_LIFETIME_MS, REPLACED_GRACE_MS, encodeDeviceKey } from '../public/device-key';
import type { Bytes, Hex } from '../public/encoding';
import { enrolmentInput } from '../public/enrolment';
import { SUITE_X25519, deviceIdOf, kidOf } from '../public/entries';
import type { Signed } from '../public/signed';
import { type HpkeKeyPair, generateHpkeKeyPair } from './hpke';
import { SigningKey, type SigningKeyRecord } from './signing-key';

export const ROTATION_MS = 86_400_000;
/** A DeviceKey is valid from a little before it was made: clocks differ. */
const CLOCK_SLACK_MS = 600_000;
const EXPORT_VERSION = 1;

/** One HPKE private key. `signed` is null for a guest's, which the roster carries. */
export interface HeldKey {
    readonly kid: Hex;
    readonly suite: number;
    readonly pair: HpkeKeyPair;
    readonly kseq: number;
    readonly notAfterMs: number;
    readonly signed: Signed | null;
    readonly replacedMs: number | null;
}

/** All private keys of a device as a store keeps them, by structured clone. */
export interface DeviceKeysRecord {
    readonly version: number;
    readonly identity: SigningKeyRecord;
    readonly kseq: number;
    readonly held: readonly HeldKey[];
}

/** A device's (or guest's) identity and its HPKE keys. */
export class DeviceKeys {
    readonly identity: SigningKey;
    readonly deviceId: DeviceId;
    /** By kid. */
    readonly #held = new Map<string, HeldKey>();
    #kseq = 0;
    #rotating: Promise<Signed> | null = null;

    private constructor(identity: SigningKey, deviceId: DeviceId) {
        this.identity = identity;
        this.deviceId = deviceId;
    }

    /** A device that has an identity and no HPKE key yet. */
    static async of(identity: SigningKey): Promise<DeviceKeys> {
        return new DeviceKeys(identity, await deviceIdOf(identity.public));
    }

    /** A new device with its first DeviceKey, which `newest` gives for publishing. `extractable`: see `SigningKey.create`. */
    static async create(nowMs: number, extractable = false): Promise<DeviceKeys> {
        const keys = await DeviceKeys.of(await SigningKey.create(extractable));
        await keys.rotate(nowMs, extractable);
        return keys;
    }

    /** A guest's keys: one HPKE key, named by its public half, vouched for in a commit. */
    static async createGuest(notAfterMs: number): Promise<DeviceKeys> {
        const keys = await DeviceKeys.of(await SigningKey.create());
        const pair = await generateHpkeKeyPair();
        const kid = await kidOf(pair.public);
        keys.hold({ kid, suite: SUITE_X25519, pair, kseq: 0, notAfterMs, signed: null, replacedMs: null });
        return keys;
    }

    /**
     * A new DeviceKey (due daily). Store `export()`, then publish it, before the first box is sealed to it.
     *
     * Two calls at once make one key.
     */
    async rotate(nowMs: number, extractable = false): Promise<Signed> {
        this.#rotating ??= this.#rotate(nowMs, extractable).finally(() => (this.#rotating = null));
        return this.#rotating;
    }

    async #rotate(nowMs: number, extractable: boolean): Promise<Signed> {
        const kseq = this.#kseq + 1;
        const pair = await generateHpkeKeyPair(extractable);
        const notBeforeMs = nowMs - CLOCK_SLACK_MS;
        const notAfterMs = notBeforeMs + DEVICE_KEY_LIFETIME_MS;
        const payload = encodeDeviceKey({
            deviceId: this.deviceId,
            kseq,
            suite: SUITE_X25519,
            public: pair.public,
            notBeforeMs,
            notAfterMs,
        });
        const signed = await this.identity.sign('devkey', this.deviceId, payload);
        const kid = await kidOf(payload);
        this.#kseq = Math.max(kseq, this.#kseq);
        this.#replaceAll(nowMs);
        this.hold({ kid, suite: SUITE_X25519, pair, kseq, notAfterMs, signed, replacedMs: null });
        return signed;
    }

    #replaceAll(nowMs: number, except?: HeldKey): void {
        for (const [kid, held] of this.#held) {
            if (held !== except && held.replacedMs === null && held.signed !== null) {
                this.#held.set(kid, { ...held, replacedMs: nowMs });
            }
        }
    }

    /** Take in one private key that was made elsewhere. */
    hold(key: HeldKey): void {
        this.#held.set(key.kid, key);
        this.#kseq = Math.max(this.#kseq, key.kseq);
    }

    /**
     * Whether the newest DeviceKey is a day old, or begins later than now.
     *
     * The latter when a clock ran ahead for a while: nobody could seal to it until that day comes.
     */
    rotationDue(nowMs: number): boolean {
        const newest = this.#newest();
        if (newest === undefined) return true;
        const beginsMs = newest.notAfterMs - DEVICE_KEY_LIFETIME_MS;
        return nowMs < beginsMs || nowMs >= beginsMs + ROTATION_MS;
    }

    /**
     * Take over the HPKE keys that another process of this device made since, as `export` kept them.
     *
     * Two that rotate each on their own would publish one key and keep the private half of another.
     */
    adopt(kept: DeviceKeysRecord, nowMs: number): void {
        for (const held of kept.held) {
            const known = this.#held.get(held.kid);
            if (known?.replacedMs == null) this.#held.set(held.kid, held);
        }
        this.#kseq = Math.max(this.#kseq, kept.kseq);
        this.#replaceAll(nowMs, this.#newest());
    }

    /** Delete keys replaced over an hour ago, once no box for them is left to fetch; how many. */
    prune(nowMs: number, boxesFetched: boolean): number {
        if (!boxesFetched) return 0;
        let gone = 0;
        for (const [kid, held] of this.#held) {
            if (held.replacedMs === null || held.replacedMs + REPLACED_GRACE_MS > nowMs) continue;
            this.#held.delete(kid);
            gone++;
        }
        return gone;
    }

    #newest(): HeldKey | undefined {
        let newest: HeldKey | undefined;
        for (const held of this.#held.values()) {
            if (newest === undefined || held.kseq > newest.kseq) newest = held;
        }
        return newest;
    }

    /** The signed DeviceKey to publish; `E_STATE` for a guest. */
    get newest(): Signed {
        return this.#newest()?.signed ?? refuse('E_STATE', 'no DeviceKey');
    }

    /** The private key of that kid; `E_NO_KEY` when deleted or never held. */
    held(kid: Hex): HeldKey {
        return this.#held.get(kid) ?? refuse('E_NO_KEY', 'no such private key');
    }

    holds(kid: Hex): boolean {
        return this.#held.has(kid);
    }

    /** The roster entry that a voucher puts into a commit for these guest keys; `E_STATE` for a device's. */
    guestEntry(agencyId: AgencyId, classMask: number): RosterEntry {
        return {
            deviceId: this.deviceId,
            agencyId,
            kid: this.#guest().kid,
            classMask,
            guest: this.guestPublic(),
        };
    }

    /** What a guest shows of its keys; `E_STATE` for a device's. */
    guestPublic(): Guest {
        const { pair, notAfterMs } = this.#guest();
        return { public: this.identity.public, hpkePublic: pair.public, notAfterMs };
    }

    #guest(): HeldKey {
        for (const held of this.#held.values()) if (held.signed === null) return held;
        return refuse('E_STATE', 'not a guest');
    }

    /** 64 bytes: that this device holds its identity key (`verifyEnrolment`). */
    async enrolmentProof(code: string): Promise<Bytes> {
        return this.identity.signRaw(enrolmentInput(code, this.identity.public));
    }

    /** All private keys, for IndexedDB: plain data that structured clone copies. */
    export(): DeviceKeysRecord {
        return {
            version: EXPORT_VERSION,
            identity: this.identity.export(),
            kseq: this.#kseq,
            held: [...this.#held.values()],
        };
    }

    /** What `export` gave; `E_STATE` when it is of another version. */
    static async restore(record: DeviceKeysRecord): Promise<DeviceKeys> {
        if (record.version !== EXPORT_VERSION) refuse('E_STATE', 'unknown export version');
        const keys = await DeviceKeys.of(SigningKey.restore(record.identity));
        for (const held of record.held) keys.hold(held);
        keys.#kseq = Math.max(keys.#kseq, record.kseq);
        return keys;
    }
}
