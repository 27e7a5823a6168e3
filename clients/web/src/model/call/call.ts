/**
 * A consult's call as screens see it: plain data, and what a person may do. Spec 09.
 *
 * There is one `CallModel` a page, whatever screen is shown: a call goes on while somebody reads the channel. `open` chooses
 * the consult; nothing is sent and no camera is asked for before `test` or `join`. Times are milliseconds by the server's
 * clock. Nothing here throws unless it says so: what went wrong is in `phase` and `why`.
 */
import type { ConsultId, DeviceId, MemberId, MessageId } from '~/protocol/ids';

export type CallPhase =
    | 'off'
    /** Camera and microphone are on for this person alone: `own` and `level` show them. */
    | 'testing'
    | 'joining'
    /** In the waiting room: somebody in the call must admit this device. */
    | 'waiting'
    | 'live'
    /** The path is lost and looked for again; the seat is kept, and the others are still shown. */
    | 'reconnecting'
    | 'ended'
    | 'failed';

/** Why it is `ended` or `failed`, or why `join` did nothing. Each has a sentence in `words`, as `call.why.<why>`. */
export type CallWhy =
    | ''
    /** This person left. */
    | 'left'
    /** The consult is over. */
    | 'over'
    | 'removed'
    /** Joined elsewhere with this device, or admitted by nobody. */
    | 'not_admitted'
    /** No consent in force was read yet: nothing is sent. */
    | 'no_consent'
    /** Room or bridge are full. */
    | 'busy'
    /** There is no bridge now: the consult goes on in text, and by telephone. */
    | 'unavailable'
    | 'not_permitted'
    | 'offline'
    /** This browser cannot seal its media. */
    | 'unfit_browser'
    /** The channel's keys are not here, or an alarm stops sending there. */
    | 'no_keys'
    /** What this device sent was not sealed: its camera and microphone were stopped at once. */
    | 'unsealed'
    | 'failed';

/** What keeps this device from camera or microphone. `refused`: the person or the system; `busy`: another program has it. */
export type DeviceTrouble = 'none' | 'refused' | 'missing' | 'busy';

export type CallPart = 'responder' | 'psychiatrist' | 'interpreter' | 'supervisor' | 'receiving_facility';
export type CallMedia = 'audio' | 'video';
export type Camera = 'front' | 'back';

/** Why somebody's picture does not come; `flowing`: it does. */
export type PausedReason = 'flowing' | 'bandwidth' | 'muted' | 'unsealed' | 'unwanted';

/** What this device noticed of somebody's media three times within 10 s; what did not hold was not shown. */
export type MediaAlarm =
    | ''
    /** Frames came twice. */
    | 'replayed'
    /** Frames of another person came in this one's place. */
    | 'swapped'
    /** Frames that no key opens. */
    | 'unopened';

/** How much of the call the link carries. `text`: neither picture nor sound; the channel and the telephone go on. */
export type CallMode = 'video' | 'smaller' | 'audio' | 'text';

/** Why the mode is what it is; each change has a sentence, as `call.mode.<mode>` with this as its reason. */
export type ModeWhy = '' | 'weak' | 'lost' | 'better' | 'chosen';

/** 3 good, 2 fair, 1 poor, 0 lost. */
export type Grade = 0 | 1 | 2 | 3;

export interface CallPerson {
    readonly device: DeviceId;
    /** Null: a guest, or a device whose member is not known here. */
    readonly member: MemberId | null;
    readonly part: CallPart;
    readonly sinceMs: number;
    /** Their camera shows the person in crisis: first in every layout. */
    readonly person: boolean;
    /** An interpreter of a signed language: never small, never dropped first. */
    readonly signs: boolean;
    readonly audioMuted: boolean;
    readonly videoMuted: boolean;
    readonly paused: PausedReason;
    /** Height of the picture that comes; 0: none yet. */
    readonly lines: number;
    /** Sound and picture in one; null: nothing comes yet. The same object for as long as they keep their place. */
    readonly stream: MediaStream | null;
    readonly alarm: MediaAlarm;
}

export interface CallMe {
    readonly device: DeviceId;
    /** Null until the bridge said it. */
    readonly part: CallPart | null;
    readonly audioMuted: boolean;
    readonly videoMuted: boolean;
    readonly camera: Camera;
    readonly person: boolean;
    readonly signs: boolean;
}

// ---- consent

export type ConsentBy = 'person' | 'guardian' | 'emergency';
export type ConsentMethod = 'spoken' | 'written';

