/**
 * A link that stays: dial, prove who this is, beat, renew, and come back after every loss (spec 02).
 *
 * Theory of operation. One *session* after the other: dial, `challenge`, `hello`, `welcome`, then frames until it ends. What
 * ended it says what comes next (`afterClose`): connect again with full jitter, sign in first, or stop. A session is an
 * object of its own and every callback belongs to one, so that nothing of an old one touches the next.
 *
 * Nothing here waits for the application: what arrives is handed to the `Sink` at once, and answers resolve the `request`
 * that waits for them. So heartbeats are read however busy the application is. No more requests are under way than the
 * server's `welcome` allows; the others wait their turn here.
 */

import type { TokenSource } from '~/link/api';
import { ApiError, Offline, Stopped } from '~/link/errors';
import { type Clock, type Dialer, type Link, NO_CODE, type Random } from '~/link/ports';
import type { Sign } from '~/link/session';
import { type Bytes, pae, utf8 } from '~/protocol/bytes';
import { decodeServer, encode } from '~/protocol/codec';
import { afterClose, CloseCode, ProtocolError, WireError } from '~/protocol/errors';
import type { ConsultId } from '~/protocol/ids';
import { BEAT_S, HELLO_TIMEOUT_S, SILENT_S } from '~/protocol/limits';
import type {
    Accepted,
    Batch,
    Beat,
    ClientMessage,
    Live,
    Online,
    Refused,
    Renewed,
    ServerMessage,
    Subscribed,
    VideoTold,
    Welcome,
} from '~/protocol/messages';

export const BACKOFF_BASE_MS = 500;
export const BACKOFF_CAP_MS = 30_000;
/** The longest pause that a server's word may bring about: a proxy that says "eleven days" must not silence a device. */
export const RETRY_CAP_MS = 300_000;
/** A session that lasted this long ends a row of failures: the next delay is short again. */
export const STEADY_MS = 30_000;
/** How long before its token ends a session renews it. */
export const RENEW_AHEAD_MS = 60_000;
const RENEW_AGAIN_MS = 10_000;
export const ANSWER_TIMEOUT_MS = 20_000;
/** From the dial to `welcome`, signing in included. */
export const WELCOME_TIMEOUT_MS = 15_000 + 2 * HELLO_TIMEOUT_S * 1000;
const SIGN_IN_TIMEOUT_MS = 20_000;
/** The end of the year 9999. */
const LATEST_MS = 253_402_300_799_999;
/** What a request without a payload counts against the bound on bytes. */
const REQUEST_BYTES = 64;
/** Signals of a call whose refusal is waited for: they are never answered otherwise. */
const SIGNALS_KEPT = 64;
const CLIENT_NAME = 'leeside-web';

export type Reply = Accepted | Refused | Subscribed | Online | Renewed;
export type Push = Subscribed | Batch | Live | Beat | Refused;

/** A signal of a call that the server did not pass on to its bridge (spec 03, `video`). */
export interface VideoRefused {
    readonly kind: 'video_refused';
    readonly consult: ConsultId;
    readonly error: number;
    readonly retryMs: number;
}

/** The link as a person should see it: `sinceMs` is when this began; `code` what closed the last one. */
export interface LinkStatus {
    readonly state: 'connecting' | 'online' | 'offline' | 'stopped';
    readonly sinceMs: number;
    readonly code: number;
    readonly retryInMs: number;
    readonly degraded: boolean;
}

/** Who receives what the server pushes. No method may throw. */
export interface Sink {
    /** A session stands; nothing is subscribed on it yet. */
    onOnline(welcome: Welcome): void;
    /** The session is over, and its subscriptions with it. */
    onOffline(): void;
    /** One push, in the order of arrival. `subscribed` answers come here too, before their batches. */
    onPush(push: Push): void;
    /** What the bridge says of a call that was spoken of on this session, or that a signal did not reach it. */
    onVideo?(said: VideoTold | VideoRefused): void;
    onStatus(status: LinkStatus): void;
}

/** Full jitter: anything between 0 and a bound that doubles to 30 s, so that a crowd spreads out. */
export function backoffMs(attempt: number, random: Random): number {
    return random.uniform(0, Math.min(BACKOFF_CAP_MS, BACKOFF_BASE_MS * 2 ** Math.min(attempt, 16)));
}

