import { describe, expect, test } from 'vitest';
import type { TokenSource } from '~/link/api';
import {
    ANSWER_TIMEOUT_MS,
    BACKOFF_CAP_MS,
    Connection,
    type LinkStatus,
    type Push,
    type Sink,
    STEADY_MS,
    type VideoRefused,
    WELCOME_TIMEOUT_MS,
} from '~/link/connection';
import { ApiError, Offline, Stopped, Unreachable } from '~/link/errors';
import { FakeClock, FakeDialer, FixedRandom, settle } from '~/link/testing/doubles';
import { type Bytes, pae, toHex, utf8 } from '~/protocol/bytes';
import { CloseCode, WireError } from '~/protocol/errors';
import { address, asId, type ConsultId, type MessageId, NO_KEY } from '~/protocol/ids';
import type { ServerMessage, VideoTold } from '~/protocol/messages';

const LOG = address('content', asId('11'.repeat(16)));
const CONSULT = '33'.repeat(16) as ConsultId;
const NONCE = new Uint8Array(16).fill(9);

/** What stands in for a signature: what was signed, in 64 bytes. */
function padded(data: Bytes): Bytes {
    const signature = new Uint8Array(64);
    signature.set(data);
    return signature;
}

class Told implements Sink {
    readonly events: string[] = [];
    readonly pushes: Push[] = [];
    readonly video: (VideoTold | VideoRefused)[] = [];
    readonly statuses: LinkStatus[] = [];
    onOnline(): void {
        this.events.push('online');
    }
    onOffline(): void {
        this.events.push('offline');
    }
    onPush(push: Push): void {
        this.pushes.push(push);
    }
    onVideo(said: VideoTold | VideoRefused): void {
        this.video.push(said);
    }
    onStatus(status: LinkStatus): void {
        this.statuses.push(status);
    }
}

class Tokens implements TokenSource {
    renewed: string[] = [];
    refusal: Error | null = null;
    #count = 0;
    token(): Promise<string> {
        return this.refusal === null ? Promise.resolve(`token-${this.#count}`) : Promise.reject(this.refusal);
    }
    renew(stale: string): Promise<string> {
        this.renewed.push(stale);
        this.#count += 1;
        return this.token();
    }
}

function start(share = 1) {
    const clock = new FakeClock();
    const dialer = new FakeDialer();
    const tokens = new Tokens();
    const sink = new Told();
    const random = new FixedRandom(share);
    const link = new Connection(dialer, tokens, (data) => Promise.resolve(padded(data)), sink, clock, random);
    const ended: { error: unknown } = { error: null };
    void link.run().catch((error: unknown) => (ended.error = error));
    const welcome = (more: Partial<Extract<ServerMessage, { kind: 'welcome' }>> = {}): ServerMessage => ({
        kind: 'welcome',
        serverMs: clock.nowMs() + 5_000,
        tokenUntilMs: clock.nowMs() + 5_000 + 300_000,
        beatS: 10,
        generation: 4,
        inFlightMessages: 2,
        inFlightBytes: 1_000,
        ...more,
    });
    const up = async (more = {}) => {
        await clock.pass(0);
        dialer.last.says({ kind: 'challenge', nonce: NONCE, serverMs: 1 });
        await settle();
        dialer.last.says(welcome(more));
        await settle();
        return dialer.last;
    };
    return { clock, dialer, tokens, sink, random, link, ended, welcome, up };
}

const publish = (req: number, bytes = 10) => ({
    kind: 'publish' as const,
    req,
    channel: LOG,
    lane: 1 as const,
    key: NO_KEY,
    id: '22'.repeat(16) as MessageId,
    payload: new Uint8Array(bytes),
    urgency: 0 as const,
    mark: 0 as const,
});

