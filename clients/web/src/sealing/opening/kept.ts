/**
 * How a channel is kept by a store that encrypts it: one small record for its head, one for each epoch.
 *
 * A channel of thousands of commits is so never one huge blob: what changes is written again, and nothing else. An epoch's
 * record holds its commit, the class secrets held of it, and which of its frames were opened; all of it is secret.
 *
 *     head    [version, channel, device, epoch, commit hash, chain, messages, evidence, heads seen, newest ephemeral]
 *     epoch   [version, channel, epoch, commit, [[class, secret]..], ended_ms, windows]
 *
 * The local form is nobody's but this client's: it is not in the specification.
 */

import type { ChannelId, DeviceId } from '~/protocol/ids';
import { refuse } from '../errors';
import {
    type Bytes,
    type Hex,
    type Value,
    asBytes,
    asId,
    asList,
    asName,
    asUint,
    decode,
    encode,
    unhex,
} from '../public/encoding';
import type { LogHead } from '../public/seen';
import { type Signed, decodeSigned, encodeSigned } from '../public/signed';
import { parseClassSecrets } from './boxes';
import type { ClassSecrets } from './schedule';

const VERSION = 1;
const MAX_RECORD_BYTES = 8 * 1024 * 1024;
const CHAIN_BYTES = 32;

/** `epoch` and `hash` name the newest commit; null before genesis. */
export interface KeptHead {
    readonly channelId: ChannelId;
    readonly deviceId: DeviceId;
    readonly newest: { readonly epoch: number; readonly hash: Hex } | null;
    readonly chain: Bytes | null;
    readonly messages: number;
    readonly evidence: readonly [Signed, Signed] | null;
    readonly seen: readonly LogHead[];
    /** As `ReplayState` wrote it. */
    readonly ephemeral: Value;
}

export interface KeptEpoch {
    readonly channelId: ChannelId;
    readonly epoch: number;
    readonly signed: Signed;
    readonly secrets: ClassSecrets;
    /** When the next commit came; null while it is the newest epoch. */
    readonly endedMs: number | null;
    /** As `ReplayState` wrote them. */
    readonly windows: Value;
}

export function encodeHead(head: KeptHead): Bytes {
    const { newest, evidence } = head;
    return encode([
        VERSION,
        unhex(head.channelId),
        unhex(head.deviceId),
        newest && newest.epoch,
        newest && unhex(newest.hash),
        head.chain,
        head.messages,
        evidence && evidence.map(encodeSigned),
        head.seen.map(({ seq, hash }) => [seq, unhex(hash)]),
        head.ephemeral,
    ]);
}

/** `E_ENCODING` for what is no such record, `E_STATE` for one of another version. */
export function decodeHead(record: Bytes): KeptHead {
    const values = fieldsOf(record, 10);
    const [, channel, device, epoch, hash, chain, messages, evidence, seen, ephemeral] = values;
    return {
        channelId: asId(channel) as ChannelId,
        deviceId: asId(device) as DeviceId,
        newest: epoch === null ? null : { epoch: asUint(epoch), hash: asName(hash, 32) },
        chain: chain === null ? null : asBytes(chain, CHAIN_BYTES),
        messages: asUint(messages),
        evidence: evidence === null ? null : evidenceOf(evidence),
        seen: asList(seen).map((item) => {
            const [seq, value] = asList(item, 2);
            return { seq: asUint(seq), hash: asName(value, 32) };
        }),
        ephemeral: ephemeral ?? null,
    };
}

function evidenceOf(value: Value | undefined): readonly [Signed, Signed] {
    const [one, other] = asList(value, 2);
    return [decodeSigned(asBytes(one)), decodeSigned(asBytes(other))];
}

export function encodeEpoch(kept: KeptEpoch): Bytes {
    const secrets = [...kept.secrets].sort(([a], [b]) => a - b);
    const signed = encodeSigned(kept.signed);
    return encode([VERSION, unhex(kept.channelId), kept.epoch, signed, secrets, kept.endedMs, kept.windows]);
}

/** `E_ENCODING` for what is no such record, `E_STATE` for one of another version. */
export function decodeEpoch(record: Bytes): KeptEpoch {
    const [, channel, epoch, signed, secrets, ended, windows] = fieldsOf(record, 7);
    return {
        channelId: asId(channel) as ChannelId,
        epoch: asUint(epoch),
        signed: decodeSigned(asBytes(signed)),
        secrets: parseClassSecrets(secrets),
        endedMs: ended === null ? null : asUint(ended),
        windows: windows ?? null,
    };
}

function fieldsOf(record: Bytes, arity: number): readonly Value[] {
    const values = asList(decode(record, { maxBytes: MAX_RECORD_BYTES }));
    if (asUint(values[0]) !== VERSION) refuse('E_STATE', 'kept by another version');
    return asList(values, arity);
}