/** How long a server asked to wait, within reason. */
export function askedMs(retryMs: number): number {
    return Math.min(RETRY_CAP_MS, retryMs);
}

interface Request {
    readonly req: number;
    readonly frame: Bytes;
    readonly bytes: number;
    readonly answered: (reply: Reply) => void;
    readonly failed: (error: Offline) => void;
}

/** One device's link to one server. `run` it once. */
export class Connection {
    readonly #dialer: Dialer;
    readonly #tokens: TokenSource;
    readonly #sign: Sign;
    readonly #sink: Sink;
    readonly #clock: Clock;
    readonly #random: Random;
    #status: LinkStatus;
    #session: Session | null = null;
    #req = 0;
    #serverAheadMs = 0;
    #token = '';
    #wake: (() => void) | null = null;
    #over = false;

    constructor(dialer: Dialer, tokens: TokenSource, sign: Sign, sink: Sink, clock: Clock, random: Random) {
        this.#dialer = dialer;
        this.#tokens = tokens;
        this.#sign = sign;
        this.#sink = sink;
        this.#clock = clock;
        this.#random = random;
        this.#status = { state: 'offline', sinceMs: clock.nowMs(), code: 0, retryInMs: 0, degraded: false };
    }

    get status(): LinkStatus {
        return this.#status;
    }

    get online(): boolean {
        return this.#session?.isOpen() === true;
    }

    /** Server's clock less this device's, as the last heartbeat told. */
    get clockOffsetMs(): number {
        return this.#serverAheadMs;
    }