describe('a session', () => {
    test('proves who this is, and knows the time of the server', async () => {
        const { link, sink, up, clock } = start();
        const socket = await up();
        const [hello] = socket.of('hello');
        expect(hello?.token).toBe('token-0');
        expect(toHex(hello?.proof ?? new Uint8Array())).toBe(
            toHex(padded(pae(utf8('leeside1 socket'), NONCE, utf8('token-0')))),
        );
        expect(link.online).toBe(true);
        expect(sink.statuses.map((s) => s.state)).toEqual(['connecting', 'online']);
        expect(link.clockOffsetMs).toBe(5_000);
        clock.jump(-3_600_000);
        socket.says({ kind: 'beat', serverMs: clock.nowMs() + 3_605_000, heads: [], degraded: true });
        expect(link.clockOffsetMs).toBe(3_605_000);
        expect(link.status.degraded).toBe(true);
    });

    test('beats when it says nothing else, and gives up after 30 s of silence', async () => {
        const { clock, link, sink, up } = start();
        const socket = await up();
        await clock.pass(9_999);
        expect(socket.of('client_beat')).toHaveLength(0);
        await clock.pass(1);
        expect(socket.of('client_beat')).toHaveLength(1);
        await clock.pass(19_999);
        expect(link.online).toBe(true);
        await clock.pass(1);
        expect(link.online).toBe(false);
        expect(socket.open).toBe(false);
        expect(sink.events).toEqual(['online', 'offline']);
        expect(link.status.code).toBe(CloseCode.silent);
    });

    test('stays while the server beats', async () => {
        const { clock, link, up } = start();
        const socket = await up();
        for (let i = 0; i < 12; i++) {
            await clock.pass(10_000);
            socket.says({ kind: 'beat', serverMs: clock.nowMs(), heads: [], degraded: false });
        }
        expect(link.online).toBe(true);
        expect(socket.of('client_beat')).toHaveLength(12);
    });

    test('renews a minute before its token ends', async () => {
        const { clock, tokens, up } = start();
        const socket = await up({ tokenUntilMs: new FakeClock().nowMs() + 5_000 + 90_000 });
        for (let i = 0; i < 3; i++) {
            await clock.pass(9_999);
            socket.says({ kind: 'beat', serverMs: clock.nowMs() + 5_000, heads: [], degraded: false });
        }
        expect(socket.of('renew')).toHaveLength(0);
        await clock.pass(10);
        const [renew] = socket.of('renew');
        expect(renew?.token).toBe('token-1');
        socket.says({ kind: 'renewed', req: renew?.req ?? 0, tokenUntilMs: clock.nowMs() + 400_000 });
        await settle();
        expect(tokens.renewed).toEqual(['token-0']);
    });

    test('ends on what is no message, and on one that is not due', async () => {
        for (const harm of ['bytes', 'early', 'twice'] as const) {
            const { clock, dialer, link, up, welcome } = start();
            if (harm === 'early') {
                await clock.pass(0);
                dialer.last.says(welcome());
            } else {
                const socket = await up();
                if (harm === 'bytes') socket.saysBytes(Uint8Array.of(0xc1));
                else socket.says(welcome());
            }
            await settle();
            expect([harm, dialer.last.open, link.online]).toEqual([harm, false, false]);
            expect(link.status.code).toBe(CloseCode.internal);
        }
    });

    test('is given up when no welcome comes', async () => {
        const { clock, dialer, link } = start();
        await clock.pass(WELCOME_TIMEOUT_MS);
        expect(dialer.sockets[0]?.open).toBe(false);
        expect(link.status).toMatchObject({ state: 'offline', code: CloseCode.silent });
    });
});

