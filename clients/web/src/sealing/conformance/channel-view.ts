/** A device's view of the channel in the vector file, as each of its devices has it. */

import type { ChannelId } from '~/protocol/ids';
import { SealedChannel } from '../opening/channel';
import type { Delivery } from '../opening/delivery';
import { importHpkeKeyPair } from '../opening/hpke';
import { DeviceKeys } from '../opening/keys';
import { SigningKey } from '../opening/signing-key';
import type { Directories } from '../public/acceptance';
import { decodeBox } from '../public/boxes';
import { parseDeviceKey } from '../public/device-key';
import { Directory } from '../public/directory';
import { type Hex, hex } from '../public/encoding';
import { decodeSigned } from '../public/signed';
import type { ChannelVectors, CommitVector } from './opening-vectors';
import { un } from './vectors';

/** The private keys of a device that the vectors name. */
export async function keysOf(channel: ChannelVectors, name: string): Promise<DeviceKeys> {
    const device = channel.devices[name];
    if (device === undefined) throw new Error(`the vectors have no device ${name}`);
    const keys = await DeviceKeys.of(await SigningKey.fromSeed(un(device.identity_seed)));
    const signed = decodeSigned(un(device.device_key));
    const { kid, suite, kseq, notAfterMs } = await parseDeviceKey(signed.payload);
    const pair = await importHpkeKeyPair(un(device.hpke_private));
    keys.hold({ kid, suite, pair, kseq, notAfterMs, signed, replacedMs: null });
    return keys;
}

export async function directoriesOf(channel: ChannelVectors): Promise<Directories> {
    const directory = await Directory.replay(un(channel.root), channel.entries.map(un));
    return new Map([[directory.agencyId, directory]]);
}

/** What the server would give a device with a commit. */
export function deliveryOf(step: CommitVector, recipient: Hex): Delivery {
    const boxes = step.boxes.map((box) => decodeBox(un(box)));
    const box = boxes.find((b) => b.recipient === recipient) ?? null;
    const hashes = step.box_hashes.map((hash) => hex(un(hash)));
    return { box, boxList: { hashes, signature: un(step.box_list_signature) } };
}

export interface ChannelView {
    readonly channel: SealedChannel;
    readonly keys: DeviceKeys;
    readonly directories: Directories;
}

/** The channel after all its commits; it fails when one of them brings an alarm or other secrets than were written. */
export async function viewOf(vectors: ChannelVectors, name: string, nowMs: number): Promise<ChannelView> {
    const keys = await keysOf(vectors, name);
    const directories = await directoriesOf(vectors);
    const channel = new SealedChannel(hex(un(vectors.channel_id)) as ChannelId, keys.deviceId);
    for (const step of vectors.commits) {
        const delivery = deliveryOf(step, keys.deviceId);
        const signed = decodeSigned(un(step.commit));
        const installed = await channel.processCommit(signed, delivery, keys, directories, { nowMs });
        const { commit, alarm } = installed;
        if (alarm !== null || commit.hash !== step.hash) throw new Error('not the commit of the vectors');
        if (delivery.box !== null && !holds(channel, commit.epoch, step)) throw new Error('other secrets');
    }
    return { channel, keys, directories };
}

function holds(channel: SealedChannel, epoch: number, step: CommitVector): boolean {
    const held = [...channel.secrets(epoch)];
    const written = Object.keys(step.class_secrets).length;
    return held.length === written && held.every(([c, secret]) => step.class_secrets[c] === hex(secret));
}