    /**
     * The server's time: phone clocks are wrong. Always a time that calendars have, since what is written down with it
     * must be readable again, whatever a server says.
     */
    serverNowMs(): number {
        return Math.max(0, Math.min(this.#clock.nowMs() + this.#serverAheadMs, LATEST_MS));
    }

    /** Connect now rather than at the end of the delay: the network came back, or a person asks. */
    hurry(): void {
        this.#session?.doubt();
        this.#wake?.();
    }

    /** Open another session in place of this one: with a token that this one's socket would not take. */
    again(): void {
        this.#session?.end(NO_CODE);
        this.hurry();
    }

    /** End it; `run` resolves. */
    stop(): void {
        this.#over = true;
        this.#session?.end(NO_CODE);
        this.#wake?.();
    }

    /** Stay connected until `stop`. Rejects with `Stopped` when the server says not to come back. */
    async run(): Promise<void> {
        let attempt = 0;
        while (!this.#over) {
            this.#tell('connecting');
            const beganMs = this.#clock.monotonicMs();
            const code = await this.#oneSession();
            const next = afterClose(code);
            if (next === 'stop') {
                this.#tell('stopped', { code });
                throw new Stopped(code);
            }
            if (this.#isOver()) break;
            if (this.#clock.monotonicMs() - beganMs >= STEADY_MS) attempt = 0;
            const delayMs = backoffMs(attempt, this.#random);
            attempt += 1;
            this.#tell('offline', { code, retryInMs: delayMs });
            if (next === 'sign_in') await this.#signInAgain();
            await this.#pause(delayMs);
        }
        this.#tell('offline', { code: this.#status.code });
    }

    /**
     * Send what `build` makes for a request number and wait for its answer, `refused` included. Rejects with `Offline`
     * when there is no session or it ended first: whether the server acted is then unknown.
     */
    request(build: (req: number) => ClientMessage, timeoutMs = ANSWER_TIMEOUT_MS): Promise<Reply> {
        const session = this.#session;
        if (session?.isOpen() !== true) return Promise.reject(new Offline());
        const req = this.#number();
        const message = build(req);
        let frame: Bytes;
        try {
            frame = encode(message);
        } catch (error) {
            return Promise.reject(error instanceof Error ? error : new Offline());
        }
        const bytes = REQUEST_BYTES + (message.kind === 'publish' ? message.payload.length : 0);
        return new Promise((resolve, reject) => {
            const cancel = this.#clock.after(timeoutMs, () => {
                session.forget(req);
                reject(new Offline());
            });
            session.ask({
                req,
                frame,
                bytes,
                answered: (reply) => {
                    cancel();
                    resolve(reply);
                },
                failed: (error) => {
                    cancel();
                    reject(error);
                },
            });
        });
    }

    /** Send what nobody answers. Throws `Offline` when there is no session. `build` is given a request number. */
    send(build: (req: number) => ClientMessage): void {
        const session = this.#session;
        if (session?.isOpen() !== true) throw new Offline();
        session.say(encode(build(this.#number())));
    }

    /** Say something to the bridge of this consult's call. Throws `Offline`; what comes of it comes to `Sink.onVideo`. */
    signal(consult: ConsultId, body: Bytes): void {
        const session = this.#session;
        if (session?.isOpen() !== true) throw new Offline();
        const req = this.#number();
        session.signal(req, consult, encode({ kind: 'video', req, consult, body }));
    }

    /** Bytes handed to the socket that have not left yet: who streams holds back above a few frames. */
    get unsentBytes(): number {
        return this.#session?.unsentBytes ?? 0;
    }

    #isOver(): boolean {
        return this.#over;
    }

    #number(): number {
        this.#req = (this.#req % 0xffffffff) + 1;
        return this.#req;
    }

    /** One link from dial to its end; the code that ended it. */
    async #oneSession(): Promise<number> {
        const session = new Session({
            clock: this.#clock,
            hello: (nonce) => this.#hello(nonce),
            welcomed: (welcome) => {
                this.#hear(welcome.serverMs);
                this.#tell('online');
                this.#sink.onOnline(welcome);
                void this.#renewInTime(session, welcome.tokenUntilMs);
            },
            push: (message) => {
                if (message.kind === 'beat') {
                    this.#hear(message.serverMs);
                    if (message.degraded !== this.#status.degraded) {
                        this.#tell('online', { degraded: message.degraded });
                    }
                }
                this.#sink.onPush(message);
            },
            video: (said) => this.#sink.onVideo?.(said),
        });
        this.#session = session;
        const code = await session.run(this.#dialer);
        this.#session = null;
        if (session.wasWelcomed) this.#sink.onOffline();
        return code;
    }

    async #hello(nonce: Bytes): Promise<Bytes> {
        const token = await this.#tokens.token();
        const proof = await this.#sign(pae(utf8('leeside1 socket'), nonce, utf8(token)));
        this.#token = token;
        return encode({ kind: 'hello', token, proof, client: CLIENT_NAME });
    }

    async #renewInTime(session: Session, untilMs: number): Promise<void> {
        let waitMs = Math.max(1_000, untilMs - this.serverNowMs() - RENEW_AHEAD_MS);
        while (session.isOpen()) {
            await session.sleep(waitMs);
            if (!session.isOpen()) return;
            waitMs = RENEW_AGAIN_MS;
            try {
                const token = await this.#tokens.renew(this.#token);
                if (!session.isOpen()) return;
                const reply = await this.request((req) => ({ kind: 'renew', req, token }));
                if (reply.kind === 'renewed') {
                    this.#token = token;
                    waitMs = Math.max(1_000, reply.tokenUntilMs - this.serverNowMs() - RENEW_AHEAD_MS);
                }
            } catch (error) {
                if (!(error instanceof ApiError) && !(error instanceof Offline)) {
                    session.end(CloseCode.internal);
                    return;
                }
            }
        }
    }

    /** After 41xx: a newer token before the next try. What fails here fails there again, and is told there. */
    async #signInAgain(): Promise<void> {
        await new Promise<void>((resolve) => {
            const cancel = this.#clock.after(SIGN_IN_TIMEOUT_MS, resolve);
            const done = (): void => {
                cancel();
                resolve();
            };
            this.#tokens.renew(this.#token).then(done, done);
        });
    }

    async #pause(delayMs: number): Promise<void> {
        if (this.#over) return;
        await new Promise<void>((resolve) => {
            const cancel = this.#clock.after(delayMs, resolve);
            this.#wake = () => {
                cancel();
                resolve();
            };
        });
        this.#wake = null;
    }

    #hear(serverMs: number): void {
        this.#serverAheadMs = serverMs - this.#clock.nowMs();
    }

    #tell(
        state: LinkStatus['state'],
        { code = 0, retryInMs = 0, degraded = false }: Partial<LinkStatus> = {},
    ): void {
        this.#status = { state, sinceMs: this.#clock.nowMs(), code, retryInMs, degraded };
        this.#sink.onStatus(this.#status);
    }
}

interface SessionOwner {
    readonly clock: Clock;
    hello(nonce: Bytes): Promise<Bytes>;
    welcomed(welcome: Welcome): void;
    push(push: Push): void;
    video(said: VideoTold | VideoRefused): void;
}

