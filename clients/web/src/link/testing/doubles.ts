/** Doubles for tests: a clock that stands still, chance that is none, a server that says what its script says. */

import {
    type Clock,
    type Dialer,
    type Http,
    type HttpAnswer,
    HttpFailed,
    type HttpRequest,
    type Link,
    type LinkEars,
    type Random,
} from '~/link/ports';
import { type Bytes, fromBase64, NO_BYTES, utf8 } from '~/protocol/bytes';
import { decodeClient, encode } from '~/protocol/codec';
import { jsonText } from '~/protocol/json';
import type { ClientMessage, ServerMessage } from '~/protocol/messages';

/** Let everything that is ready run: promises of promises included. */
export async function settle(): Promise<void> {
    for (let i = 0; i < 50; i++) await Promise.resolve();
    // WebCrypto and IndexedDB answer from outside of the microtask queue.
    await new Promise<void>((resolve) => setImmediate(resolve));
    for (let i = 0; i < 50; i++) await Promise.resolve();
}

export class FakeClock implements Clock {
    #nowMs: number;
    #monotonicMs = 0;
    #timers: { readonly atMs: number; readonly run: () => void }[] = [];

    constructor(nowMs = 1_795_000_000_000) {
        this.#nowMs = nowMs;
    }

    nowMs(): number {
        return this.#nowMs;
    }

    monotonicMs(): number {
        return this.#monotonicMs;
    }

    after(delayMs: number, run: () => void): () => void {
        const timer = { atMs: this.#monotonicMs + delayMs, run };
        this.#timers.push(timer);
        return () => {
            this.#timers = this.#timers.filter((other) => other !== timer);
        };
    }

    get timers(): number {
        return this.#timers.length;
    }

    /** Wall time jumps; nothing is due sooner for that. */
    jump(byMs: number): void {
        this.#nowMs += byMs;
    }

    /** Time goes on; what is due runs in order, each at its time. */
    async pass(ms: number): Promise<void> {
        const endMs = this.#monotonicMs + ms;
        await settle();
        for (;;) {
            const due = this.#timers
                .filter((timer) => timer.atMs <= endMs)
                .sort((a, b) => a.atMs - b.atMs)[0];
            if (due === undefined) break;
            this.#timers = this.#timers.filter((other) => other !== due);
            this.#forward(due.atMs);
            due.run();
            await settle();
        }
        this.#forward(endMs);
        await settle();
    }

    #forward(toMs: number): void {
        const byMs = Math.max(0, toMs - this.#monotonicMs);
        this.#monotonicMs += byMs;
        this.#nowMs += byMs;
    }
}

/** Chance that always draws the same: `share` of the way from low to high. */
export class FixedRandom implements Random {
    readonly drawn: [number, number][] = [];
    readonly #share: number;

    constructor(share = 1) {
        this.#share = share;
    }

    bytes(count: number): Bytes {
        return new Uint8Array(count).fill(7);
    }

    uniform(low: number, high: number): number {
        this.drawn.push([low, high]);
        return low + (high - low) * this.#share;
    }
}

/** One dialled socket, seen from the server. */
export class Socket implements Link {
    readonly heard: ClientMessage[] = [];
    readonly #ears: LinkEars;
    unsentBytes = 0;
    open = true;

    constructor(ears: LinkEars) {
        this.#ears = ears;
    }

    send(data: Bytes): void {
        if (!this.open) return;
        const message = decodeClient(data);
        if (message !== null) this.heard.push(message);
    }

    close(): void {
        this.open = false;
    }

    /** The server says something. */
    says(message: ServerMessage): void {
        this.saysBytes(encode(message));
    }

    saysBytes(data: Bytes): void {
        if (this.open) this.#ears.frame(data);
    }

    /** The server closes, or the network does. */
    ends(code: number): void {
        if (!this.open) return;
        this.open = false;
        this.#ears.closed(code);
    }

    /** The messages of one kind that came so far. */
    of<K extends ClientMessage['kind']>(kind: K): Extract<ClientMessage, { kind: K }>[] {
        return this.heard.filter((m): m is Extract<ClientMessage, { kind: K }> => m.kind === kind);
    }
}

export class FakeDialer implements Dialer {
    readonly sockets: Socket[] = [];

    dial(ears: LinkEars): Link {
        const socket = new Socket(ears);
        this.sockets.push(socket);
        return socket;
    }

    get last(): Socket {
        const socket = this.sockets.at(-1);
        if (socket === undefined) throw new Error('nothing was dialled');
        return socket;
    }
}

export interface Asked {
    readonly method: string;
    readonly path: string;
    readonly token: string;
    readonly json: Readonly<Record<string, unknown>>;
    readonly body: Bytes;
}
type Given =
    | {
          readonly status: number;
          readonly json?: object;
          readonly bytes?: Bytes;
          readonly headers?: Record<string, string>;
      }
    | 'lost'
    | 'unsent';

/** HTTP by a function of the test's. */
export class FakeHttp implements Http {
    readonly asked: Asked[] = [];
    readonly #answer: (asked: Asked, times: number) => Given | Promise<Given>;

    constructor(answer: (asked: Asked, times: number) => Given | Promise<Given>) {
        this.#answer = answer;
    }

    async exchange(request: HttpRequest): Promise<HttpAnswer> {
        const body = request.body ?? NO_BYTES;
        const isJson = request.headers['content-type'] === 'application/json';
        const asked = {
            method: request.method,
            path: request.path,
            token: (request.headers['authorization'] ?? '').replace('Bearer ', ''),
            json: isJson ? (JSON.parse(new TextDecoder().decode(body)) as Record<string, unknown>) : {},
            body,
        };
        this.asked.push(asked);
        const given = await this.#answer(asked, this.paths(asked.path).length);
        if (given === 'lost' || given === 'unsent') throw new HttpFailed(given === 'lost');
        return {
            status: given.status,
            header: (name) => given.headers?.[name] ?? null,
            body: given.bytes ?? (given.json === undefined ? NO_BYTES : utf8(jsonText(given.json))),
        };
    }

    paths(path: string): Asked[] {
        return this.asked.filter((asked) => asked.path === path);
    }
}

export const unbase64 = (value: unknown): Bytes => fromBase64(typeof value === 'string' ? value : '?');
