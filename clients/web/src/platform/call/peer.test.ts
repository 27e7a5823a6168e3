import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { layersFor } from '~/model/call/layers';
import type { PeerEvent } from '~/model/call/media';
import { FOLLOW_MS } from '~/model/call/seal-guard';
import { deviceId } from '~/model/sample';
import { FakeTrack } from '~/testing/call-media';
import { FakePeerConnection, type FakeSealingWorker, offerOf, stubRtc } from '../testing/rtc';
import { attachE2ee } from './attach';
import { BrowserPeer } from './peer';
import { Sealer } from './sealer';

const LINES = { '0': 'audio', '1': 'video', a: 'audio', b: 'video', c: 'audio', d: 'video' } as const;
const OFFER = offerOf(LINES);
const LEE = { device: deviceId(2), audioMid: 'a', videoMid: 'b' };

let page: EventTarget;
let sealer: Sealer;
let worker: FakeSealingWorker;
let events: PeerEvent[];

beforeEach(() => {
    vi.useFakeTimers();
    const stubbed = stubRtc();
    page = stubbed.page;
    sealer = new Sealer(() => Promise.resolve());
    const [made] = stubbed.workers;
    if (made === undefined) throw new Error('a sealer has a worker');
    worker = made;
    events = [];
});
afterEach(() => {
    vi.useRealTimers();
    vi.unstubAllGlobals();
});

interface Path {
    readonly peer: BrowserPeer;
    readonly pc: FakePeerConnection;
}

function newPath(): Path {
    const peer = new BrowserPeer(sealer, [], (event) => events.push(event));
    const pc = FakePeerConnection.made.at(-1);
    if (pc === undefined) throw new Error('a path has a connection');
    return { peer, pc };
}

async function answered(offer = OFFER, change: Partial<FakePeerConnection> = {}): Promise<Path> {
    const path = newPath();
    Object.assign(path.pc, change);
    await path.peer.answer(offer);
    return path;
}

const kinds = (): string[] => events.map(({ kind }) => kind).filter((kind) => kind !== 'stats');
const after = (ms: number): Promise<unknown> => vi.advanceTimersByTimeAsync(ms);

/** A camera and a microphone that run: thirty frames a second of each. */
async function runs({ pc }: Path, forMs: number): Promise<void> {
    for (let passedMs = 0; passedMs < forMs; passedMs += 100) {
        pc.encode(3);
        await after(100);
    }
}

describe('a worker that cannot be loaded', () => {
    test.each(['before the path', 'after it'])('ends the path and lets nothing in, %s', async (when) => {
        worker.lagMs = Number.POSITIVE_INFINITY;
        if (when === 'before the path') worker.onerror?.({});
        const path = await answered();
        if (when === 'after it') worker.onerror?.({});
        path.peer.send('video', new FakeTrack('video').asTrack);
        await after(1_000);
        expect(kinds()).toEqual(['unsealed']);
        expect(path.pc.line('1').sender.track).toBeNull();
        expect(path.pc.connectionState).toBe('closed');
    });

    test('is told from one that had an error, and goes on', async () => {
        await answered();
        await after(worker.lagMs);
        worker.onerror?.({});
        const again = await answered();
        await after(worker.lagMs);
        await runs(again, 1_000);
        expect(kinds()).not.toContain('unsealed');
    });
});