/** One link from dial to its end. Everything after `end` is ignored. */
class Session {
    readonly #owner: SessionOwner;
    readonly #clock: Clock;
    readonly #waiting: Request[] = [];
    readonly #underWay = new Map<number, Request>();
    /** Signals by their numbers, the oldest first. */
    readonly #signals = new Map<number, ConsultId>();
    #underWayBytes = 0;
    #most = { messages: 1, bytes: Number.POSITIVE_INFINITY };
    #link: Link | null = null;
    #phase: 'dialling' | 'proving' | 'open' | 'ended' = 'dialling';
    #heardMs: number;
    /** The same by the clock on the wall. */
    #heardAtMs: number;
    #saidMs: number;
    #finish: (code: number) => void = () => undefined;
    #alarm: () => void = () => undefined;
    #sleepers = new Set<() => void>();
    wasWelcomed = false;

    constructor(owner: SessionOwner) {
        this.#owner = owner;
        this.#clock = owner.clock;
        this.#heardMs = this.#saidMs = this.#clock.monotonicMs();
        this.#heardAtMs = this.#clock.nowMs();
    }

    /** A method, since it changes over awaits. */
    isOpen(): boolean {
        return this.#phase === 'open';
    }

    get unsentBytes(): number {
        return this.#link?.unsentBytes ?? 0;
    }

