/**
 * One attempt at a call: one generation, which is one seat at one bridge with a path of its own (spec 09, "Signalling").
 *
 * It holds what was said there and heard: whether it was welcomed, which offer it answered, and who sits where. That a word was
 * lost is nothing to it: each can be said again. Whether it is the one that is shown, the next one, or over, `CallMachine` decides.
 */
import type { DeviceId } from '~/protocol/ids';
import {
    type BridgeSignal,
    type ClientSignal,
    MediaKind,
    type Participant,
    PausedWhy,
} from '~/protocol/video';
import type { CallMedia, MediaAlarm } from './call';
import type { Ask } from './effects';

/** Said again when nothing came for so long. */
export const AGAIN_MS = 2_000;
/** Whoever waits to be let in says so now and then: the word that lets them in may be lost. */
export const WAITING_AGAIN_MS = 10_000;
/** What did not hold is told for so long after the last alarm: by then whatever comes holds again, and is shown. */
export const ALARM_MS = 20_000;

export interface Seat {
    readonly participant: Participant;
    /** Empty until the bridge said where their media come. */
    readonly audioMid: string;
    readonly videoMid: string;
    readonly paused: PausedWhy;
    readonly lines: number;
    readonly alarm: MediaAlarm;
}

/** What this device says of itself. */
export interface Mine {
    readonly audioMuted: boolean;
    readonly videoMuted: boolean;
    readonly person: boolean;
    readonly signs: boolean;
}

export interface Wanted {
    readonly device: DeviceId;
    readonly lines: number;
}

type Heard<K extends BridgeSignal['kind']> = Extract<BridgeSignal, { readonly kind: K }>;

export class Attempt {
    /** The bridge gave it a seat. */
    welcomed = false;
    /** That seat is in the waiting room. */
    waiting = false;
    /** Since when its path stands; null: it never did. */
    connectedMs: number | null = null;
    /** Its path is gone for good. */
    failed = false;
    #saidMs: number;
    #version = -1;
    /** The answer to `#version`, once there is one: said again when the offer is. */
    #answer: ClientSignal | null = null;
    readonly #seats = new Map<DeviceId, Seat>();
    /** When each alarm that stands was told last. */
    readonly #alarmedMs = new Map<DeviceId, number>();

    constructor(
        readonly generation: number,
        readonly beganMs: number,
        private readonly ask: Ask,
    ) {
        this.#saidMs = beganMs;
    }

    get seats(): readonly Seat[] {
        return [...this.#seats.values()];
    }

    // ---- what this device says

    join({ person, signs }: Mine, nowMs: number): void {
        this.#saidMs = nowMs;
        this.#say({ kind: 'join', generation: this.generation, person, signs });
    }

    /** Say it again where nothing came of it. */
    tick(mine: Mine, nowMs: number): void {
        const patienceMs = this.waiting ? WAITING_AGAIN_MS : AGAIN_MS;
        const isOffered = this.welcomed && this.#version >= 0;
        if (!isOffered && nowMs - this.#saidMs >= patienceMs) this.join(mine, nowMs);
        for (const [device, alarmedMs] of this.#alarmedMs) {
            if (nowMs - alarmedMs < ALARM_MS) continue;
            this.#alarmedMs.delete(device);
            this.#change(device, () => ({ alarm: '' }));
        }
    }

    mute(media: CallMedia, muted: boolean): void {
        this.#say({ kind: 'mute', generation: this.generation, media: MediaKind[media], muted });
    }

    want(pictures: readonly Wanted[]): void {
        this.#say({ kind: 'want', generation: this.generation, pictures });
    }

    admit(device: DeviceId): void {
        this.#say({ kind: 'admit', generation: this.generation, device });
    }

    refuse(device: DeviceId): void {
        this.#say({ kind: 'refuse', generation: this.generation, device });
    }

    restrict(restricted: boolean): void {
        this.#say({ kind: 'restrict', generation: this.generation, restricted });
    }

    restart(): void {
        this.#say({ kind: 'restart_ice', generation: this.generation });
    }

    leave(): void {
        this.#say({ kind: 'leave', generation: this.generation });
    }

    /** The path's answer to an offer; said again with it. */
    answered(version: number, sdp: string): void {
        if (version !== this.#version) return;
        this.#answer = { kind: 'answer', generation: this.generation, version, sdp };
        this.#say(this.#answer);
    }

    /** Its path is needed no more. */
    close(): void {
        this.ask({ do: 'close', generation: this.generation });
    }

    /** Whoever shows it looks at its seats anew. */
    tellPlaces(): void {
        this.ask({ do: 'places', generation: this.generation });
    }

    // ---- what the bridge says

    welcome({ waiting, participants, turn }: Heard<'welcome'>): void {
        const isFirst = !this.welcomed;
        this.welcomed = true;
        this.waiting = waiting;
        this.#meet(participants);
        if (isFirst) this.ask({ do: 'open', generation: this.generation, turn });
    }

    offer({ generation, version, sdp }: Heard<'offer'>): void {
        this.waiting = false;
        if (version === this.#version) {
            // It was said again, since the answer was lost.
            if (this.#answer !== null) this.#say(this.#answer);
            return;
        }
        if (version < this.#version) return;
        this.#version = version;
        this.#answer = null;
        this.ask({ do: 'offer', generation, version, sdp });
    }

    slot({ participant, audioMid, videoMid }: Heard<'slot'>): void {
        this.#seats.set(participant.device, { ...this.#known(participant), audioMid, videoMid });
        this.tellPlaces();
    }

    muted({ device, media, muted }: Heard<'muted'>): void {
        const key = media === MediaKind.audio ? 'audioMuted' : 'videoMuted';
        this.#change(device, ({ participant }) => ({ participant: { ...participant, [key]: muted } }));
    }

    paused(device: DeviceId, paused: PausedWhy, lines?: number): void {
        this.#change(device, (seat) => ({ paused, lines: lines ?? seat.lines }));
    }

    /** Somebody else left their seat. */
    gone(device: DeviceId): void {
        if (this.#seats.delete(device)) this.tellPlaces();
    }

    // ---- what the path says

    alarm(mid: string, alarm: Exclude<MediaAlarm, ''>, nowMs: number): void {
        for (const [device, seat] of this.#seats) {
            if (seat.audioMid !== mid && seat.videoMid !== mid) continue;
            this.#alarmedMs.set(device, nowMs);
            this.#change(device, () => ({ alarm }));
        }
    }

    // ---- inside

    #say(signal: ClientSignal): void {
        this.ask({ do: 'signal', signal });
    }

    /** These are there, and nobody else. */
    #meet(participants: readonly Participant[]): void {
        const there = new Set(participants.map(({ device }) => device));
        const gone = [...this.#seats.keys()].filter((device) => !there.has(device));
        for (const device of gone) this.gone(device);
        for (const participant of participants) this.#known(participant);
    }

    #known(participant: Participant): Seat {
        const seat: Seat = {
            audioMid: '',
            videoMid: '',
            paused: PausedWhy.flowing,
            lines: 0,
            alarm: '',
            ...this.#seats.get(participant.device),
            participant,
        };
        this.#seats.set(participant.device, seat);
        return seat;
    }

    #change(device: DeviceId, change: (seat: Seat) => Partial<Seat>): void {
        const seat = this.#seats.get(device);
        if (seat !== undefined) this.#seats.set(device, { ...seat, ...change(seat) });
    }
}