describe('a line', () => {
    test('sends or receives, and every one goes through the worker', async () => {
        const { pc } = await answered();
        await after(worker.lagMs);
        expect(Object.keys(LINES).map((mid) => pc.line(mid).direction)).toEqual([
            'sendonly',
            'sendonly',
            'recvonly',
            'recvonly',
            'recvonly',
            'recvonly',
        ]);
        expect(worker.attached.size).toBe(6);
        expect(['a', 'b', 'c', 'd'].every((mid) => pc.line(mid).receiver.transform !== undefined)).toBe(true);
    });

    test('that nobody knows gets neither a transform nor a track', async () => {
        const { pc, peer } = await answered(offerOf({ ...LINES, z: 'video' }));
        peer.send('video', new FakeTrack('video').asTrack);
        await after(100);
        expect(worker.attached.size).toBe(6);
        expect(pc.line('z').sender.track).toBeNull();
    });

    test('lets a track in once the worker has said that it is there, and seals from its first frame', async () => {
        const camera = new FakeTrack('video');
        const path = newPath();
        worker.lagMs = 250;
        path.peer.send('video', camera.asTrack);
        await path.peer.answer(OFFER);
        await runs(path, 200);
        expect(path.pc.line('1').sender.track).toBeNull();
        await runs(path, 2_000);
        expect(path.pc.line('1').sender.track).toBe(camera);
        expect(path.pc.line('1').sender.encoded).toBeGreaterThan(30);
        expect(path.pc.plain).toBe(0);
        expect(kinds()).toEqual([]);
    });

    test('takes the last of several tracks, whatever came while it was not ready', async () => {
        const { pc, peer } = await answered();
        const [one, other] = [new FakeTrack('video'), new FakeTrack('video')];
        peer.send('video', one.asTrack);
        peer.send('video', null);
        peer.send('video', other.asTrack);
        await after(100);
        expect(pc.line('1').sender.track).toBe(other);
        peer.send('video', null);
        await after(1);
        expect(pc.line('1').sender.track).toBeNull();
    });

    test('that is closed before it is ready never gets its track', async () => {
        const { pc, peer } = await answered();
        peer.send('audio', new FakeTrack('audio').asTrack);
        peer.close();
        await after(100);
        expect(pc.line('0').sender.track).toBeNull();
    });
});

describe('what goes out unsealed', () => {
    test('is seen within the time that the worker has to follow, and stops the tracks and the path', async () => {
        const path = await answered(OFFER, { ignores: true });
        const [microphone, camera] = [new FakeTrack('audio'), new FakeTrack('video')];
        path.peer.send('audio', microphone.asTrack);
        path.peer.send('video', camera.asTrack);
        await after(worker.lagMs + 1);
        // One look, the time to follow, and the worker's own answer.
        await runs(path, 100 + FOLLOW_MS + 100);
        expect(path.pc.plain).toBeGreaterThan(0);
        expect(kinds()).toEqual(['unsealed']);
        expect([microphone.readyState, camera.readyState]).toEqual(['ended', 'ended']);
        expect(path.pc.connectionState).toBe('closed');
        const before = path.pc.plain;
        await runs(path, 1_000);
        expect(path.pc.plain).toBe(before);
        expect(kinds()).toEqual(['unsealed']);
    });

    test('is seen too where it begins in the middle of a call', async () => {
        const path = await answered();
        path.peer.send('video', new FakeTrack('video').asTrack);
        await runs(path, 5_000);
        expect(kinds()).toEqual([]);
        // The browser went on without its worker.
        worker.attached.clear();
        await runs(path, 3_000);
        expect(kinds()).toEqual(['unsealed']);
    });

    test('is not suspected of a worker that is busy: it says late what it was given', async () => {
        const path = await answered();
        path.peer.send('video', new FakeTrack('video').asTrack);
        await runs(path, 500);
        worker.lagMs = 2_000;
        await runs(path, 6_000);
        expect(path.pc.plain).toBe(0);
        expect(kinds()).toEqual([]);
    });

    /** What `attach.ts` is for: that these fakes tell the right order from a wrong one. */
    test.each([
        ['in the step of the offer', 0, 0],
        ['a step later', 1, 3],
    ])('is what a transform leaves that is set %s: after %i, %i frames', async (_, steps, plain) => {
        const pc = new FakePeerConnection({});
        await pc.setRemoteDescription({ type: 'offer', sdp: OFFER });
        for (let step = 0; step < steps; step += 1) await Promise.resolve();
        const line = pc.line('1');
        attachE2ee(line as unknown as RTCRtpTransceiver, worker as unknown as Worker, {
            id: 1,
            side: 'send',
            media: 1,
        });
        await after(worker.lagMs);
        line.sender.track = new FakeTrack('video');
        pc.encode(3);
        expect(pc.plain).toBe(plain);
    });
});

