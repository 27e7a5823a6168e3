/**
 * What a client and the bridge say to each other about a call (spec 09, "Signalling").
 *
 * Each is a MessagePack array whose first element is its tag, and travels as the `body` of `video` and `video_told` on the
 * device's own socket. None of it holds a media key. `generation` is a number that the client chooses anew, and higher, for
 * each attempt to join: what speaks of another one is out of date, and dropped.
 */

import type { Bytes } from '~/protocol/bytes';
import { ProtocolError, WireError } from '~/protocol/errors';
import {
    choice,
    count,
    flag,
    id,
    integer,
    list,
    or,
    positional,
    text,
    type Field,
    type Shape,
} from '~/protocol/fields';
import type { DeviceId } from '~/protocol/ids';
import { INT_MAX, VIDEO_BODY_BYTES } from '~/protocol/limits';
import type { Form } from '~/protocol/messages';
import { Misfit, pack, unpack, type Value } from '~/protocol/pack';

/** Participants of a room. */
export const SEATS = 6;
export const SDP_CHARS = 24_576;
export const TURN_SERVERS = 4;
/** One to send from, and a pair of a character each for every other seat: audio at even places, video at odd ones. */
export const UP_AUDIO_MID = '0';
export const UP_VIDEO_MID = '1';
export const DOWN_MIDS = 'abcdefghij';

export const MediaKind = { audio: 0, video: 1 } as const;
export type MediaKind = (typeof MediaKind)[keyof typeof MediaKind];

/** What somebody is to the call. The smaller number's picture goes on for longer on a bad link. */
export const Part = {
    responder: 1,
    psychiatrist: 2,
    interpreter: 3,
    supervisor: 4,
    receiving_facility: 5,
} as const;
export type Part = (typeof Part)[keyof typeof Part];

export const GoneWhy = { left: 0, lost: 1, removed: 2, ended: 3 } as const;
export type GoneWhy = (typeof GoneWhy)[keyof typeof GoneWhy];

/** Why a picture does not come. `unsealed`: the bridge passes on nothing that is not sealed. */
export const PausedWhy = { flowing: 0, bandwidth: 1, muted: 2, unsealed: 3, unwanted: 4 } as const;
export type PausedWhy = (typeof PausedWhy)[keyof typeof PausedWhy];

const generation = integer(1, INT_MAX);
const device = id<DeviceId>();
const media = choice(MediaKind);
const sdp = text(0, SDP_CHARS);
const mid = text(0, 1);
const lines = integer(0, 4_320);
const grade = integer(0, 3);

const participantFields = {
    device,
    part: choice(Part),
    /** The server's time. */
    sinceMs: count,
    /** The camera shows the person in crisis. */
    person: or(flag, false),
    /** An interpreter of a signed language. */
    signs: or(flag, false),
    audioMuted: or(flag, false),
    videoMuted: or(flag, false),
};
export type Participant = Shape<typeof participantFields>;
const participant = positional(participantFields);

const turnFields = { urls: list(text(0, 256), 4), username: text(0, 128), credential: text(0, 128) };
/** A relay of media, for who reaches the bridge by no other way, until the credential ends. */
export type TurnServer = Shape<typeof turnFields>;

const clientFields = {
    join: { generation, person: or(flag, false), signs: or(flag, false) },
    answer: { generation, version: count, sdp },
    mute: { generation, media, muted: flag },
    /** How large I show whom; 0: not at all. Who is not named comes as large as the link allows. */
    want: { generation, pictures: list(positional({ device, lines }), SEATS) },
    restart_ice: { generation },
    leave: { generation },
    admit: { generation, device },
    /** Media reach none but the team, the psychiatrist and the interpreter. */
    restrict: { generation, restricted: flag },
    /** Who waits may not come in. */
    refuse: { generation, device },
};

const bridgeFields = {
    /** Your seat. `waiting`: somebody must admit you. */
    welcome: {
        generation,
        serverMs: count,
        waiting: flag,
        restricted: flag,
        participants: list(participant, SEATS),
        turn: list(positional(turnFields), TURN_SERVERS),
    },
    /** Answer it. A higher `version` within a generation restarts ICE on the same transport. */
    offer: { generation, version: count, sdp },
    /** Somebody's media come on these m-lines from now on. */
    slot: { generation, participant, audioMid: mid, videoMid: mid },
    gone: { generation, device, why: choice(GoneWhy) },
    muted: { generation, device, media, muted: flag },
    /** What comes of somebody's picture: why it does not, or in how many lines it does. */
    paused: { generation, device, why: choice(PausedWhy), lines: or(lines, 0) },
    /** 3 good, 2 fair, 1 poor, 0 lost. `audioOnly`: no picture fits any more, in either direction. */
    quality: { generation, up: grade, down: grade, audioOnly: or(flag, false) },
    /** These frames were not sealed. Stop the track at once if it is yours. */
    violation: { generation, device, media },
    /** Join again with a higher generation, and let go of this one at the first frame of the new one. */
    migrate: { generation },
    /** Somebody waits to be admitted; told to who may. */
    waiting: { generation, participant },
    denied: { generation, error: integer(100, 399), retryMs: or(count, 0) },
    restricted: { generation, restricted: flag, by: device },
};

