import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { FakeStream, FakeTrack } from '~/testing/call-media';
import { levelOf, openOwnMedia } from './own-media';

/** What the device has, and what the browser says of the rest. */
let camera: string | null;
let microphone: string | null;
let cameras: number;
let asked: MediaStreamConstraints[];

const devices = {
    getUserMedia(wanted: MediaStreamConstraints): Promise<unknown> {
        asked.push(wanted);
        const trouble = (wanted.audio ? microphone : null) ?? (wanted.video ? camera : null);
        if (trouble !== null) return Promise.reject(new DOMException('no', trouble));
        const tracks = [wanted.audio && 'audio', wanted.video && 'video'] as const;
        return Promise.resolve(new FakeStream(tracks.flatMap((kind) => (kind ? [new FakeTrack(kind)] : []))));
    },
    enumerateDevices(): Promise<readonly { kind: string }[]> {
        const found = [
            { kind: 'audioinput' },
            ...Array.from({ length: cameras }, () => ({ kind: 'videoinput' })),
        ];
        return Promise.resolve(found);
    },
};

beforeEach(() => {
    [camera, microphone, cameras, asked] = [null, null, 1, []];
    vi.stubGlobal('navigator', { mediaDevices: devices });
});
afterEach(() => {
    vi.useRealTimers();
    vi.unstubAllGlobals();
});

/** What came of it, in short. */
async function opened(video = true): Promise<string> {
    const found = await openOwnMedia('front', video);
    if (!('stream' in found)) return found.trouble;
    const kinds = [found.audio, found.video].flatMap((track) => (track ? [track.kind] : []));
    return [...kinds, found.lacks].join(' ');
}

describe('camera and microphone', () => {
    test('are asked for together, large enough for three sizes, and never as a must', async () => {
        expect(await opened()).toBe('audio video none');
        const video = asked[0]?.video as MediaTrackConstraints;
        expect(asked).toHaveLength(1);
        expect(video).toMatchObject({ facingMode: 'user', width: { ideal: 1280 }, height: { ideal: 720 } });
        expect(JSON.stringify(video)).not.toMatch(/"(exact|min|max)"/);
    });

    test('of the other side are asked for by that side', async () => {
        await openOwnMedia('back', true);
        expect(asked[0]?.video).toMatchObject({ facingMode: 'environment' });
    });

    test('are the sound alone where no picture is wanted', async () => {
        expect(await opened(false)).toBe('audio none');
        expect(asked).toEqual([{ audio: expect.anything() as unknown, video: false }]);
    });

    test('tell whether there is a camera to turn to', async () => {
        expect(await openOwnMedia('front', true)).toMatchObject({ twoCameras: false });
        cameras = 2;
        expect(await openOwnMedia('front', true)).toMatchObject({ twoCameras: true });
    });

    test('may be of any size where the camera does not start at the one that is wanted', async () => {
        const getUserMedia = vi
            .spyOn(devices, 'getUserMedia')
            .mockRejectedValueOnce(new DOMException('no', 'NotReadableError'));
        expect(await opened()).toBe('audio video none');
        expect(asked[0]?.video).toEqual({ facingMode: 'user' });
        getUserMedia.mockRestore();
    });
});

describe('where one of both cannot be had', () => {
    test.each([
        ['NotFoundError', null, 'audio missing'],
        ['NotReadableError', null, 'audio busy'],
        ['NotAllowedError', null, 'audio refused'],
        [null, 'NotFoundError', 'video missing'],
        [null, 'NotReadableError', 'video busy'],
        ['NotFoundError', 'NotFoundError', 'missing'],
        ['AbortError', 'AbortError', 'busy'],
        ['SecurityError', 'SecurityError', 'refused'],
        ['TypeError', 'TypeError', 'missing'],
    ])('camera %s, microphone %s: %s', async (ofCamera, ofMicrophone, outcome) => {
        [camera, microphone] = [ofCamera, ofMicrophone];
        expect(await opened()).toBe(outcome);
    });

    test('somebody who said no is asked for the sound once, and no more', async () => {
        [camera, microphone] = ['NotAllowedError', 'NotAllowedError'];
        expect(await opened()).toBe('refused');
        expect(asked.map(({ video }) => video !== false)).toEqual([true, false]);
    });

    test('a page that may use none says so', async () => {
        vi.stubGlobal('navigator', {});
        expect(await opened()).toBe('missing');
    });
});

test('a level is told ten times a second, full for speech, until it is stopped', async () => {
    vi.useFakeTimers();
    let loud = 0;
    let closed = 0;
    class Context {
        createAnalyser = () => ({
            fftSize: 4,
            getFloatTimeDomainData: (samples: Float32Array) => samples.fill(loud),
        });
        createMediaStreamSource = () => ({ connect: () => undefined });
        close(): Promise<void> {
            closed += 1;
            return Promise.resolve();
        }
    }
    vi.stubGlobal('AudioContext', Context);
    vi.stubGlobal('MediaStream', FakeStream);
    const levels: number[] = [];
    const stop = levelOf(new FakeTrack('audio').asTrack, (level) => levels.push(level));
    await vi.advanceTimersByTimeAsync(100);
    loud = 0.125;
    await vi.advanceTimersByTimeAsync(100);
    loud = 0.9;
    await vi.advanceTimersByTimeAsync(100);
    expect(levels).toEqual([0, 0.5, 1]);
    stop();
    await vi.advanceTimersByTimeAsync(1_000);
    expect([levels.length, closed]).toEqual([3, 1]);
});