    run(dialer: Dialer): Promise<number> {
        return new Promise((resolve) => {
            this.#finish = resolve;
            this.#alarm = this.#clock.after(WELCOME_TIMEOUT_MS, () => this.end(CloseCode.silent));
            this.#link = dialer.dial({
                frame: (data) => this.#frame(data),
                closed: (code) => this.end(code),
            });
        });
    }

    /** The first call counts. */
    end(code: number): void {
        if (this.#phase === 'ended') return;
        this.#phase = 'ended';
        this.#alarm();
        this.#link?.close();
        const waiting = [...this.#underWay.values(), ...this.#waiting];
        this.#underWay.clear();
        this.#waiting.length = 0;
        for (const request of waiting) request.failed(new Offline());
        for (const wake of this.#sleepers) wake();
        this.#finish(code);
    }

    /** Resolves after the delay, or when the session ends. */
    sleep(delayMs: number): Promise<void> {
        if (this.#phase === 'ended') return Promise.resolve();
        return new Promise((resolve) => {
            const wake = (): void => {
                cancel();
                this.#sleepers.delete(wake);
                resolve();
            };
            const cancel = this.#clock.after(delayMs, wake);
            this.#sleepers.add(wake);
        });
    }

    ask(request: Request): void {
        this.#waiting.push(request);
        this.#sendOn();
    }

    /**
     * Somebody came back to this device: two heartbeats that did not come by either clock are enough then. A machine that
     * slept has a monotonic clock that slept, too, and would show a dead link as a live one for half a minute.
     */
    doubt(): void {
        const quietMs = Math.max(
            this.#clock.monotonicMs() - this.#heardMs,
            this.#clock.nowMs() - this.#heardAtMs,
        );
        if (this.#phase === 'open' && quietMs > 2 * BEAT_S * 1000) this.end(CloseCode.silent);
    }

    /** Nobody waits for this answer any more. What never gets one must not hold up the others for ever. */
    forget(req: number): void {
        const at = this.#waiting.findIndex((request) => request.req === req);
        if (at >= 0) this.#waiting.splice(at, 1);
        else this.#settle(req);
        this.#sendOn();
    }

    say(frame: Bytes): void {
        this.#saidMs = this.#clock.monotonicMs();
        this.#link?.send(frame);
    }

    signal(req: number, consult: ConsultId, frame: Bytes): void {
        this.#signals.set(req, consult);
        for (const oldest of this.#signals.keys()) {
            if (this.#signals.size <= SIGNALS_KEPT) break;
            this.#signals.delete(oldest);
        }
        this.say(frame);
    }

    #sendOn(): void {
        for (;;) {
            const next = this.#waiting[0];
            if (next === undefined || this.#phase !== 'open') return;
            const room =
                this.#underWay.size === 0 ||
                (this.#underWay.size < this.#most.messages &&
                    this.#underWayBytes + next.bytes <= this.#most.bytes);
            if (!room) return;
            this.#waiting.shift();
            this.#underWay.set(next.req, next);
            this.#underWayBytes += next.bytes;
            this.say(next.frame);
        }
    }

    #frame(data: Bytes): void {
        if (this.#phase === 'ended') return;
        this.#heardMs = this.#clock.monotonicMs();
        this.#heardAtMs = this.#clock.nowMs();
        let message: ServerMessage | null;
        try {
            message = decodeServer(data);
        } catch (error) {
            if (!(error instanceof ProtocolError)) throw error;
            // A server that speaks something else is not understood by trying harder; another node may be.
            this.end(CloseCode.internal);
            return;
        }
        if (message !== null) this.#receive(message);
    }

    #receive(message: ServerMessage): void {
        if (message.kind === 'challenge' && this.#phase === 'dialling') {
            this.#phase = 'proving';
            void this.#prove(message.nonce);
        } else if (message.kind === 'welcome' && this.#phase === 'proving') {
            this.#open(message);
        } else if (this.#phase === 'open') {
            this.#take(message);
        } else {
            this.end(CloseCode.internal);
        }
    }

    #take(message: ServerMessage): void {
        switch (message.kind) {
            case 'refused':
                // Number 0: nobody asked; a log that was followed is no longer ours.
                if (message.req === 0) this.#owner.push(message);
                else this.#refused(message);
                break;
            case 'accepted':
            case 'online':
            case 'renewed':
                this.#answer(message);
                break;
            case 'subscribed':
                this.#owner.push(message);
                this.#answer(message);
                break;
            case 'batch':
            case 'live':
            case 'beat':
                this.#owner.push(message);
                break;
            case 'video_told':
                this.#owner.video(message);
                break;
            case 'challenge':
            case 'welcome':
                this.end(CloseCode.internal);
        }
    }

    #refused(message: Refused): void {
        const consult = this.#signals.get(message.req);
        if (consult === undefined) {
            this.#answer(message);
            return;
        }
        this.#signals.delete(message.req);
        const { error, retryMs } = message;
        this.#owner.video({ kind: 'video_refused', consult, error, retryMs });
    }

    async #prove(nonce: Bytes): Promise<void> {
        try {
            const hello = await this.#owner.hello(nonce);
            if (this.#phase === 'proving') this.say(hello);
        } catch (error) {
            this.end(error instanceof ApiError ? codeOf(error) : CloseCode.internal);
        }
    }

    #open(welcome: Welcome): void {
        this.#phase = 'open';
        this.wasWelcomed = true;
        this.#most = {
            messages: Math.max(1, welcome.inFlightMessages),
            bytes: welcome.inFlightBytes,
        };
        this.#alarm();
        this.#watch();
        this.#owner.welcomed(welcome);
        this.#sendOn();
    }

    #answer(reply: Reply): void {
        this.#settle(reply.req)?.answered(reply);
        this.#sendOn();
    }

    #settle(req: number): Request | undefined {
        const request = this.#underWay.get(req);
        if (request !== undefined) {
            this.#underWay.delete(req);
            this.#underWayBytes -= request.bytes;
        }
        return request;
    }

    /** Beat when nothing else was said, and give up when nothing was heard. */
    #watch(): void {
        const nowMs = this.#clock.monotonicMs();
        const silentAtMs = this.#heardMs + SILENT_S * 1000;
        if (nowMs >= silentAtMs) {
            this.end(CloseCode.silent);
            return;
        }
        if (nowMs >= this.#saidMs + BEAT_S * 1000) {
            this.say(encode({ kind: 'client_beat', atMs: Math.max(0, Math.trunc(this.#clock.nowMs())) }));
        }
        const dueMs = Math.min(this.#saidMs + BEAT_S * 1000, silentAtMs);
        this.#alarm = this.#clock.after(Math.max(50, dueMs - nowMs), () => this.#watch());
    }
}

/** What a refusal to sign in means for the link. Only the server itself ends it for good. */
function codeOf(error: ApiError): number {
    if (!error.told) return CloseCode.internal;
    switch (error.number) {
        case WireError.revoked:
        case WireError.not_found:
        case WireError.forbidden:
            return CloseCode.revoked;
        case WireError.unsupported:
            return CloseCode.unsupported;
        case WireError.token_expired:
        case WireError.unauthenticated:
            return CloseCode.token_invalid;
        default:
            return CloseCode.internal;
    }
}
