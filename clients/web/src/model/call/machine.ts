/**
 * A call as a pure machine over signals, time and what the path says (spec 09, "Signalling"). It decides, and `Call` does.
 *
 *     off -> joining -> (waiting ->) live <-> reconnecting -> ended | failed
 *
 * Signals may be lost, so everything that waits for an answer is said again. An *attempt* is one generation: one seat at one
 * bridge, with a path of its own. There are two of them at most: what is shown, and the next one, which takes over with its first
 * frame; so a bridge that empties itself, or that died, costs as little as it can. All times are the caller's milliseconds.
 */
import { WireError } from '~/protocol/errors';
import type { DeviceId } from '~/protocol/ids';
import {
    type BridgeSignal,
    type ClientSignal,
    GoneWhy,
    MediaKind,
    Part,
    type Participant,
    PausedWhy,
    type TurnServer,
} from '~/protocol/video';
import type { CallPhase, CallWhy, Grade, MediaAlarm } from './call';

/** Said again when nothing came for so long. */
export const AGAIN_MS = 2_000;
/** Whoever waits to be let in says so now and then: the word that lets them in may be lost. */
export const WAITING_AGAIN_MS = 10_000;
/** The first join of all gives up after so long; a call that went on never does. */
export const JOIN_MS = 20_000;
/** And so long where it is refused: a device may be about to be let into the channel. */
export const PERMIT_MS = 6_000;
/** A path that restarts has so long before another seat is asked for. */
export const RESTART_MS = 2_500;
/** A next attempt has so long, and longer each time. */
export const NEXT_MS = 4_000;
export const NEXT_MOST_MS = 12_000;
/** A new path that stands takes over after so long, also when nobody sends anything. */
export const TAKE_OVER_MS = 1_500;

export interface Seat {
    readonly participant: Participant;
    /** Empty until the bridge said where their media come. */
    readonly audioMid: string;
    readonly videoMid: string;
    readonly paused: PausedWhy;
    readonly lines: number;
    readonly alarm: MediaAlarm;
}

export type Effect =
    | { readonly do: 'signal'; readonly signal: ClientSignal }
    | { readonly do: 'open'; readonly generation: number; readonly turn: readonly TurnServer[] }
    | { readonly do: 'offer'; readonly generation: number; readonly version: number; readonly sdp: string }
    | { readonly do: 'close'; readonly generation: number }
    /** Who sits where at this generation changed. */
    | { readonly do: 'places'; readonly generation: number }
    /** It is over: camera and microphone off, everything closed. */
    | { readonly do: 'stop' };

export interface Mine {
    readonly audioMuted: boolean;
    readonly videoMuted: boolean;
    readonly person: boolean;
    readonly signs: boolean;
}

interface Attempt {
    readonly generation: number;
    readonly beganMs: number;
    saidMs: number;
    welcomed: boolean;
    waiting: boolean;
    version: number;
    /** The answer to `version`, once there is one: said again when the offer is. */
    answer: ClientSignal | null;
    connectedMs: number | null;
    readonly seats: Map<DeviceId, Seat>;
}

export class CallMachine {
    phase: CallPhase = 'off';
    why: CallWhy = '';
    sinceMs = 0;
    part: Part | null = null;
    restricted = false;
    up: Grade = 3;
    down: Grade = 3;
    audioOnly = false;
    readonly waiting = new Map<DeviceId, Participant>();
    mine: Mine = { audioMuted: false, videoMuted: false, person: false, signs: false };
    #wants: readonly { readonly device: DeviceId; readonly lines: number }[] = [];
    #current: Attempt | null = null;
    #next: Attempt | null = null;
    #nextTries = 0;
    #nextNotBeforeMs = 0;
    #restartMs: number | null = null;
    #generation = 0;
    #effects: Effect[] = [];

    constructor(private readonly me: DeviceId) {}

    /** What is to be done now, once. */
    take(): readonly Effect[] {
        const effects = this.#effects;
        this.#effects = [];
        return effects;
    }

    /** The generation that is shown; null: none. */
    get generation(): number | null {
        return this.#current?.generation ?? null;
    }