type Signals<T extends Record<string, Readonly<Record<string, Field<unknown>>>>> = {
    [K in keyof T & string]: { readonly kind: K } & Shape<T[K]>;
};
type ClientSignals = Signals<typeof clientFields>;
type BridgeSignals = Signals<typeof bridgeFields>;
export type ClientSignal = ClientSignals[keyof ClientSignals];
export type BridgeSignal = BridgeSignals[keyof BridgeSignals];

const form = (tag: number, kind: string, fields: Readonly<Record<string, Field<unknown>>>): Form => ({
    tag,
    kind,
    fields: positional(fields),
});
const CLIENT_FORMS: readonly Form[] = [
    form(2, 'join', clientFields.join),
    form(4, 'answer', clientFields.answer),
    form(6, 'mute', clientFields.mute),
    form(8, 'want', clientFields.want),
    form(10, 'restart_ice', clientFields.restart_ice),
    form(12, 'leave', clientFields.leave),
    form(14, 'admit', clientFields.admit),
    form(16, 'restrict', clientFields.restrict),
    form(18, 'refuse', clientFields.refuse),
];
const BRIDGE_FORMS: readonly Form[] = [
    form(32, 'welcome', bridgeFields.welcome),
    form(34, 'offer', bridgeFields.offer),
    form(36, 'slot', bridgeFields.slot),
    form(38, 'gone', bridgeFields.gone),
    form(40, 'muted', bridgeFields.muted),
    form(42, 'paused', bridgeFields.paused),
    form(44, 'quality', bridgeFields.quality),
    form(46, 'violation', bridgeFields.violation),
    form(48, 'migrate', bridgeFields.migrate),
    form(50, 'waiting', bridgeFields.waiting),
    form(52, 'denied', bridgeFields.denied),
    form(54, 'restricted', bridgeFields.restricted),
];
const BY_KIND = new Map([...CLIENT_FORMS, ...BRIDGE_FORMS].map((one) => [one.kind, one]));
const byTag = (forms: readonly Form[]): ReadonlyMap<number, Form> =>
    new Map(forms.map((one) => [one.tag, one]));
const CLIENT = byTag(CLIENT_FORMS);
const BRIDGE = byTag(BRIDGE_FORMS);

/** A body for `video` or `video_told`. `invalid` when it breaks a bound, `too_large` beyond `VIDEO_BODY_BYTES`. */
export function encodeSignal(signal: ClientSignal | BridgeSignal): Bytes {
    const of = BY_KIND.get(signal.kind);
    if (of === undefined) throw notOurs();
    let data: Bytes;
    try {
        data = pack([of.tag, ...(of.fields.write(signal) as readonly Value[])]);
    } catch (error) {
        throw error instanceof Misfit ? notOurs() : error;
    }
    if (data.length > VIDEO_BODY_BYTES) throw tooLarge();
    return data;
}

/** What the bridge says. Throws `ProtocolError`: `invalid`, `too_large`. */
export function decodeBridgeSignal(data: Uint8Array): BridgeSignal {
    return decode(BRIDGE, data) as BridgeSignal;
}

/** What a client says, as a double of the bridge does. As `decodeBridgeSignal`. */
export function decodeClientSignal(data: Uint8Array): ClientSignal {
    return decode(CLIENT, data) as ClientSignal;
}

function decode(forms: ReadonlyMap<number, Form>, data: Uint8Array): object {
    if (data.length > VIDEO_BODY_BYTES) throw tooLarge();
    try {
        const value = unpack(data);
        if (!Array.isArray(value)) throw notOurs();
        const [tag, ...elements] = value as readonly Value[];
        const of = typeof tag === 'number' ? forms.get(tag) : undefined;
        if (of === undefined) throw notOurs();
        return { kind: of.kind, ...of.fields.read(elements) };
    } catch (error) {
        throw error instanceof Misfit ? notOurs() : error;
    }
}

const notOurs = (): ProtocolError => new ProtocolError(WireError.invalid, 'not a signal of a call');
const tooLarge = (): ProtocolError =>
    new ProtocolError(WireError.too_large, 'a signal has 32,768 bytes at most');