describe('requests', () => {
    test('are answered by number, refusals included', async () => {
        const { link, sink, up } = start();
        const socket = await up();
        const first = link.request((req) => ({
            kind: 'subscribe',
            req,
            channel: LOG,
            generation: 0,
            offset: 0,
        }));
        const second = link.request((req) => publish(req));
        await settle();
        const one = socket.of('subscribe')[0]?.req ?? 0;
        const two = socket.of('publish')[0]?.req ?? 0;
        socket.says({ kind: 'refused', req: two, error: 200, head: 7, retryMs: 0, detail: '' });
        socket.says({
            kind: 'subscribed',
            req: one,
            channel: LOG,
            status: 0,
            generation: 4,
            head: 0,
            floor: 0,
        });
        expect(await first).toMatchObject({ kind: 'subscribed' });
        expect(await second).toMatchObject({ kind: 'refused', head: 7 });
        expect(sink.pushes.map((p) => p.kind)).toEqual(['subscribed']);
        socket.says({ kind: 'refused', req: 0, error: 301, head: 0, retryMs: 0, detail: '' });
        expect(sink.pushes.map((p) => p.kind)).toEqual(['subscribed', 'refused']);
    });

    test('wait their turn beyond what the welcome allows, by number and by bytes', async () => {
        const { link, up } = start();
        const socket = await up();
        const answers = [600, 600, 10, 10].map((bytes) => link.request((req) => publish(req, bytes)));
        await settle();
        expect(socket.of('publish').map((p) => p.payload.length)).toEqual([600]);
        for (let i = 0; i < 4; i++) {
            const sent = socket.of('publish');
            expect(sent.length - i).toBeLessThanOrEqual(2);
            socket.says({
                kind: 'accepted',
                req: sent[i]?.req ?? 0,
                offset: i + 1,
                generation: 4,
                repeat: 0,
            });
            await settle();
        }
        expect((await Promise.all(answers)).map((a) => (a.kind === 'accepted' ? a.offset : 0))).toEqual([
            1, 2, 3, 4,
        ]);
    });

    test('fail when the link ends or the answer does not come', async () => {
        const { clock, link, up } = start();
        await expect(link.request((req) => publish(req))).rejects.toBeInstanceOf(Offline);
        const socket = await up();
        const late = expect(link.request((req) => publish(req))).rejects.toBeInstanceOf(Offline);
        await clock.pass(ANSWER_TIMEOUT_MS);
        await late;
        const [sent] = socket.of('publish');
        socket.says({ kind: 'accepted', req: sent?.req ?? 0, offset: 1, generation: 4, repeat: 0 });
        const cut = [1, 2, 3].map(() =>
            expect(link.request((req) => publish(req))).rejects.toBeInstanceOf(Offline),
        );
        socket.ends(1006);
        await Promise.all(cut);
        expect(() => link.send((req) => ({ kind: 'unsubscribe', req, channel: LOG }))).toThrow(Offline);
    });
});

describe('coming back', () => {
    test('waits longer each time, up to 30 s, and not after a steady session', async () => {
        const { clock, dialer, random, up } = start();
        for (let i = 0; i < 9; i++) {
            await clock.pass(0);
            dialer.last.ends(1006);
            await clock.pass(BACKOFF_CAP_MS);
        }
        expect(random.drawn.map(([, high]) => high)).toEqual([
            500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000,
        ]);
        const socket = await up();
        for (let i = 0; i < 4; i++) {
            await clock.pass(STEADY_MS / 3);
            socket.says({ kind: 'beat', serverMs: clock.nowMs(), heads: [], degraded: false });
        }
        socket.ends(4000);
        await settle();
        expect(random.drawn.at(-1)).toEqual([0, 500]);
    });

    test('does so at once when hurried', async () => {
        const { dialer, link } = start();
        await settle();
        dialer.last.ends(4001);
        await settle();
        expect(dialer.sockets).toHaveLength(1);
        expect(link.status).toMatchObject({ state: 'offline', code: 4001, retryInMs: 500 });
        link.hurry();
        await settle();
        expect(dialer.sockets).toHaveLength(2);
    });

    test('gives up a link that missed its heartbeats when somebody comes back to the device', async () => {
        const { clock, dialer, link, up } = start();
        await up();
        link.hurry();
        await clock.pass(21_000);
        expect(dialer.sockets).toHaveLength(1);
        link.hurry();
        await clock.pass(500);
        expect(dialer.sockets).toHaveLength(2);
    });

    test('signs in first after 41xx', async () => {
        const { clock, dialer, tokens, up } = start();
        (await up()).ends(4100);
        await clock.pass(500);
        expect(tokens.renewed).toEqual(['token-0']);
        expect(dialer.sockets).toHaveLength(2);
    });

    test.each([4200, 4201, 4299])('never after %i', async (code) => {
        const { clock, dialer, ended, link, up } = start();
        (await up()).ends(code);
        await clock.pass(600_000);
        expect(ended.error).toBeInstanceOf(Stopped);
        expect(dialer.sockets).toHaveLength(1);
        expect(link.status).toMatchObject({ state: 'stopped', code });
        expect(clock.timers).toBe(0);
    });

    test.each([
        [new ApiError({ number: 308 }), CloseCode.revoked, 'stopped'],
        [new ApiError({ number: 301, told: false }), CloseCode.internal, 'offline'],
        [new ApiError({ number: 204 }), CloseCode.internal, 'offline'],
        [new ApiError({ number: 305 }), CloseCode.token_invalid, 'offline'],
        [new Unreachable(true), CloseCode.internal, 'offline'],
    ])('a refusal to sign in: %o', async (refusal, code, state) => {
        const { dialer, link, tokens } = start();
        await settle();
        tokens.refusal = refusal;
        dialer.last.says({ kind: 'challenge', nonce: NONCE, serverMs: 1 });
        await settle();
        expect(link.status).toMatchObject({ state, code });
    });

    test('ends when it is stopped, wherever it stands', async () => {
        for (const at of ['dialling', 'online', 'waiting'] as const) {
            const { clock, dialer, ended, link, up } = start();
            if (at !== 'dialling') await up();
            if (at === 'waiting') dialer.last.ends(1006);
            await settle();
            link.stop();
            await clock.pass(60_000);
            expect([at, link.status.state, dialer.sockets.length]).toEqual([at, 'offline', 1]);
            expect(ended.error).toBeNull();
            expect(clock.timers).toBe(0);
        }
    });
});

