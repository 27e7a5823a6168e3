import { beforeEach, describe, expect, it } from 'vitest';
import type { DeviceId } from '~/protocol/ids';
import { MediaKind } from '~/protocol/video';
import { FRAME_BYTES, isSealed } from '~/protocol/video-frames';
import { type Bytes, type Hex, utf8 } from '../public/encoding';
import { DUPLICATE_MS, mediaEpoch } from './media';
import {
    ALARM_WINDOW_MS,
    CallKeys,
    FrameOpener,
    FrameSealer,
    type FrameTrouble,
    HANDOVER_MS,
    KEY_FRAME_EVERY_MS,
    type KeyedEpoch,
    SWITCH_MS,
} from './media-frames';

const CALL = '0c'.repeat(16) as Hex;
const [ANA, BEN] = ['0a'.repeat(16) as DeviceId, '0b'.repeat(16) as DeviceId];
const { audio: AUDIO, video: VIDEO } = MediaKind;
const KEY_PICTURE = Uint8Array.of(0x10, 2, 0, 0x9d, 1, 0x2a, 0x80, 2, 0x68, 1, 7, 7);
const CHANGE = Uint8Array.of(0x11, 2, 0, 7, 7);
const SOUND = utf8('sound of a second');

let ana: CallKeys;
let ben: CallKeys;
let sealer: FrameSealer;
let opener: FrameOpener;
let alarms: FrameTrouble[];

/** An epoch of both, with this device at its place. */
async function epoch(number: number, index: number | null, secret = number): Promise<KeyedEpoch> {
    const commit = {
        epoch: number,
        hash: `${number}`.repeat(64) as Hex,
        roster: [{ deviceId: ANA }, { deviceId: BEN }],
    };
    return { media: await mediaEpoch(new Uint8Array(32).fill(secret), commit, CALL), index };
}

async function begin(number: number, nowMs: number): Promise<void> {
    ana.take(await epoch(number, 0), nowMs);
    ben.take(await epoch(number, 1), nowMs);
}

async function sealed(nowMs: number): Promise<Bytes> {
    const frame = await sealer.seal(SOUND, nowMs);
    if (frame === null) throw new Error('there is a key');
    return frame;
}

beforeEach(() => {
    [ana, ben, alarms] = [new CallKeys(), new CallKeys(), []];
    sealer = new FrameSealer(ana, AUDIO);
    opener = new FrameOpener(ben, AUDIO, (trouble) => alarms.push(trouble));
    opener.place(ANA, -HANDOVER_MS);
});

describe('what goes out', () => {
    it('is nothing before there is a key, nor for who is not in the roster', async () => {
        expect(await sealer.seal(SOUND, 0)).toBeNull();
        ana.take(await epoch(1, null), 0);
        expect(await sealer.seal(SOUND, 0)).toBeNull();
    });

    it('is sealed, and nothing that no receiver would take', async () => {
        await begin(1, 0);
        const frame = await sealed(0);
        expect(isSealed(frame)).toBe(true);
        expect(await opener.open(frame, 0)).toEqual(SOUND);
        expect(await sealer.seal(new Uint8Array(FRAME_BYTES), 0)).toBeNull();
    });

    it('is sealed in order, however many are under way', async () => {
        await begin(1, 0);
        const frames = await Promise.all(Array.from({ length: 50 }, () => sealed(0)));
        const opened = await Promise.all(frames.map((frame) => opener.open(frame, 0)));
        expect(opened.every((frame) => frame !== null)).toBe(true);
        expect(new Set(frames.map((frame) => frame.join())).size).toBe(50);
    });

    it('goes over to a new epoch a moment after its keys came, once the others have theirs', async () => {
        await begin(1, 0);
        ana.take(await epoch(2, 0), 10_000);
        // The other's keys are under way: what is sent meanwhile opens.
        expect(await opener.open(await sealed(10_000 + SWITCH_MS - 1), 10_000)).toEqual(SOUND);
        const young = await sealed(10_000 + SWITCH_MS);
        expect(await opener.open(young, 10_000 + SWITCH_MS)).toBeNull();
        ben.take(await epoch(2, 1), 10_000 + SWITCH_MS);
        expect(await opener.open(young, 10_000 + SWITCH_MS)).toEqual(SOUND);
        expect(alarms).toEqual([]);
    });

    it('does not go back to an epoch that came late', async () => {
        await begin(2, 0);
        ana.take(await epoch(1, 0), 1);
        expect(await opener.open(await sealed(SWITCH_MS), SWITCH_MS)).toEqual(SOUND);
    });
});

