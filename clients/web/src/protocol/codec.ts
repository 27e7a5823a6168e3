/**
 * Bytes to messages and back (spec 01). The only place where socket frames are decoded.
 *
 * What does not fit a message is refused before any of it is used, at a cost bounded by `FRAME_BYTES`.
 */

import type { Bytes } from '~/protocol/bytes';
import { ProtocolError, WireError } from '~/protocol/errors';
import { FRAME_BYTES } from '~/protocol/limits';
import {
    type Batch,
    CLIENT_FORMS,
    type ClientMessage,
    type Form,
    SERVER_FORMS,
    type ServerMessage,
} from '~/protocol/messages';
import { Misfit, pack, unpack, type Value } from '~/protocol/pack';

const byTag = (forms: readonly Form[]): ReadonlyMap<number, Form> => new Map(forms.map((f) => [f.tag, f]));
const CLIENT = byTag(CLIENT_FORMS);
const SERVER = byTag(SERVER_FORMS);
const BY_KIND = new Map([...CLIENT_FORMS, ...SERVER_FORMS].map((f) => [f.kind, f]));

/** Write one message. `invalid` when it breaks a bound, `too_large` beyond a frame: the caller makes it smaller. */
export function encode(message: ClientMessage | ServerMessage): Bytes {
    const form = BY_KIND.get(message.kind);
    if (form === undefined) throw notOurs();
    let data: Bytes;
    try {
        data = pack([form.tag, ...(form.fields.write(message) as readonly Value[])]);
    } catch (error) {
        throw error instanceof Misfit ? notOurs() : error;
    }
    if (data.length > FRAME_BYTES) throw tooLarge();
    return data;
}

/** Read what a server sent. Null: an optional message that this version does not know. Throws `ProtocolError`. */
export function decodeServer(data: Uint8Array): ServerMessage | null {
    return decode(SERVER, data) as ServerMessage | null;
}

/** Read what a client sent, as a double of the server does. As `decodeServer`. */
export function decodeClient(data: Uint8Array): ClientMessage | null {
    return decode(CLIENT, data) as ClientMessage | null;
}

/** A page of a log, as HTTP carries it: one `batch`, which may be larger than a frame. Throws `ProtocolError`. */
export function readBatch(data: Uint8Array): Batch {
    const message = parse(SERVER, data);
    if (message === null || message.kind !== 'batch') throw notOurs();
    return message as Batch;
}

function decode(forms: ReadonlyMap<number, Form>, data: Uint8Array): object | null {
    if (data.length > FRAME_BYTES) throw tooLarge();
    return parse(forms, data);
}

function parse(forms: ReadonlyMap<number, Form>, data: Uint8Array): { readonly kind: string } | null {
    const tag = tagOf(data);
    const form = tag === null ? undefined : forms.get(tag);
    if (form === undefined) {
        if (tag !== null && tag % 2 === 1) return null;
        throw notOurs();
    }
    try {
        const [, ...elements] = unpack(data) as readonly Value[];
        return { kind: form.kind, ...form.fields.read(elements) };
    } catch (error) {
        throw error instanceof Misfit ? notOurs() : error;
    }
}

/** The tag of an array, read from its first bytes alone: an unknown frame must not cost a full decode. */
function tagOf(data: Uint8Array): number | null {
    const head = data[0] ?? 0;
    const at = head > 0x90 && head <= 0x9f ? 1 : head === 0xdc ? 3 : -1;
    const tag = data[at];
    if (tag === undefined) return null;
    if (tag < 0x80) return tag;
    return tag === 0xcc ? (data[at + 1] ?? null) : null;
}

function notOurs(): ProtocolError {
    return new ProtocolError(WireError.invalid, 'not a message of this protocol');
}

function tooLarge(): ProtocolError {
    return new ProtocolError(WireError.too_large, 'a message has 65,536 bytes at most');
}