describe('an offer', () => {
    test('is answered one after the other, each with its own', async () => {
        const { peer, pc } = newPath();
        const both = [peer.answer(offerOf(LINES, 'one')), peer.answer(offerOf(LINES, 'two'))];
        await expect(Promise.all(both)).resolves.toEqual(['answer to s=one', 'answer to s=two']);
        await after(100);
        expect(worker.attached.size).toBe(6);
        expect(pc.line('1').direction).toBe('sendonly');
    });

    test('that the browser refuses is said, and the next one is answered all the same', async () => {
        const { peer } = newPath();
        await expect(peer.answer('bad')).rejects.toThrow();
        await expect(peer.answer(OFFER)).resolves.toBe('answer to s=offer');
    });

    test('names the only ICE servers', () => {
        const turn = { urls: ['turn:bridge.example:3478'], username: 'u', credential: 'c' };
        new BrowserPeer(sealer, [turn], () => undefined);
        expect(FakePeerConnection.made[0]?.configuration).toMatchObject({ iceServers: [turn] });
    });
});

describe('a path', () => {
    /** Connected, and everything that came so far is `bytes`. `dated`: the browser says when the newest packet came. */
    async function live(dated = false): Promise<Path & { comes: (bytes: number, frames?: number) => void }> {
        const path = await answered();
        path.peer.setPlaces([LEE]);
        path.pc.become('connected');
        const pair = { type: 'candidate-pair', state: 'succeeded', nominated: true };
        const comes = (bytes: number, frames = 0): void => {
            const lastPacketReceivedTimestamp = performance.now();
            const when = {
                lastPacketReceivedTimestamp,
                get timestamp() {
                    return performance.now();
                },
            };
            const counted = { ...pair, bytesReceived: bytes };
            path.pc.stats.splice(
                0,
                2,
                dated ? Object.defineProperties(when, Object.getOwnPropertyDescriptors(counted)) : counted,
                { type: 'inbound-rtp', kind: 'video', mid: 'b', framesDecoded: frames },
            );
        };
        comes(100);
        await after(200);
        return { ...path, comes };
    }

    test('stands, is silent after a second, once, and is heard again', async () => {
        const { comes } = await live();
        expect(kinds()).toEqual(['connected']);
        await after(700);
        expect(kinds()).toEqual(['connected']);
        await after(5_000);
        expect(kinds()).toEqual(['connected', 'silent']);
        comes(200);
        await after(600);
        expect(kinds()).toEqual(['connected', 'silent', 'heard']);
        await after(2_000);
        expect(kinds()).toEqual(['connected', 'silent', 'heard', 'silent']);
    });

    test.each([
        { dated: false, mostMs: 1_500 },
        { dated: true, mostMs: 1_150 },
    ])(
        'is looked at closely once nothing came: silent soon after it may be called so, $dated',
        async (told) => {
            const { comes, pc } = await live(told.dated);
            const silences = (): number => kinds().filter((kind) => kind === 'silent').length;
            const flow = async (n: number): Promise<void> => {
                for (; n > 0; n -= 1) {
                    comes(200 + performance.now(), n);
                    await after(100);
                }
            };
            // Beyond what is looked at closely anyway; then it ends anywhere between two looks.
            for (let turn = 1; turn <= 5; turn += 1) {
                await flow(40 + turn);
                let tookMs = 0;
                for (; silences() < turn && tookMs < 5_000; tookMs += 50) await after(50);
                expect(tookMs).toBeGreaterThan(800);
                expect(tookMs).toBeLessThanOrEqual(told.mostMs);
            }
            // And then as seldom as before.
            const looks = vi.spyOn(pc, 'getStats');
            await after(2_000);
            expect(looks.mock.calls.length).toBeLessThanOrEqual(5);
        },
    );

    test('on which nobody else is has more time: only its own checks come', async () => {
        const { peer } = await live();
        peer.setPlaces([]);
        await after(7_000);
        expect(kinds()).toEqual(['connected']);
        await after(2_000);
        expect(kinds()).toEqual(['connected', 'silent']);
    });

    test('says its first frame once', async () => {
        const { comes } = await live();
        comes(200, 1);
        await after(150);
        comes(300, 20);
        await after(1_000);
        expect(kinds()).toEqual(['connected', 'frame']);
    });

    test('says once a second what it measured', async () => {
        const { comes } = await live();
        for (let n = 1; n <= 30; n += 1) {
            comes(100 + n, n);
            await after(100);
        }
        const told = events.flatMap((event) => (event.kind === 'stats' ? [event.stats] : []));
        expect(told.length).toBeGreaterThanOrEqual(3);
        expect(told.length).toBeLessThanOrEqual(4);
        expect(told.at(-1)?.framesDecoded.get('b')).toBeGreaterThan(15);
    });

    test('says that it is gone, and that the device moved; and nothing once it is closed', async () => {
        const { pc, peer } = await live();
        page.dispatchEvent(new Event('online'));
        pc.become('failed');
        expect(kinds()).toEqual(['connected', 'moved', 'failed']);
        peer.close();
        page.dispatchEvent(new Event('online'));
        pc.become('failed');
        await after(20_000);
        expect(kinds()).toEqual(['connected', 'moved', 'failed']);
    });
});

