/**
 * Giving a member earlier context, and taking it. Spec 04, "History grants".
 *
 * The receiver checks every secret against the commitment signed at the time, so history cannot be made up.
 */

import { refuse } from '../errors';
import { type Directories, REPLAY, type Receipt, live } from '../public/acceptance';
import type { Commit } from '../public/commit';
import type { DeviceKeyBook } from '../public/device-key';
import {
    type Bytes,
    type Hex,
    PREFIX,
    asList,
    asUint,
    decode,
    encode,
    pae,
    unhex,
    utf8,
} from '../public/encoding';
import { type Grant, MAX_GRANT_BYTES, type SealedGrant, encodeGrant, verifyGrant } from '../public/grant';
import { classFields, classesOf, holdsExactly, parseClassSecrets } from './boxes';
import type { SealedChannel } from './channel';
import { hpkeOpen, hpkeSeal } from './hpke';
import type { DeviceKeys, HeldKey } from './keys';
import type { ClassSecrets } from './schedule';

/** To whom a grant is sealed. */
interface Receiver {
    readonly kid: Hex;
    readonly public: Bytes;
}

export interface GrantPlan {
    /** A device of the roster, or a records id. */
    readonly to: Hex;
    readonly epochs: readonly number[];
    readonly classMask: number;
    readonly directories: Directories;
    readonly deviceKeys: DeviceKeyBook;
    readonly nowMs: number;
}

export function grantInfo(grantHash: Hex, to: Hex, kid: Hex): Bytes {
    return pae(utf8(`${PREFIX}grantbox`), unhex(grantHash), unhex(to), unhex(kid));
}

/**
 * Give a roster device (or a records key) the secrets of the named epochs, no others.
 *
 * Refuses with `E_GRANT` (not in the roster, or more than it may see), `E_AUTHZ` (may not grant), `E_NO_KEY` (a secret
 * not held here), `E_DEVKEY` (the receiver is dormant), `E_REVOKED`. Post the result; it is kept, so who was given what
 * can be audited.
 */
export async function makeGrant(
    channel: SealedChannel,
    keys: DeviceKeys,
    { to, epochs, classMask, directories, deviceKeys, nowMs }: GrantPlan,
): Promise<SealedGrant> {
    const { head } = channel;
    const receiver = receiverOf(head, to, directories, deviceKeys, nowMs);
    const given = [...new Set(epochs)].sort((a, b) => a - b);
    const held = given.map((epoch) => [epoch, channel.secrets(epoch)] as const);
    const tsMs = Math.max(nowMs, head.tsMs);
    const payload = encodeGrant({
        channelId: channel.channelId,
        epoch: head.epoch,
        headHash: head.hash,
        to,
        kid: receiver.kid,
        epochs: given,
        classMask,
        tsMs,
    });
    const signed = await keys.identity.sign('grant', keys.deviceId, payload);
    const grant = await verifyGrant(channel.line, signed, directories, live(tsMs));
    const content = encode(held.map(([epoch, secrets]) => [epoch, classFields(secrets, classMask)]));
    const info = grantInfo(grant.hash, to, receiver.kid);
    return { signed, suite: head.suite, box: await hpkeSeal(head.suite, receiver.public, info, content) };
}

function receiverOf(
    head: Commit,
    to: Hex,
    directories: Directories,
    deviceKeys: DeviceKeyBook,
    nowMs: number,
): Receiver {
    const record = head.records.find(({ recordsId }) => recordsId === to);
    const key = record && directories.get(record.agencyId)?.recordsKey(record.recordsId);
    if (record !== undefined && key != null) return { kid: record.kid, public: key.public };
    const entry = head.roster.find(({ deviceId }) => deviceId === to);
    if (entry === undefined) return refuse('E_GRANT', 'receiver not in the signed roster');
    if (entry.guest !== null) return { kid: entry.kid, public: entry.guest.hpkePublic };
    return deviceKeys.current(entry.deviceId, nowMs) ?? refuse('E_DEVKEY', 'receiver has no valid DeviceKey');
}

/**
 * Take the secrets of a grant to this device; the epochs given. All of them or none.
 *
 * Refuses as `verifyGrant` does, and with `E_GRANT` (to another device, or content that is not what the grant says),
 * `E_NO_KEY`, `E_BOX`, `E_UNKNOWN_EPOCH`, `E_COMMITMENT`.
 */
export async function acceptGrant(
    channel: SealedChannel,
    sealed: SealedGrant,
    keys: DeviceKeys,
    directories: Directories,
    receipt: Receipt = REPLAY,
): Promise<readonly number[]> {
    const grant = await verifyGrant(channel.line, sealed.signed, directories, receipt);
    if (grant.to !== channel.deviceId) refuse('E_GRANT', 'to another device');
    await channel.addSecrets(await openGrant(grant, sealed, keys.held(grant.kid)));
    return grant.epochs;
}

/** The secrets in a verified grant's box, by epoch; not yet held against commitments. */
export async function openGrant(
    grant: Grant,
    sealed: SealedGrant,
    key: HeldKey,
): Promise<ReadonlyMap<number, ClassSecrets>> {
    const info = grantInfo(grant.hash, grant.to, grant.kid);
    const plaintext = await hpkeOpen(sealed.suite, key.pair, info, sealed.box);
    const secrets = parseEpochSecrets(plaintext, MAX_GRANT_BYTES);
    if (!namesExactly(secrets, grant.epochs) || !eachHolds(secrets, grant.classMask)) {
        refuse('E_GRANT', 'other epochs or classes than the grant says');
    }
    return secrets;
}

/** `[[epoch, [[class, secret]..]]..]`, as grants and archives hold it, in its order; `E_ENCODING`. */
export function parseEpochSecrets(data: Bytes, maxBytes: number): ReadonlyMap<number, ClassSecrets> {
    const secrets = new Map<number, ClassSecrets>();
    for (const item of decode(data, { maxBytes })) {
        const [epoch, held] = asList(item, 2);
        secrets.set(asUint(epoch), parseClassSecrets(held));
    }
    return secrets;
}

/** Whether these are the secrets of exactly those epochs, in that order. */
export function namesExactly(secrets: ReadonlyMap<number, unknown>, epochs: readonly number[]): boolean {
    const found = [...secrets.keys()];
    return found.length === epochs.length && found.every((epoch, at) => epoch === epochs[at]);
}

/** Whether each epoch has exactly the classes of the mask. */
export function eachHolds(secrets: ReadonlyMap<number, ClassSecrets>, classMask: number): boolean {
    return [...secrets.values()].every((held) => holdsExactly(held, classesOf(classMask)));
}
