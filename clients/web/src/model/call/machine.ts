/**
 * A call as a pure machine over signals, time and what the path says (spec 09, "Signalling"). It decides, and `Call` does.
 *
 *     off -> joining -> (waiting ->) live <-> reconnecting -> ended | failed
 *
 * Here is how a call is joined, held and joined again. There are two attempts (`attempt.ts`) at most: what is shown, and the next
 * one, which takes over with its first frame; so a bridge that empties itself, or that died, costs as little as it can. What holds
 * whatever the path does stands apart: who may be heard, and who waits to be let in (`rights.ts`).
 *
 * Signals may be lost, so everything that waits for an answer is said again. All times are the caller's milliseconds.
 */
import { WireError } from '~/protocol/errors';
import type { DeviceId } from '~/protocol/ids';
import { type BridgeSignal, GoneWhy, type Part, PausedWhy } from '~/protocol/video';
import { AGAIN_MS, Attempt, type Mine, type Seat, type Wanted } from './attempt';
import type { CallMedia, CallPhase, CallWhy, Grade, MediaAlarm } from './call';
import type { Effect } from './effects';
import { CallRights } from './rights';

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

export class CallMachine {
    phase: CallPhase = 'off';
    why: CallWhy = '';
    sinceMs = 0;
    readonly rights = new CallRights();
    up: Grade = 3;
    down: Grade = 3;
    audioOnly = false;
    mine: Mine = { audioMuted: false, videoMuted: false, person: false, signs: false };
    #wants: readonly Wanted[] = [];
    #current: Attempt | null = null;
    #next: Attempt | null = null;
    #tries = 0;
    #nextNotBeforeMs = 0;
    /** When all is said again, since the relay did not pass something on; null: it did. */
    #repeatMs: number | null = null;
    /** How often on end there was no bridge. */
    #unavailable = 0;
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
        return this.#attempt(generation)?.seats ?? [];
    }

    /** The bridge gave this device a seat: it takes what is said. */
    get hasSeat(): boolean {
        return this.#current?.welcomed === true && !this.#current.waiting;
    }

    get goesOn(): boolean {
        return (
            this.phase === 'joining' ||
            this.phase === 'waiting' ||
            this.phase === 'live' ||
            this.phase === 'reconnecting'
        );
    }

    // ---- what the person does

    /** `part`: what the consult makes of this device; the bridge goes by its own ticket. */
    join(mine: Mine, part: Part, nowMs: number): void {
        if (this.goesOn) return;
        this.mine = mine;
        this.rights.begin(part);
        this.#tries = 0;
        this.#restartMs = null;
        this.#repeatMs = null;
        this.#unavailable = 0;
        this.#stand('joining', '', nowMs);
        this.#current = this.#begin(nowMs);
    }

    leave(why: CallWhy, nowMs: number): void {
        if (!this.goesOn) return;
        this.#current?.leave();
        this.#end('ended', why, nowMs);
    }

    mute(media: CallMedia, muted: boolean): void {
        this.mine =
            media === 'audio' ? { ...this.mine, audioMuted: muted } : { ...this.mine, videoMuted: muted };
        if (this.#current?.welcomed === true) this.#current.mute(media, muted);
    }

    /** Whether this camera shows the person: told by joining again on the seat that is held. */
    showPerson(person: boolean, nowMs: number): void {
        this.mine = { ...this.mine, person };
        this.#current?.join(this.mine, nowMs);
    }

    admit(device: DeviceId): void {
        this.#current?.admit(device);
    }

    restrict(restricted: boolean): void {
        if (this.rights.admits && this.rights.restricted !== restricted) this.#current?.restrict(restricted);
    }

    refuse(device: DeviceId): void {
        this.#current?.refuse(device);
    }

    want(pictures: readonly Wanted[]): void {
        this.#wants = pictures;
        if (this.#current?.welcomed === true) this.#current.want(pictures);
    }

    /** What went out was not sealed. */
    unsealed(nowMs: number): void {
        this.#current?.leave();
        this.#end('failed', 'unsealed', nowMs);
    }

    // ---- what the path says

    /** The answer to an offer; said again with it. */
    answered(generation: number, version: number, sdp: string): void {
        this.#attempt(generation)?.answered(version, sdp);
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
        else if (this.#current?.generation === generation) {
            const stood = this.#current.connectedMs !== null;
            this.#current.failed = true;
            // One that never stood is still joining, or waits: that gives up by itself.
            if (stood) this.#stand('reconnecting', '', nowMs);
            if (stood || !this.#hasTime(this.#current, nowMs)) this.#again(nowMs);
        }
    }

    /** There is another socket: the bridge says on it again what was lost without one, and hears again what may not have come. */
    linked(nowMs: number): void {
        for (const attempt of this.#attempts()) attempt.join(this.mine, nowMs);
    }

    alarm(generation: number, mid: string, alarm: Exclude<MediaAlarm, ''>, nowMs: number): void {
        this.#attempt(generation)?.alarm(mid, alarm, nowMs);
    }

    // ---- time

    tick(nowMs: number): void {
        for (const attempt of this.#attempts()) attempt.tick(this.mine, nowMs);
        if (this.#repeatMs !== null && nowMs >= this.#repeatMs) {
            this.#repeatMs = null;
            this.linked(nowMs);
        }
        if (this.phase === 'joining' && nowMs - this.sinceMs >= JOIN_MS) {
            this.#end('failed', 'unavailable', nowMs);
            return;
        }
        if (this.#next !== null) {
            const { connectedMs } = this.#next;
            if (connectedMs !== null && nowMs - connectedMs >= TAKE_OVER_MS) this.#takeOver(nowMs);
            else if (connectedMs === null && !this.#hasTime(this.#next, nowMs)) {
                this.#dropNext();
                this.#again(nowMs);
            }
        } else if (this.#current !== null && this.#isLost(this.#current, nowMs)) this.#again(nowMs);
    }

    /** Nothing is to be hoped for of this attempt any more. A path that stood once may stand again, whatever it was meanwhile. */
    #isLost(attempt: Attempt, nowMs: number): boolean {
        if (attempt.connectedMs === null) return attempt.failed && !this.#hasTime(attempt, nowMs);
        const isRestarting = this.#restartMs !== null && nowMs - this.#restartMs < RESTART_MS;
        return this.phase === 'reconnecting' && !isRestarting;
    }

    /** An attempt whose path does not stand yet has so long, and longer each time: asked anew too soon, none ever comes about. */
    #hasTime({ beganMs }: Attempt, nowMs: number): boolean {
        return nowMs - beganMs < Math.min(NEXT_MOST_MS, NEXT_MS * Math.max(1, this.#tries));
    }

    // ---- what the bridge and the relay say

    /** The relay passed nothing on. */
    refused(code: number, retryMs: number, nowMs: number): void {
        if (!this.goesOn) return;
        switch (code) {
            case WireError.expired:
                this.#end('ended', 'over', nowMs);
                break;
            case WireError.unsupported:
            case WireError.invalid:
                // Of one whose seat stands it is a word that was not for them, and nothing more.
                if (this.phase === 'joining') this.#end('failed', 'not_permitted', nowMs);
                break;
            case WireError.not_found:
            case WireError.forbidden:
            case WireError.conflict:
                this.#notPermitted(code, nowMs);
                break;
            case WireError.rate_limited:
                // Which word it was is not said: a mute, or how large a picture is wanted, is heard by nobody and not missed.
                this.#repeatMs ??= nowMs + AGAIN_MS;
                break;
            default:
                // No bridge now, and another one most likely in a moment: looked for soon at first, until the join gives up.
                // Several words may be refused before the next is said; that is one time.
                if (this.#repeatMs !== null) break;
                this.#repeatMs = nowMs + Math.min(AGAIN_MS, (retryMs || AGAIN_MS) * 2 ** this.#unavailable);
                this.#unavailable += 1;
                break;
        }
    }

    #notPermitted(code: number, nowMs: number): void {
        const isLong = nowMs - this.sinceMs >= PERMIT_MS;
        // Accepted a moment ago, and let into the channel in the next: it is asked again, for a while.
        if (this.phase === 'joining' && (isLong || code === WireError.not_found))
            this.#end('failed', 'not_permitted', nowMs);
        // Its seat is gone, and it was not there to hear why.
        else if (this.phase === 'reconnecting' && isLong) this.#end('ended', 'removed', nowMs);
    }

    hear(signal: BridgeSignal, nowMs: number): void {
        const attempt = this.#attempt(signal.generation);
        if (attempt === null || !this.goesOn) return;
        switch (signal.kind) {
            case 'welcome':
                this.#welcome(attempt, signal, nowMs);
                break;
            case 'offer':
                attempt.offer(signal);
                break;
            case 'slot':
                this.rights.waiting.delete(signal.participant.device);
                attempt.slot(signal);
                break;
            case 'gone':
                this.#gone(attempt, signal.device, signal.why, nowMs);
                break;
            case 'muted':
                attempt.muted(signal);
                break;
            case 'paused':
                attempt.paused(signal.device, signal.why, signal.lines);
                break;
            case 'quality':
                if (attempt !== this.#current) break;
                this.up = signal.up as Grade;
                this.down = signal.down as Grade;
                this.audioOnly = signal.audioOnly;
                break;
            case 'violation':
                if (signal.device === this.me) this.unsealed(nowMs);
                else attempt.paused(signal.device, PausedWhy.unsealed);
                break;
            case 'migrate':
                if (attempt === this.#next) this.#dropNext();
                this.#again(nowMs);
                break;
            case 'waiting':
                this.rights.waiting.set(signal.participant.device, signal.participant);
                break;
            case 'denied':
                this.#denied(attempt, signal.error, signal.retryMs, nowMs);
                break;
            case 'restricted':
                this.rights.restricted = signal.restricted;
                break;
        }
    }

    #welcome(
        attempt: Attempt,
        signal: Extract<BridgeSignal, { readonly kind: 'welcome' }>,
        nowMs: number,
    ): void {
        const isFirst = !attempt.welcomed;
        this.rights.restricted = signal.restricted;
        // Who waits is said behind it.
        this.rights.waiting.clear();
        this.#unavailable = 0;
        attempt.welcome(signal);
        if (attempt === this.#current && this.phase === 'joining' && signal.waiting)
            this.#stand('waiting', '', nowMs);
        if (signal.waiting) return;
        const { audioMuted, videoMuted } = this.mine;
        // Nobody is muted at first; later the bridge may have missed that somebody is not any more.
        if (audioMuted || !isFirst) attempt.mute('audio', audioMuted);
        if (videoMuted || !isFirst) attempt.mute('video', videoMuted);
        if (this.#wants.length > 0 || !isFirst) attempt.want(this.#wants);
    }

    #gone(attempt: Attempt, device: DeviceId, why: GoneWhy, nowMs: number): void {
        this.rights.waiting.delete(device);
        if (device !== this.me) {
            attempt.gone(device);
            return;
        }
        if (why === GoneWhy.ended) this.#end('ended', 'over', nowMs);
        else if (why === GoneWhy.removed)
            this.#end('ended', this.phase === 'waiting' ? 'not_admitted' : 'removed', nowMs);
        else this.failed(attempt.generation, nowMs);
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
        const attempt = new Attempt(this.#generation, nowMs, (effect) => this.#effects.push(effect));
        attempt.join(this.mine, nowMs);
        return attempt;
    }

    /** Another seat, while the old one is still shown. */
    #again(nowMs: number): void {
        if (this.#next !== null || nowMs < this.#nextNotBeforeMs) return;
        this.#tries += 1;
        if (this.#current?.connectedMs == null) {
            // There is nothing to show: it simply begins anew.
            this.#current?.close();
            this.#current = this.#begin(nowMs);
            return;
        }
        this.#next = this.#begin(nowMs);
    }

    #takeOver(nowMs: number): void {
        if (this.#next === null) return;
        const old = this.#current;
        this.#current = this.#next;
        this.#next = null;
        if (old !== null) {
            // It may have to be told: a bridge that empties itself waits for it.
            old.leave();
            old.close();
        }
        this.#alive(nowMs);
        this.#current.tellPlaces();
    }

    #dropNext(): void {
        this.#next?.close();
        this.#next = null;
    }

    #alive(nowMs: number): void {
        this.#restartMs = null;
        this.#tries = 0;
        if (this.phase === 'joining' || this.phase === 'waiting' || this.phase === 'reconnecting')
            this.#stand('live', '', nowMs);
    }

    #restart(nowMs: number): void {
        if (this.#current === null || this.#next !== null) return;
        if (this.#restartMs !== null && nowMs - this.#restartMs < RESTART_MS) return;
        this.#restartMs = nowMs;
        this.#current.restart();
    }

    #stand(phase: CallPhase, why: CallWhy, nowMs: number): void {
        if (this.phase === phase && this.why === why) return;
        this.phase = phase;
        this.why = why;
        this.sinceMs = nowMs;
    }

    #end(phase: 'ended' | 'failed', why: CallWhy, nowMs: number): void {
        for (const attempt of this.#attempts()) attempt.close();
        this.#current = null;
        this.#next = null;
        this.rights.waiting.clear();
        this.#stand(phase, why, nowMs);
        this.#effects.push({ do: 'stop' });
    }
}