/** What somebody asks a person, and is told. */
export interface ConsentDraft {
    readonly by: ConsentBy;
    /** What it covers, in words; 1 to 500 characters. */
    readonly scope: string;
    readonly purpose: string;
    /** One to five parts of the call, besides the team's own. */
    readonly recipients: readonly CallPart[];
    readonly expiresMs: number;
    readonly method: ConsentMethod;
    /** What the recorder saw of the person's capacity to consent; may be empty. */
    readonly capacity: string;
    /** It was asked through an interpreter. */
    readonly interpreter: boolean;
    /** Why it could not be asked: required where `by` is `emergency`, empty otherwise. */
    readonly reason: string;
}

export interface ConsentView extends ConsentDraft {
    readonly id: MessageId;
    readonly device: DeviceId;
    /** Who recorded it. */
    readonly member: MemberId | null;
    readonly atMs: number;
    readonly state: 'in_force' | 'withdrawn' | 'over';
    /** When it was withdrawn; 0: it was not. */
    readonly withdrawnMs: number;
}

// ---- the call

export interface CallView {
    /** Whose call this is; null: none was opened. */
    readonly consult: ConsultId | null;
    readonly phase: CallPhase;
    readonly why: CallWhy;
    /** Since when it is in this phase. */
    readonly sinceMs: number;
    readonly me: CallMe | null;
    /** This device's camera and microphone, to be shown to its own person (muted, mirrored); null: off. */
    readonly own: MediaStream | null;
    /** How loud the own microphone is while `testing`, 0 to 1. */
    readonly level: number;
    readonly trouble: DeviceTrouble;
    /** It has a camera on either side: `camera` does something. */
    readonly twoCameras: boolean;
    /** Who is there besides this device, in the order of `byPlace`. */
    readonly participants: readonly CallPerson[];
    /** Who asks to come in, told to those who may admit them. */
    readonly waiting: readonly CallPerson[];
    readonly mayAdmit: boolean;
    /** Consent was withdrawn: media reach the team, the psychiatrist and the interpreter alone. */
    readonly restricted: boolean;
    readonly mode: CallMode;
    readonly modeWhy: ModeWhy;
    readonly up: Grade;
    readonly down: Grade;
    /** The newest consent of the consult's channel; null: none was recorded, or none can be read. */
    readonly consent: ConsentView | null;
    /** The page can show the call in a small window over others. */
    readonly canPip: boolean;
}

export interface JoinHow {
    /** This camera will show the person in crisis; the team's devices alone. */
    readonly person: boolean;
    readonly signs: boolean;
}

export interface CallModel extends CallView {
    /** Show this consult's call; another one that goes on is left first. */
    open(consult: ConsultId): void;
    /** Nothing is shown any more; a call that goes on is left. */
    close(): void;
    /** From a tap: camera and microphone on, for this person alone. */
    test(): Promise<void>;
    /** Camera and microphone off again, without a call. Does nothing but while `testing`. */
    endTest(): void;
    /** From a tap. Resolves when the join was sent; `phase` tells how it goes on. */
    join(how: JoinHow): Promise<void>;
    leave(): void;
    /** `on`: muted from now on. */
    mute(media: CallMedia, on: boolean): void;
    camera(which: Camera): Promise<void>;
    /**
     * From a tap, for the team's devices alone: whether this camera shows the person in crisis from now on. The camera on the
     * back is taken for it where there is one; the seat is kept, and the others are told.
     */
    showPerson(on: boolean): Promise<void>;
    /** The person's own choice: no picture goes or comes, and `mode` is `audio`, `modeWhy` `chosen`, until it is undone. */
    audioOnly(on: boolean): void;
    admit(device: DeviceId): void;
    /** Who waits is told that they are not let in; they may ask again. */
    refuse(device: DeviceId): void;
    restrict(on: boolean): void;
    /** How large somebody is shown, in lines of the screen; 0: not at all. */
    want(device: DeviceId, lines: number): void;
    /** Show this video element in a small window over others, or bring it back. Does nothing where the browser cannot. */
    pip(video: HTMLVideoElement): Promise<void>;
    /** Rejects with the engine's failure; on disk when it resolves. */
    recordConsent(draft: ConsentDraft): Promise<void>;
    withdrawConsent(): Promise<void>;
}

const ORDER: Readonly<Record<CallPart, number>> = {
    responder: 2,
    psychiatrist: 0,
    interpreter: 1,
    supervisor: 3,
    receiving_facility: 4,
};

/** The order in which people are shown: the person in crisis, the psychiatrist, the interpreter, the team, the others. */
export function byPlace(a: CallPerson, b: CallPerson): number {
    if (a.person !== b.person) return a.person ? -1 : 1;
    return ORDER[a.part] - ORDER[b.part] || a.sinceMs - b.sinceMs || (a.device < b.device ? -1 : 1);
}