    /** Who is there besides this device. */
    get seats(): readonly Seat[] {
        return this.seatsOf(this.#current?.generation ?? 0);
    }

    seatsOf(generation: number): readonly Seat[] {
        return [...(this.#attempt(generation)?.seats.values() ?? [])];
    }

    get goesOn(): boolean {
        return (
            this.phase === 'joining' ||
            this.phase === 'waiting' ||
            this.phase === 'live' ||
            this.phase === 'reconnecting'
        );
    }

    /** Media of mine may go to the others, as far as the bridge's word about consent goes. */
    get mayBeHeard(): boolean {
        return !this.restricted || this.part === null || this.part <= Part.interpreter;
    }

    /** Lets people in, and says who hears. */
    get admits(): boolean {
        return this.part === Part.responder || this.part === Part.psychiatrist;
    }

    // ---- what the person does

    /** `part`: what the consult makes of this device; the bridge goes by its own ticket. */
    join(mine: Mine, part: Part, nowMs: number): void {
        if (this.goesOn) return;
        this.mine = mine;
        this.part = part;
        this.restricted = false;
        this.waiting.clear();
        this.#nextTries = 0;
        this.#restartMs = null;
        this.#stand('joining', '', nowMs);
        this.#current = this.#begin(nowMs);
    }

    leave(why: CallWhy, nowMs: number): void {
        if (!this.goesOn) return;
        if (this.#current !== null) this.#signal({ kind: 'leave', generation: this.#current.generation });
        this.#end('ended', why, nowMs);
    }

    mute(media: 'audio' | 'video', muted: boolean): void {
        this.mine =
            media === 'audio' ? { ...this.mine, audioMuted: muted } : { ...this.mine, videoMuted: muted };
        if (this.#current?.welcomed === true) this.#sayMuted(this.#current, media);
    }

    /** Whether this camera shows the person: told by joining again on the seat that is held. */
    showPerson(person: boolean, nowMs: number): void {
        this.mine = { ...this.mine, person };
        if (this.#current !== null) this.#sayJoin(this.#current, nowMs);
    }

    admit(device: DeviceId): void {
        if (this.#current !== null)
            this.#signal({ kind: 'admit', generation: this.#current.generation, device });
    }

    restrict(restricted: boolean): void {
        if (this.#current !== null && this.admits && this.restricted !== restricted)
            this.#signal({ kind: 'restrict', generation: this.#current.generation, restricted });
    }

    want(pictures: readonly { readonly device: DeviceId; readonly lines: number }[]): void {
        this.#wants = pictures;
        if (this.#current?.welcomed === true) this.#sayWants(this.#current);
    }

    /** What went out was not sealed. */
    unsealed(nowMs: number): void {
        if (this.#current !== null) this.#signal({ kind: 'leave', generation: this.#current.generation });
        this.#end('failed', 'unsealed', nowMs);
    }

    /** What cannot go on for a reason of this device's own. */
    fail(why: CallWhy, nowMs: number): void {
        if (this.goesOn) this.#end('failed', why, nowMs);
    }

    // ---- what the path says

    /** The answer to an offer; said again with it. */
    answered(generation: number, version: number, sdp: string): void {
        const attempt = this.#attempt(generation);
        if (attempt?.version !== version) return;
        attempt.answer = { kind: 'answer', generation, version, sdp };
        this.#signal(attempt.answer);
    }

    connected(generation: number, nowMs: number): void {
        const attempt = this.#attempt(generation);
        if (attempt === null) return;
        attempt.connectedMs ??= nowMs;
        if (attempt === this.#current) this.#alive(nowMs);
    }

    /** The first frame came. */
    frame(generation: number, nowMs: number): void {
        if (this.#next?.generation === generation) this.#takeOver(nowMs);
        else this.heard(generation, nowMs);
    }

    heard(generation: number, nowMs: number): void {
        if (this.#current?.generation === generation) this.#alive(nowMs);
    }

    /** Nothing comes: the path is looked for again, on the seat that is held. */
    silent(generation: number, nowMs: number): void {
        if (this.#current?.generation !== generation) return;
        if (this.phase === 'live') this.#stand('reconnecting', '', nowMs);
        this.#restart(nowMs);
    }

    /** The device is in another network, most likely. */
    moved(generation: number, nowMs: number): void {
        if (this.#current?.generation === generation && this.phase === 'live') this.#restart(nowMs);
    }

    /** The transport is gone for good: another seat. */
    failed(generation: number, nowMs: number): void {
        if (this.#next?.generation === generation) this.#dropNext();
        else if (this.#current?.generation === generation && this.phase !== 'waiting') {
            this.#stand('reconnecting', '', nowMs);
            this.#again(nowMs);
        }
    }

    /** There is a socket again: whatever the bridge says comes to the one that spoke last. */
    linked(nowMs: number): void {
        for (const attempt of this.#attempts()) {
            if (attempt.welcomed && !attempt.waiting) this.#sayWants(attempt);
            else this.#sayJoin(attempt, nowMs);
        }
    }

    alarm(generation: number, mid: string, alarm: Exclude<MediaAlarm, ''>): void {
        const attempt = this.#attempt(generation);
        if (attempt === null) return;
        for (const [device, seat] of attempt.seats)
            if (seat.audioMid === mid || seat.videoMid === mid) attempt.seats.set(device, { ...seat, alarm });
    }

    // ---- time

    tick(nowMs: number): void {
        for (const attempt of this.#attempts()) {
            const patienceMs = attempt.waiting ? WAITING_AGAIN_MS : AGAIN_MS;
            const answered = attempt.welcomed && attempt.version >= 0;
            if (!answered && nowMs - attempt.saidMs >= patienceMs) this.#sayJoin(attempt, nowMs);
        }
        if (this.phase === 'joining' && nowMs - this.sinceMs >= JOIN_MS) {
            this.#end('failed', 'unavailable', nowMs);
            return;
        }
        if (this.#next !== null) {
            const { connectedMs, beganMs } = this.#next;
            const limitMs = Math.min(NEXT_MOST_MS, NEXT_MS * this.#nextTries);
            if (connectedMs !== null && nowMs - connectedMs >= TAKE_OVER_MS) this.#takeOver(nowMs);
            else if (connectedMs === null && nowMs - beganMs >= limitMs) {
                this.#dropNext();
                this.#again(nowMs);
            }
        } else if (this.phase === 'reconnecting') {
            const restarting = this.#restartMs !== null && nowMs - this.#restartMs < RESTART_MS;
            if (!restarting) this.#again(nowMs);
        }
    }

    // ---- what the bridge and the relay say

    /** The relay passed nothing on. */
    refused(code: number, nowMs: number): void {
        if (!this.goesOn) return;
        switch (code) {
            case WireError.expired:
                this.#end('ended', 'over', nowMs);
                break;
            case WireError.not_found:
            case WireError.unsupported:
            case WireError.invalid:
                // Of one whose seat stands it is a word that was not for them, and nothing more.
                if (this.phase === 'joining') this.#end('failed', 'not_permitted', nowMs);
                break;
            case WireError.forbidden:
            case WireError.conflict:
                // Accepted a moment ago, and let into the channel in the next: it is asked again, for a while.
                if (this.phase === 'joining' && nowMs - this.sinceMs >= PERMIT_MS)
                    this.#end('failed', 'not_permitted', nowMs);
                break;
            default:
                // No bridge now, or too much at once: said again in two seconds, until the join gives up.
                break;
        }
    }

    hear(signal: BridgeSignal, nowMs: number): void {
        const attempt = this.#attempt(signal.generation);
        if (attempt === null || !this.goesOn) return;
        switch (signal.kind) {
            case 'welcome':
                this.#welcome(attempt, signal, nowMs);
                break;
            case 'offer':
                this.#offer(attempt, signal);
                break;
            case 'slot':
                this.#seat(attempt, signal);
                break;
            case 'gone':
                this.#gone(attempt, signal, nowMs);
                break;
            case 'muted': {
                const { device, muted } = signal;
                const key = signal.media === MediaKind.audio ? 'audioMuted' : 'videoMuted';
                this.#change(attempt, device, (seat) => ({
                    ...seat,
                    participant: { ...seat.participant, [key]: muted },
                }));
                break;
            }
            case 'paused': {
                const { why, lines } = signal;
                this.#change(attempt, signal.device, (seat) => ({ ...seat, paused: why, lines }));
                break;
            }
            case 'quality':
                if (attempt !== this.#current) break;
                this.up = signal.up as Grade;
                this.down = signal.down as Grade;
                this.audioOnly = signal.audioOnly;
                break;
            case 'violation':
                if (signal.device === this.me) this.unsealed(nowMs);
                else
                    this.#change(attempt, signal.device, (seat) => ({ ...seat, paused: PausedWhy.unsealed }));
                break;
            case 'migrate':
                if (attempt === this.#next) this.#dropNext();
                this.#again(nowMs);
                break;
            case 'waiting':
                this.waiting.set(signal.participant.device, signal.participant);
                break;
            case 'denied':
                this.#denied(attempt, signal.error, signal.retryMs, nowMs);
                break;
            case 'restricted':
                this.restricted = signal.restricted;
                break;
        }
    }

    #welcome(
        attempt: Attempt,
        signal: Extract<BridgeSignal, { readonly kind: 'welcome' }>,
        nowMs: number,
    ): void {
        const first = !attempt.welcomed;
        attempt.welcomed = true;
        attempt.waiting = signal.waiting;
        this.restricted = signal.restricted;
        for (const participant of signal.participants) this.#known(attempt, participant);
        if (first) this.#effects.push({ do: 'open', generation: attempt.generation, turn: signal.turn });
        if (attempt === this.#current && this.phase === 'joining' && signal.waiting)
            this.#stand('waiting', '', nowMs);
        if (signal.waiting) return;
        if (this.mine.audioMuted) this.#sayMuted(attempt, 'audio');
        if (this.mine.videoMuted) this.#sayMuted(attempt, 'video');
        if (this.#wants.length > 0) this.#sayWants(attempt);
    }

    #offer(attempt: Attempt, signal: Extract<BridgeSignal, { readonly kind: 'offer' }>): void {
        const { generation, version, sdp } = signal;
        attempt.waiting = false;
        if (version === attempt.version) {
            // It was said again, since the answer was lost.
            if (attempt.answer !== null) this.#signal(attempt.answer);
            return;
        }
        if (version < attempt.version) return;
        attempt.version = version;
        attempt.answer = null;
        this.#effects.push({ do: 'offer', generation, version, sdp });
    }

    #seat(attempt: Attempt, signal: Extract<BridgeSignal, { readonly kind: 'slot' }>): void {
        const { participant, audioMid, videoMid } = signal;
        this.waiting.delete(participant.device);
        const seat = this.#known(attempt, participant);
        attempt.seats.set(participant.device, { ...seat, audioMid, videoMid });
        this.#effects.push({ do: 'places', generation: attempt.generation });
    }

    #known(attempt: Attempt, participant: Participant): Seat {
        const known = attempt.seats.get(participant.device);
        const seat: Seat = {
            audioMid: '',
            videoMid: '',
            paused: PausedWhy.flowing,
            lines: 0,
            alarm: '',
            ...known,
            participant,
        };
        attempt.seats.set(participant.device, seat);
        return seat;
    }

    #gone(
        attempt: Attempt,
        { device, why }: { readonly device: DeviceId; readonly why: GoneWhy },
        nowMs: number,
    ): void {
        this.waiting.delete(device);
        if (device === this.me) {
            if (attempt !== this.#current) return;
            if (why === GoneWhy.ended) this.#end('ended', 'over', nowMs);
            else if (why === GoneWhy.removed)
                this.#end('ended', this.phase === 'waiting' ? 'not_admitted' : 'removed', nowMs);
            else this.failed(attempt.generation, nowMs);
            return;
        }
        if (attempt.seats.delete(device))
            this.#effects.push({ do: 'places', generation: attempt.generation });
    }

    #denied(attempt: Attempt, error: number, retryMs: number, nowMs: number): void {
        if (error === WireError.expired) {
            this.#end('ended', 'over', nowMs);
            return;
        }
        if (attempt === this.#next) {
            // The call goes on as it is, and asks again.
            this.#dropNext();
            this.#nextNotBeforeMs = nowMs + Math.max(retryMs, AGAIN_MS);
            return;
        }
        if (this.phase === 'joining' || this.phase === 'waiting') {
            const why =
                error === WireError.busy
                    ? 'busy'
                    : error === WireError.forbidden
                      ? 'not_permitted'
                      : 'unavailable';
            this.#end('failed', why, nowMs);
        } else {
            this.#stand('reconnecting', '', nowMs);
            this.#nextNotBeforeMs = nowMs + Math.max(retryMs, AGAIN_MS);
            this.#again(nowMs);
        }
    }

    // ---- attempts

    #attempt(generation: number): Attempt | null {
        return this.#attempts().find((one) => one.generation === generation) ?? null;
    }

    #attempts(): readonly Attempt[] {
        return [this.#current, this.#next].filter((one) => one !== null);
    }

    /** Numbers rise over reloads too, by the clock. */
    #begin(nowMs: number): Attempt {
        this.#generation = Math.max(this.#generation + 1, Math.floor(nowMs));
        const attempt: Attempt = {
            generation: this.#generation,
            beganMs: nowMs,
            saidMs: nowMs,
            welcomed: false,
            waiting: false,
            version: -1,
            answer: null,
            connectedMs: null,
            seats: new Map(),
        };
        this.#sayJoin(attempt, nowMs);
        return attempt;
    }

    /** Another seat, while the old one is still shown. */
    #again(nowMs: number): void {
        if (this.#next !== null || nowMs < this.#nextNotBeforeMs) return;
        if (this.#current?.connectedMs == null) {
            // There is nothing to show: it simply begins anew.
            if (this.#current !== null) this.#close(this.#current);
            this.#current = this.#begin(nowMs);
            return;
        }
        this.#nextTries += 1;
        this.#next = this.#begin(nowMs);
    }

    #takeOver(nowMs: number): void {
        if (this.#next === null) return;
        const old = this.#current;
        this.#current = this.#next;
        this.#next = null;
        if (old !== null) {
            // It may have to be told: a bridge that empties itself waits for it.
            this.#signal({ kind: 'leave', generation: old.generation });
            this.#close(old);
        }
        this.#alive(nowMs);
        this.#effects.push({ do: 'places', generation: this.#current.generation });
    }

    #dropNext(): void {
        if (this.#next !== null) this.#close(this.#next);
        this.#next = null;
    }

    #close(attempt: Attempt): void {
        this.#effects.push({ do: 'close', generation: attempt.generation });
    }

    #alive(nowMs: number): void {
        this.#restartMs = null;
        this.#nextTries = 0;
        if (this.phase === 'joining' || this.phase === 'waiting' || this.phase === 'reconnecting')
            this.#stand('live', '', nowMs);
    }

    #restart(nowMs: number): void {
        if (this.#current === null || this.#next !== null) return;
        if (this.#restartMs !== null && nowMs - this.#restartMs < RESTART_MS) return;
        this.#restartMs = nowMs;
        this.#signal({ kind: 'restart_ice', generation: this.#current.generation });
    }

    #change(attempt: Attempt, device: DeviceId, change: (seat: Seat) => Seat): void {
        const seat = attempt.seats.get(device);
        if (seat !== undefined) attempt.seats.set(device, change(seat));
    }

    // ---- saying

    #sayJoin(attempt: Attempt, nowMs: number): void {
        attempt.saidMs = nowMs;
        const { person, signs } = this.mine;
        this.#signal({ kind: 'join', generation: attempt.generation, person, signs });
    }

    #sayMuted({ generation }: Attempt, media: 'audio' | 'video'): void {
        const muted = media === 'audio' ? this.mine.audioMuted : this.mine.videoMuted;
        this.#signal({ kind: 'mute', generation, media: MediaKind[media], muted });
    }

    #sayWants({ generation }: Attempt): void {
        this.#signal({ kind: 'want', generation, pictures: this.#wants });
    }

    #signal(signal: ClientSignal): void {
        this.#effects.push({ do: 'signal', signal });
    }

    #stand(phase: CallPhase, why: CallWhy, nowMs: number): void {
        if (this.phase === phase && this.why === why) return;
        this.phase = phase;
        this.why = why;
        this.sinceMs = nowMs;
    }

    #end(phase: 'ended' | 'failed', why: CallWhy, nowMs: number): void {
        for (const attempt of this.#attempts()) this.#close(attempt);
        this.#current = null;
        this.#next = null;
        this.waiting.clear();
        this.#stand(phase, why, nowMs);
        this.#effects.push({ do: 'stop' });
    }
}