describe('a call', () => {
    const body = new Uint8Array([1, 2]);
    const refused = (req: number, error: number): ServerMessage => ({
        kind: 'refused',
        req,
        error,
        head: 0,
        retryMs: 700,
        detail: '',
    });

    test('speaks to the bridge and hears it', async () => {
        const { link, sink, up } = start();
        const socket = await up();
        link.signal(CONSULT, body);
        expect(socket.of('video').map((said) => [said.consult, said.body])).toEqual([[CONSULT, body]]);
        socket.says({ kind: 'video_told', consult: CONSULT, body });
        expect(sink.video).toEqual([{ kind: 'video_told', consult: CONSULT, body }]);
        expect(sink.pushes).toEqual([]);
    });

    test('hears of a refusal by its consult, once', async () => {
        const { link, sink, up } = start();
        const socket = await up();
        link.signal(CONSULT, body);
        const req = socket.of('video')[0]?.req ?? 0;
        socket.says(refused(req, WireError.unavailable));
        socket.says(refused(req, WireError.unavailable));
        expect(sink.video).toEqual([
            { kind: 'video_refused', consult: CONSULT, error: WireError.unavailable, retryMs: 700 },
        ]);
    });

    test('takes no place among what waits for answers', async () => {
        const { link, sink, up } = start();
        const socket = await up({ inFlightMessages: 1 });
        for (let n = 0; n < 80; n += 1) link.signal(CONSULT, body);
        const asked = link.request((req) => publish(req));
        expect(socket.of('video').length).toBe(80);
        const req = socket.of('publish')[0]?.req ?? 0;
        socket.says(refused(req, WireError.stale));
        expect((await asked).kind).toBe('refused');
        // The oldest of more than are kept is nobody's any more; the newest still is.
        socket.says(refused(socket.of('video')[0]?.req ?? 0, WireError.rate_limited));
        expect(sink.video).toEqual([]);
        socket.says(refused(socket.of('video')[79]?.req ?? 0, WireError.rate_limited));
        expect(sink.video.length).toBe(1);
    });

    test('is told at once that there is no link', async () => {
        const { link, up } = start();
        expect(() => link.signal(CONSULT, body)).toThrow(Offline);
        const socket = await up();
        socket.ends(1006);
        expect(() => link.signal(CONSULT, body)).toThrow(Offline);
    });
});
