/**
 * What the link needs of the machine under it: time, chance, a socket, HTTP. `platform` implements them for the
 * browser, tests with doubles.
 */

import type { Bytes } from '~/protocol/bytes';

/** Time as an argument. */
export interface Clock {
    /** Unix time in milliseconds, as people see it. May jump. */
    nowMs(): number;
    /** Milliseconds for delays and time-outs. Never jumps; goes on while a laptop sleeps or stands still then. */
    monotonicMs(): number;
    /**
     * Calls `run` once, `delayMs` from now or later: a page in the background is woken late. The returned function calls it
     * off; calling that twice, or after `run`, does nothing.
     */
    after(delayMs: number, run: () => void): () => void;
}

/** Chance, fit for keys, nonces and ids. */
export interface Random {
    bytes(count: number): Bytes;
    /** Evenly distributed in `[low, high)`. */
    uniform(low: number, high: number): number;
}

/** The close code that stands for "it broke without one" (RFC 6455, 7.1.5). */
export const NO_CODE = 1006;

/** What a link says. Nothing comes before `dial` returned, and nothing after `closed` or after `Link.close`. */
export interface LinkEars {
    /** One whole binary frame, in order. A text frame ends the link with 1003. */
    frame(data: Bytes): void;
    /** The link is over; `code` is the peer's close code, or `NO_CODE` when it broke or never stood. */
    closed(code: number): void;
}

/** One socket, perhaps not open yet: the server speaks first, so nobody needs to know when it is. */
export interface Link {
    /** Hand over one frame. What is said after the end is dropped: `closed` was or will be called. */
    send(data: Bytes): void;
    /** Bytes handed over that have not left yet. */
    readonly unsentBytes: number;
    /** End it; nothing is heard of it afterwards. May be called again. */
    close(): void;
}

/** Opens links to one server, with subprotocol `leeside.v1`. Never throws: what fails is told by `closed`. */
export interface Dialer {
    dial(ears: LinkEars): Link;
}

export interface HttpRequest {
    readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
    /** Path and query; the origin is the platform's. */
    readonly path: string;
    readonly headers: Readonly<Record<string, string>>;
    readonly body?: Bytes;
    /** Gives up after this long, in all. */
    readonly timeoutMs: number;
    /** Gives up when it is aborted. */
    readonly signal?: AbortSignal;
    /** More than this many bytes of an answer are not read: it fails. */
    readonly maxBytes: number;
}

export interface HttpAnswer {
    readonly status: number;
    /** A header by its lowercase name, or null. */
    header(name: string): string | null;
    readonly body: Bytes;
}

/** One exchange: no cache, no cookies, no redirect is followed. */
export interface Http {
    /** Rejects with `HttpFailed` when no whole answer came. */
    exchange(request: HttpRequest): Promise<HttpAnswer>;
}

/** No whole answer came. `sent`: the server may have carried the request out. */
export class HttpFailed extends Error {
    override readonly name = 'HttpFailed';
    readonly sent: boolean;

    constructor(sent: boolean) {
        super(sent ? 'no answer came' : 'nothing was sent');
        this.sent = sent;
    }
}
