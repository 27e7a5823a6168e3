/**
 * The messages of the socket, subprotocol `leeside.v1` (spec 02 and 03).
 *
 * Each is a MessagePack array whose first element is its tag. An *even* tag must be understood: a peer that does not know
 * it closes the socket. An *odd* tag may be ignored. Here a message is an object with its `kind` and its fields by name;
 * the tables below are the one place that says what they hold.
 */

import { NO_BYTES } from '~/protocol/bytes';
import {
    address,
    bin,
    choice,
    count,
    flag,
    id,
    integer,
    key,
    list,
    or,
    positional,
    type Field,
    type Shape,
    text,
} from '~/protocol/fields';
import { type ConsultId, type DeviceId, ID_BYTES, type MessageId } from '~/protocol/ids';
import {
    CLIENT_NAME_CHARS,
    PAGE_ENTRIES,
    PAYLOAD_BYTES,
    ROSTER_DEVICES,
    SUBSCRIPTIONS,
    TOKEN_BYTES,
    VIDEO_BODY_BYTES,
} from '~/protocol/limits';
import { Lane, Mark, Urgency } from '~/protocol/words';

export const SUBPROTOCOL = 'leeside.v1';

const req = integer(0, 0xffffffff);
const token = text(0, TOKEN_BYTES);
const payload = bin(0, PAYLOAD_BYTES);
const signal = { consult: id<ConsultId>(), body: bin(0, VIDEO_BODY_BYTES) };
const lane = choice(Lane);
const urgency = or(choice(Urgency), Urgency.routine);
const mark = or(choice(Mark), Mark.none);

const entryFields = {
    offset: count,
    lane,
    key,
    device: id<DeviceId>(),
    id: id<MessageId>(),
    atMs: count,
    payload,
    urgency,
    mark,
    hash: or(bin(0, 32), NO_BYTES),
};

/**
 * One message as it stands in a log. `payload` is empty for a deleted state value and for a pruned message; a pruned one
 * carries the SHA-256 of what it was in `hash`, which is empty otherwise.
 */
export type Entry = Shape<typeof entryFields>;

const clientFields = {
    /** First frame: who I am. `proof` is the device's signature over PAE("leeside1 socket", nonce, token). */
    hello: { token, proof: bin(64, 64), client: or(text(0, CLIENT_NAME_CHARS), '') },
    /** A newer token of the same session, before the last one ends. Answered by `renewed`. */
    renew: { req, token },
    /** Follow a log from (generation, offset). Answered by `subscribed`, then batches; or by `refused`. */
    subscribe: { req, channel: address, generation: or(count, 0), offset: or(count, 0) },
    /** Stop following a log. Never answered. */
    unsubscribe: { req, channel: address },
    /**
     * Store (log, state) or pass on (stream) one sealed payload. Log and state are answered by `accepted` or `refused`;
     * repeat with the same id and bytes until one of them comes. An empty payload in `state` deletes.
     */
    publish: { req, channel: address, lane, key, id: id<MessageId>(), payload, urgency, mark },
    /** Which devices of this channel are connected? Answered by `online`. */
    who: { req, channel: address },
    /** I am here; sent when nothing else was for `BEAT_S`. */
    client_beat: { atMs: or(count, 0) },
    /** A signal of this consult's call (`video`), for the bridge. What the bridge says comes as `video_told`. */
    video: { req, ...signal },
};