describe('what comes in', () => {
    it('is nothing where nobody has the place', async () => {
        await begin(1, 0);
        opener.place(null, 0);
        expect(await opener.open(await sealed(0), 0)).toBeNull();
    });

    it('that no key opens is told at the third within ten seconds', async () => {
        await begin(1, 0);
        ben = new CallKeys();
        opener = new FrameOpener(ben, AUDIO, (trouble) => alarms.push(trouble));
        opener.place(ANA, 0);
        ben.take(await epoch(1, 1, 99), 0);
        for (const nowMs of [0, 6_000, ALARM_WINDOW_MS + 1])
            expect(await opener.open(await sealed(nowMs), nowMs)).toBeNull();
        expect(alarms).toEqual([]);
        expect(await opener.open(await sealed(11_000), 11_000)).toBeNull();
        expect(alarms).toEqual(['unopened']);
    });

    it('that is plain is dropped as well', async () => {
        await begin(1, 0);
        for (let n = 0; n < 3; n += 1) expect(await opener.open(SOUND, n)).toBeNull();
        expect(alarms).toEqual(['unopened']);
    });

    it('that was there long ago is told', async () => {
        await begin(1, 0);
        const frame = await sealed(0);
        expect(await opener.open(frame, 0)).toEqual(SOUND);
        const laterMs = 3 * DUPLICATE_MS;
        for (let n = 0; n < 3; n += 1) expect(await opener.open(frame, laterMs + n)).toBeNull();
        expect(alarms).toEqual(['replayed']);
    });

    it('that was repaired or doubled on its way is shown once, and nobody is alarmed', async () => {
        await begin(1, 0);
        const frames: Bytes[] = [];
        for (let ms = 0; ms < 20_000; ms += 20) {
            const frame = await sealed(ms);
            expect(await opener.open(frame, ms)).toEqual(SOUND);
            frames.push(frame);
            // The newest, and one of almost two seconds ago.
            for (const again of [frames.at(-1), frames.at(-DUPLICATE_MS / 20)])
                if (again !== undefined) expect(await opener.open(again, ms)).toBeNull();
        }
        expect(alarms).toEqual([]);
    });

    it('wants a key frame where a picture misses one, and not for what came twice', async () => {
        await begin(1, 0);
        const pictures = new FrameSealer(ana, VIDEO);
        opener = new FrameOpener(ben, VIDEO, (trouble) => alarms.push(trouble));
        opener.place(ANA, -HANDOVER_MS);
        const send = async (picture: Bytes): Promise<Bytes> => {
            const frame = await pictures.seal(picture, 0);
            if (frame === null) throw new Error('there is a key');
            return frame;
        };
        const key = await send(KEY_PICTURE);
        expect(await opener.open(key, 0)).toEqual(KEY_PICTURE);
        expect(await opener.open(key, 0)).toBeNull();
        expect(await opener.open(await send(CHANGE), 0)).toEqual(CHANGE);
        expect(opener.wantsKey(0)).toBe(false);
        expect(await opener.open(CHANGE, 100)).toBeNull();
        expect(await opener.open(await send(CHANGE), 100)).toEqual(CHANGE);
        expect([100, 101, 99 + KEY_FRAME_EVERY_MS].map((ms) => opener.wantsKey(ms))).toEqual([
            true,
            false,
            false,
        ]);
        expect(opener.wantsKey(100 + KEY_FRAME_EVERY_MS)).toBe(true);
        await opener.open(await send(KEY_PICTURE), 700);
        expect(opener.wantsKey(10_000)).toBe(false);
    });

    it('of another than who has the place is told, but not what was under way when it changed hands', async () => {
        await begin(1, 0);
        opener.place(BEN, 0);
        for (let n = 0; n < 3; n += 1) expect(await opener.open(await sealed(n), HANDOVER_MS - 1)).toBeNull();
        expect(alarms).toEqual([]);
        for (let n = 0; n < 3; n += 1) expect(await opener.open(await sealed(n), HANDOVER_MS)).toBeNull();
        expect(alarms).toEqual(['swapped']);
    });
});
