/**
 * One channel shared with the Python client: opened here what it sealed, and sealed here what it must open.
 *
 * `tests/web/test_sealing_interop.py` gives a channel in the shape of the vectors, in which this browser is the device
 * `browser`, and takes what comes back.
 */

import type { DeviceId } from '~/protocol/ids';
import { type ChannelView, viewOf } from '~/sealing/conformance/channel-view';
import type { ChannelVectors } from '~/sealing/conformance/opening-vectors';
import { un } from '~/sealing/conformance/vectors';
import { type Body, encodeBody } from '~/sealing/opening/body';
import { Committer, type MadeCommit, boxFor } from '~/sealing/opening/committer';
import { makeGrant } from '~/sealing/opening/grants';
import { live } from '~/sealing/public/acceptance';
import { encodeBox, verifyBoxes } from '~/sealing/public/boxes';
import { REASON_PERIODIC } from '~/sealing/public/commit';
import { DeviceKeyBook } from '~/sealing/public/device-key';
import { hex } from '~/sealing/public/encoding';
import { DURABLE, EPHEMERAL } from '~/sealing/public/entries';
import { shortCode } from '~/sealing/public/enrolment';
import { encodeSealedGrant } from '~/sealing/public/grant';
import { decodeSigned, encodeSigned } from '~/sealing/public/signed';
import { type Checks, same } from './report';

export interface Interop {
    readonly now_ms: number;
    readonly channel: ChannelVectors;
    /** Of every device in the roster. */
    readonly device_keys: readonly string[];
    /** The epoch of each, what it says, and in which class; sealed by the device `python`. */
    readonly frames: readonly { readonly frame: string; readonly body: string }[];
    /** What the browser is to say, by class. */
    readonly say: readonly { readonly key_class: number; readonly text: string }[];
    /** To whom the browser grants the epochs that it holds. */
    readonly grant_to: string;
}

/** All in hexadecimal. */
export interface Made {
    readonly commit: string;
    readonly boxes: readonly string[];
    readonly box_list_signature: string;
    readonly frames: readonly { readonly frame: string; readonly body: string; readonly key_class: number }[];
    readonly grant: string;
    /** The device's key of the next day, and the short code over it. */
    readonly device_key: string;
    readonly short_code: string;
}

export async function checkInterop(checks: Checks, given: Interop | null): Promise<Made | null> {
    const group = 'interop with Python';
    if (given === null) {
        checks.skip(group, 'nothing of the other client was given (--interop)');
        return null;
    }
    let view: ChannelView | null = null;
    await checks.check(group, 'its commits and boxes', async () => {
        view = await viewOf(given.channel, 'browser', given.now_ms);
    });
    // TypeScript does not see that the check above ran.
    const opened = view as ChannelView | null;
    if (opened === null) return null;
    for (const [index, { frame, body }] of given.frames.entries()) {
        await checks.check(group, `its frame ${index}`, async () => {
            const { body: found } = await opened.channel.open(un(frame), opened.directories);
            same(hex(encodeBody(found)), body);
        });
    }
    let made: Made | null = null;
    await checks.check(group, 'what it must open', async () => {
        made = await make(given, opened);
    });
    return made;
}

/** The next commit, frames in its epoch, and a grant of what was before it. */
async function make(given: Interop, view: ChannelView): Promise<Made> {
    const { channel, keys, directories } = view;
    const nowMs = given.now_ms;
    const book = new DeviceKeyBook();
    for (const key of given.device_keys.map((data) => decodeSigned(un(data)))) {
        for (const directory of directories.values()) {
            await book.add(key, directory.liveDevice(key.signer as DeviceId));
        }
    }
    const committer = new Committer(keys, directories, book);
    const next = await committer.commit(channel, { reason: REASON_PERIODIC }, nowMs);
    await verifyBoxes(next.commit, next.boxes, next.boxList.signature, keys.identity.public);
    const installed = await process(view, next, nowMs, book);
    same(installed.alarm, null);

    const frames = [];
    for (const [index, { key_class: keyClass, text }] of given.say.entries()) {
        const body: Body = {
            type: 'chat',
            tsMs: nowMs,
            msgId: hex(new Uint8Array(16).fill(index + 1)),
            seen: null,
            data: { text, urgent: keyClass === DURABLE, ephemeral: keyClass === EPHEMERAL },
        };
        const frame = hex(await channel.seal(body, keys, directories, { nowMs, keyClass }));
        frames.push({ frame, body: hex(encodeBody(body)), key_class: keyClass });
    }
    const grant = await makeGrant(channel, keys, {
        to: hex(un(given.grant_to)),
        epochs: channel.epochsHeld(),
        classMask: 1 << DURABLE,
        directories,
        deviceKeys: book,
        nowMs,
    });
    const rotated = await keys.rotate(nowMs);
    return {
        commit: hex(encodeSigned(next.commit.signed)),
        boxes: next.boxes.map((box) => hex(encodeBox(box))),
        box_list_signature: hex(next.boxList.signature),
        frames,
        grant: hex(encodeSealedGrant(grant)),
        device_key: hex(encodeSigned(rotated)),
        short_code: await shortCode(keys.identity.public, rotated.payload),
    };
}

function process(view: ChannelView, made: MadeCommit, nowMs: number, book: DeviceKeyBook) {
    const { channel, keys, directories } = view;
    const delivery = { box: boxFor(made, keys.deviceId), boxList: made.boxList };
    const options = { nowMs, receipt: live(nowMs, book) };
    return channel.processCommit(made.commit.signed, delivery, keys, directories, options);
}