const serverFields = {
    /** First frame: sign this nonce (see `hello`). */
    challenge: { nonce: bin(ID_BYTES, ID_BYTES), serverMs: count },
    /** You are signed in until `tokenUntilMs`; send `renew` before. Times are the server's. */
    welcome: {
        serverMs: count,
        tokenUntilMs: count,
        beatS: count,
        generation: count,
        inFlightMessages: count,
        inFlightBytes: count,
    },
    /** You follow this log; `status` as `follow.Resume`. */
    subscribed: {
        req,
        channel: address,
        status: integer(0, 2),
        generation: count,
        head: count,
        floor: count,
    },
    /** All that stands in the log in the range (after, to]: offsets inside may skip, the range does not. */
    batch: {
        channel: address,
        after: count,
        to: count,
        entries: list(positional(entryFields), PAGE_ENTRIES),
    },
    /** It is durable at `offset`. `repeat` 1: it stood already; 2: it stood already with other bytes. */
    accepted: { req, offset: count, generation: count, repeat: or(integer(0, 2), 0) },
    /** `error`: a number of spec 90. `head`: the epoch to fetch when `stale`. */
    refused: {
        req,
        error: integer(100, 399),
        head: or(count, 0),
        retryMs: or(count, 0),
        detail: or(text(0, 200), ''),
    },
    /** The newest value of a stream key. */
    live: { channel: address, key, device: id<DeviceId>(), atMs: count, payload },
    /** I am here, and these are the heads of the logs that you follow. */
    beat: {
        serverMs: count,
        heads: list(positional({ log: address, offset: count }), SUBSCRIPTIONS),
        degraded: or(flag, false),
    },
    /** Devices that were connected at `asOfMs`. `stale`: a node has gone quiet, and absence proves nothing. */
    online: {
        req,
        channel: address,
        asOfMs: count,
        stale: flag,
        devices: list(id<DeviceId>(), ROSTER_DEVICES),
    },
    /** You are signed in until `tokenUntilMs`. */
    renewed: { req, tokenUntilMs: count },
    /** What the bridge says about this consult's call. */
    video_told: signal,
};

type Messages<T extends Record<string, Readonly<Record<string, Field<unknown>>>>> = {
    [K in keyof T & string]: { readonly kind: K } & Shape<T[K]>;
};
type ClientMessages = Messages<typeof clientFields>;
type ServerMessages = Messages<typeof serverFields>;

export type ClientMessage = ClientMessages[keyof ClientMessages];
export type ServerMessage = ServerMessages[keyof ServerMessages];
export type Publish = ClientMessages['publish'];
export type Challenge = ServerMessages['challenge'];
export type Welcome = ServerMessages['welcome'];
export type Subscribed = ServerMessages['subscribed'];
export type Batch = ServerMessages['batch'];
export type Accepted = ServerMessages['accepted'];
export type Refused = ServerMessages['refused'];
export type Live = ServerMessages['live'];
export type Beat = ServerMessages['beat'];
export type Online = ServerMessages['online'];
export type Renewed = ServerMessages['renewed'];
export type VideoTold = ServerMessages['video_told'];

/** How one message is written: its number, and its fields in order. */
export interface Form {
    readonly tag: number;
    readonly kind: string;
    readonly fields: Field<Readonly<Record<string, unknown>>>;
}

const form = (tag: number, kind: string, fields: Readonly<Record<string, Field<unknown>>>): Form => ({
    tag,
    kind,
    fields: positional(fields),
});

export const CLIENT_FORMS: readonly Form[] = [
    form(2, 'hello', clientFields.hello),
    form(4, 'renew', clientFields.renew),
    form(6, 'subscribe', clientFields.subscribe),
    form(8, 'unsubscribe', clientFields.unsubscribe),
    form(10, 'publish', clientFields.publish),
    form(12, 'who', clientFields.who),
    form(14, 'client_beat', clientFields.client_beat),
    form(16, 'video', clientFields.video),
];
export const SERVER_FORMS: readonly Form[] = [
    form(32, 'challenge', serverFields.challenge),
    form(34, 'welcome', serverFields.welcome),
    form(36, 'subscribed', serverFields.subscribed),
    form(38, 'batch', serverFields.batch),
    form(40, 'accepted', serverFields.accepted),
    form(42, 'refused', serverFields.refused),
    form(44, 'live', serverFields.live),
    form(46, 'beat', serverFields.beat),
    form(48, 'online', serverFields.online),
    form(50, 'renewed', serverFields.renewed),
    form(52, 'video_told', serverFields.video_told),
];
