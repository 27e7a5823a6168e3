import { beforeEach, describe, expect, test } from 'vitest';
import { FakeDoor, FakePeer } from '~/testing/call-media';
import { OwnSide } from './own-side.svelte';

let door: FakeDoor;
let own: OwnSide;
beforeEach(() => {
    door = new FakeDoor();
    own = new OwnSide(door);
});

/** The person is asked, and answers when the test says so. */
function asking(): () => void {
    let answer: () => void = () => undefined;
    door.asked = new Promise<void>((resolve) => (answer = resolve));
    return answer;
}

describe('camera and microphone', () => {
    test('are shown once they are open, and off at the end', async () => {
        await expect(own.open('front')).resolves.toBe(true);
        own.listen();
        expect([own.stream !== null, own.trouble, own.has('video'), door.listening]).toEqual([
            true,
            'none',
            true,
            1,
        ]);
        own.end();
        expect([own.stream, own.isOpen, door.listening]).toEqual([null, false, 0]);
        expect(door.on).toEqual([]);
    });

    test('of the other side take the place of the first: never two cameras, never two microphones', async () => {
        await own.open('front');
        await own.open('back');
        expect(own.camera).toBe('back');
        expect(door.on.map(({ kind }) => kind)).toEqual(['audio', 'video']);
        expect(door.devices.map(({ camera }) => camera)).toEqual(['front', 'back']);
    });

    test('that cannot be opened leave the sound that was there', async () => {
        await own.open('front');
        door.trouble = 'busy';
        await expect(own.open('back')).resolves.toBe(false);
        expect([own.trouble, own.camera]).toEqual(['busy', 'front']);
        expect(door.on.map(({ kind }) => kind)).toEqual(['audio']);
    });

    test('are off when the person left while the browser asked for them', async () => {
        const answer = asking();
        const opening = own.open('front');
        own.end();
        answer();
        await expect(opening).resolves.toBe(false);
        expect(door.on).toEqual([]);
        expect([own.stream, own.isOpen]).toEqual([null, false]);
    });

    test('asked for twice are open once', async () => {
        const answer = asking();
        const both = [own.open('front'), own.open('back')];
        answer();
        await expect(Promise.all(both)).resolves.toEqual([false, true]);
        expect(own.camera).toBe('back');
        expect(door.on).toHaveLength(2);
    });

    test('whose picture is not shown are off but for the sound, and the camera comes back', async () => {
        await own.open('front');
        await own.turn('video', false);
        expect(door.on.map(({ kind }) => kind)).toEqual(['audio']);
        await own.turn('video', true);
        expect(door.on.map(({ kind }) => kind)).toEqual(['audio', 'video']);
        await own.turn('video', true);
        expect(door.devices).toHaveLength(2);
    });
});

describe('one of both', () => {
    test('that another program has leaves the other, and is told', async () => {
        door.hasCamera = false;
        await expect(own.open('front')).resolves.toBe(true);
        expect([own.has('audio'), own.has('video'), own.trouble]).toEqual([true, false, 'busy']);
        door.hasCamera = true;
        await own.turn('video', true);
        expect([own.has('audio'), own.has('video'), own.trouble]).toEqual([true, true, 'none']);
    });

    test('that is wanted again leaves the camera off that was off', async () => {
        door.hasMicrophone = false;
        await own.open('front');
        await own.turn('video', false);
        door.hasMicrophone = true;
        await own.turn('audio', true);
        expect([own.has('audio'), own.has('video')]).toEqual([true, false]);
        expect(door.on.map(({ kind }) => kind)).toEqual(['audio']);
    });
});

describe('what goes out', () => {
    const said = { heard: true, mode: 'video', audioMuted: false, videoMuted: false } as const;
    const peers = (): [FakePeer, FakePeer] => [
        new FakePeer([], () => undefined),
        new FakePeer([], () => undefined),
    ];

    test('goes out on every path, in the sizes of the camera', async () => {
        await own.open('front');
        const both = peers();
        own.sendOver(both, said);
        for (const { sent, sizes } of both) {
            expect(sent).toEqual({ audio: door.devices[0]?.audio, video: door.devices[0]?.video });
            expect(sizes).toBe('qhf');
        }
    });

    test.each([
        ['nobody may hear it', { heard: false }, [false, false], 'qhf'],
        ['the camera is off', { videoMuted: true }, [true, false], 'qhf'],
        ['the link is weak', { mode: 'smaller' }, [true, true], 'q'],
        ['it carries no picture', { mode: 'audio' }, [true, false], ''],
    ] as const)('where %s is less', async (_, change, goes, sizes) => {
        await own.open('front');
        const [peer] = peers();
        own.sendOver([peer], { ...said, ...change });
        expect([peer.sent.audio !== null, peer.sent.video !== null]).toEqual(goes);
        expect(peer.sizes).toBe(sizes);
    });

    test('is silence where the microphone is off: it keeps the path', async () => {
        await own.open('front');
        const [peer] = peers();
        own.sendOver([peer], { ...said, audioMuted: true });
        expect([peer.sent.audio?.enabled, peer.sent.video?.enabled]).toEqual([false, true]);
        own.sendOver([peer], said);
        expect(peer.sent.audio?.enabled).toBe(true);
    });

    test('is nothing where nothing is open', () => {
        const [peer] = peers();
        own.sendOver([peer], said);
        expect(peer.sent).toEqual({ audio: null, video: null });
    });
});
