/**
 * From an epoch's random bytes to the keys of its classes and senders. Spec 04, "Key schedule".
 */

import { refuse } from '../errors';
import type { Commit } from '../public/commit';
import { type Bytes, type Hex, ZERO32, hex, kdf, u64, unhex } from '../public/encoding';
import { CLASSES } from '../public/entries';
import { aesKey } from './aes';

export const SECRET_BYTES = 32;
const SENDER_KEY_BYTES = 32;
const SENDER_SALT_BYTES = 12;

/** Class (1 durable, 2 ephemeral, 3 media) to its 32-byte secret. */
export type ClassSecrets = ReadonlyMap<number, Bytes>;

/** What an epoch secret gives. The epoch secret itself is not kept. */
export interface EpochKeys {
    readonly classes: ClassSecrets;
    readonly chain: Bytes;
}

/** A new epoch's secret. Mixing in the chain is only a hedge against one bad source of randomness. */
export function epochSecret(
    fresh: Bytes,
    chain: Bytes | null,
    channelId: Hex,
    epoch: number,
    prevHash: Hex,
): Promise<Bytes> {
    return kdf(fresh, 'epoch', [chain ?? unhex(ZERO32), unhex(channelId), u64(epoch), unhex(prevHash)]);
}

export async function epochKeys(
    secret: Bytes,
    channelId: Hex,
    epoch: number,
    prevHash: Hex,
): Promise<EpochKeys> {
    const context = [unhex(channelId), u64(epoch), unhex(prevHash)];
    const classes = new Map<number, Bytes>();
    for (const keyClass of CLASSES) {
        classes.set(keyClass, await kdf(secret, 'class', [Uint8Array.of(keyClass), ...context]));
    }
    return { classes, chain: await kdf(secret, 'chain', context) };
}

/** What the committer signs of a class secret, so that all members hold the same one. */
export async function commitmentOf(
    secret: Bytes,
    keyClass: number,
    channelId: Hex,
    epoch: number,
): Promise<Hex> {
    return hex(await kdf(secret, 'commitment', [Uint8Array.of(keyClass), unhex(channelId), u64(epoch)]));
}

/** That each secret is the one signed for its class; else `E_COMMITMENT`. */
export async function checkCommitments(commit: Commit, secrets: ClassSecrets): Promise<void> {
    for (const [keyClass, secret] of secrets) {
        const found = await commitmentOf(secret, keyClass, commit.channelId, commit.epoch);
        if (found !== commit.commitments[keyClass - 1]) {
            refuse('E_COMMITMENT', 'not the secret that was signed');
        }
    }
}

/** The AES-256-GCM key and the 12-byte salt of one sender instance. */
export interface SenderKey {
    readonly key: CryptoKey;
    readonly salt: Bytes;
}

export async function senderKey(
    classSecret: Bytes,
    commitHash: Hex,
    deviceId: Hex,
    sid: Hex,
    keyClass: number,
): Promise<SenderKey> {
    const context = [unhex(commitHash), unhex(deviceId), unhex(sid), Uint8Array.of(keyClass)];
    const out = await kdf(classSecret, 'sender', context, SENDER_KEY_BYTES + SENDER_SALT_BYTES);
    return { key: await aesKey(out.slice(0, SENDER_KEY_BYTES)), salt: out.slice(SENDER_KEY_BYTES) };
}
