import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { HttpFailed, NO_CODE } from '~/link/ports';
import { BrowserDialer } from '~/platform/dialer';
import { BrowserHttp } from '~/platform/http';
import { utf8 } from '~/protocol/bytes';

class FakeSocket {
    static readonly OPEN = 1;
    static made: FakeSocket[] = [];
    readonly sent: unknown[] = [];
    binaryType = 'blob';
    protocol = 'leeside.v1';
    readyState = 0;
    bufferedAmount = 5;
    closed = 0;
    onopen: () => void = () => undefined;
    onmessage: (event: { data: unknown }) => void = () => undefined;
    onclose: (event: { code: number }) => void = () => undefined;
    readonly url: string;
    readonly offered: string;

    constructor(url: string, offered: string) {
        if (url.includes('forbidden')) throw new DOMException('no', 'SecurityError');
        this.url = url;
        this.offered = offered;
        FakeSocket.made.push(this);
    }
    send(data: unknown): void {
        this.sent.push(data);
    }
    close(): void {
        this.closed += 1;
    }
}

beforeEach(() => {
    FakeSocket.made = [];
    vi.stubGlobal('WebSocket', FakeSocket);
});
afterEach(() => {
    vi.unstubAllGlobals();
});

function dial(origin = 'https://relay.example') {
    const heard: unknown[] = [];
    const link = new BrowserDialer(origin).dial({
        frame: (data) => heard.push([...data]),
        closed: (code) => heard.push(code),
    });
    return { heard, link, socket: FakeSocket.made[0] as FakeSocket };
}

test('frames go out and come in, whole and binary, with the subprotocol', () => {
    const { heard, link, socket } = dial();
    expect([socket.url, socket.offered, socket.binaryType]).toEqual([
        'wss://relay.example/v1/socket',
        'leeside.v1',
        'arraybuffer',
    ]);
    link.send(utf8('early'));
    socket.readyState = 1;
    socket.onopen();
    socket.onmessage({ data: utf8('in').buffer });
    link.send(utf8('out'));
    expect(heard).toEqual([[...utf8('in')]]);
    expect(socket.sent).toEqual([utf8('out')]);
    expect(link.unsentBytes).toBe(5);
});

test('its end is told once, with the code', () => {
    const { heard, link, socket } = dial();
    socket.onclose({ code: 4100 });
    socket.onclose({ code: 1000 });
    link.close();
    expect(heard).toEqual([4100]);
});

test('text and another subprotocol end it', () => {
    const first = dial();
    first.socket.onmessage({ data: 'text' });
    expect([first.heard, first.socket.closed]).toEqual([[1003], 1]);
    FakeSocket.made = [];
    const second = dial();
    second.socket.protocol = '';
    second.socket.onopen();
    expect(second.heard).toEqual([NO_CODE]);
});

test('nothing is heard after close, nor before dial returned', async () => {
    const { heard, link, socket } = dial();
    link.close();
    socket.onmessage({ data: utf8('late').buffer });
    socket.onclose({ code: 1000 });
    expect(heard).toEqual([]);
    const refused = dial('https://forbidden.example');
    expect(refused.heard).toEqual([]);
    await Promise.resolve();
    expect(refused.heard).toEqual([NO_CODE]);
});

const request = { method: 'POST' as const, path: '/v1/x', headers: {}, timeoutMs: 1_000, maxBytes: 4 };

test('an exchange sends no cookies, follows nothing and reads no more than it may', async () => {
    const fetched = vi.fn<(url: string, init: RequestInit) => Promise<Response>>(() =>
        Promise.resolve(new Response('1234', { status: 201, headers: { 'Retry-After': '7' } })),
    );
    vi.stubGlobal('fetch', fetched);
    vi.stubGlobal('navigator', { onLine: true });
    const http = new BrowserHttp('https://relay.example');
    const answer = await http.exchange({ ...request, body: utf8('x') });
    expect([answer.status, answer.header('retry-after'), answer.body]).toEqual([201, '7', utf8('1234')]);
    expect(fetched.mock.calls[0]?.[0]).toBe('https://relay.example/v1/x');
    expect(fetched.mock.calls[0]?.[1]).toMatchObject({
        cache: 'no-store',
        credentials: 'omit',
        redirect: 'error',
        mode: 'same-origin',
    });
    await expect(http.exchange({ ...request, maxBytes: 3 })).rejects.toBeInstanceOf(HttpFailed);
});

test('only a network that was not there proves that nothing was sent', async () => {
    vi.stubGlobal('fetch', () => Promise.reject(new TypeError('failed to fetch')));
    for (const [onLine, sent] of [
        [true, true],
        [false, false],
    ]) {
        vi.stubGlobal('navigator', { onLine });
        const http = new BrowserHttp('https://relay.example');
        await expect(http.exchange(request)).rejects.toMatchObject({ name: 'HttpFailed', sent });
    }
    vi.stubGlobal('navigator', { onLine: true });
    const gaveUp = AbortSignal.abort();
    const http = new BrowserHttp('https://relay.example');
    await expect(http.exchange({ ...request, signal: gaveUp })).rejects.toMatchObject({ sent: false });
});