describe('a place', () => {
    const placed = (): readonly unknown[] =>
        worker.heard.flatMap((words) => (words.kind === 'place' ? [words.device] : []));

    test('is told to the worker for both of its lines, also when it was known before the lines', async () => {
        const { peer } = newPath();
        peer.setPlaces([LEE]);
        expect(placed()).toEqual([]);
        await peer.answer(OFFER);
        expect(placed()).toEqual([LEE.device, LEE.device, null, null]);
        peer.setPlaces([]);
        expect(placed().slice(4)).toEqual([null, null, null, null]);
    });

    test('has one stream for as long as the path stands, with the tracks of its lines', async () => {
        const { peer } = newPath();
        expect(peer.stream(LEE).getTracks()).toEqual([]);
        await peer.answer(OFFER);
        const stream = peer.stream(LEE);
        expect(stream.getTracks().map(({ kind }) => kind)).toEqual(['audio', 'video']);
        expect(peer.stream(LEE)).toBe(stream);
    });

    test('whose frames do not hold is told by its line', async () => {
        const { peer } = await answered();
        peer.setPlaces([LEE]);
        // Transforms are numbered in the order of the lines.
        worker.say({ kind: 'alarm', id: 4, alarm: 'swapped' });
        expect(events).toContainEqual({ kind: 'alarm', mid: 'b', alarm: 'swapped' });
    });
});

describe('sizes', () => {
    const shown = ({ pc }: Path): readonly string[] =>
        pc
            .line('1')
            .sender.parameters.encodings.map(
                ({ rid = '-', active, scaleResolutionDownBy, maxBitrate }) =>
                    `${rid} ${String(active)} /${scaleResolutionDownBy ?? 0} ${maxBitrate ?? 0}`,
            );

    test('go out as they are told, before and after the lines are there', async () => {
        const path = newPath();
        path.peer.setLayers(layersFor(720, 'video'));
        await path.peer.answer(OFFER);
        expect(shown(path)).toEqual(['q true /4 150000', 'h true /2 500000', 'f true /1 1400000']);
        path.peer.setLayers(layersFor(720, 'smaller'));
        expect(shown(path)).toEqual(['q true /4 150000', 'h false /2 500000', 'f false /1 1400000']);
    });

    test('are the largest alone for a browser that sends one', async () => {
        const path = newPath();
        Object.assign(path.pc, { rids: [''] });
        await path.peer.answer(OFFER);
        path.peer.setLayers(layersFor(360, 'video'));
        expect(shown(path)).toEqual([' true /1 500000']);
        path.peer.setLayers(layersFor(360, 'audio'));
        expect(shown(path)).toEqual([' false /1 500000']);
    });
});
