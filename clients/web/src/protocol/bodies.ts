/**
 * What stands inside a sealed message: a type and its data (spec 05 to 10).
 *
 * A body is `[type, ts_ms, msg_id, seen, data]`; sealing reads and writes the whole, this module its `data`, an array whose
 * form the type gives. A type that this version does not know is `unsupported`: shown as such and never dropped in
 * silence. What does not fit its type is a `BodyError`.
 *
 * Everything here comes from a member of the channel, whose signature was checked, and is still held to bounds: one faulty
 * client must not take the others down.
 */

import {
    bin,
    choice,
    count,
    type Field,
    type Fields,
    flag,
    id,
    integer,
    list,
    or,
    orNil,
    positional,
    type Shape,
    text,
    word,
} from '~/protocol/fields';
import {
    type BlobId,
    type ConsultId,
    type DeviceId,
    type IncidentId,
    type MemberId,
    type MessageId,
    NO_KEY,
    type StateKey,
    stateKey,
    type UnitId,
} from '~/protocol/ids';
import { BLOB_BYTES } from '~/protocol/limits';
import { Misfit, type Value } from '~/protocol/pack';
import { Part } from '~/protocol/video';
import {
    DISPOSITIONS,
    Lane,
    Mark,
    MARK_MAX,
    PRIMARY_STATUSES,
    ROLES,
    SECONDARY_STATUSES,
    Urgency,
} from '~/protocol/words';

export const TEXT_CHARS = 8_000;
export const NOTE_CHARS = 500;
export const NAME_CHARS = 80;
export const FILE_NAME_CHARS = 255;
export const MEDIA_TYPE_CHARS = 127;
export const TYPE_CODE_CHARS = 40;
/** How often an urgent message repeats at its receivers until each has acknowledged it. */
export const REPEAT_S = 15;

/** A body whose data does not fit its type; the text repeats no input. */
export class BodyError extends Error {
    override readonly name = 'BodyError';
    readonly code = 'E_BODY';

    constructor() {
        super('a message body that does not fit its type');
    }
}

const note = or(text(0, NOTE_CHARS), '');
const name = text(1, NAME_CHARS);
const repeatS = integer(0, 3_600);
const latE7 = integer(-900_000_000, 900_000_000);
const lonE7 = integer(-1_800_000_000, 1_800_000_000);
const unit = id<UnitId>();
const unitOrNil = or(orNil(unit), null);

const fix = positional({
    latE7,
    lonE7,
    accuracyM: integer(0, 100_000),
    fixMs: count,
    coarseM: or(integer(0, 100_000), 0),
    headingDeg: or(orNil(integer(0, 359)), null),
    speedCmS: or(orNil(integer(0, 20_000)), null),
    batteryPercent: or(orNil(integer(0, 100)), null),
});

/** A place on earth: WGS 84 in 1e-7 degrees, already coarsened to `coarseM` by the device that sent it (spec 06). */
export type Fix = ReturnType<(typeof fix)['read']>;
const fixOrNil = or(orNil(fix), null);

/** Where people are sent: exactly two numbers, not a list that may grow (spec 10). */
const place: Field<{ readonly latE7: number; readonly lonE7: number }> = {
    read(value) {
        if (!Array.isArray(value) || value.length !== 2) throw new Misfit();
        return { latE7: latE7.read(value[0]), lonE7: lonE7.read(value[1]) };
    },
    write: (value) => [latE7.write(value.latE7), lonE7.write(value.lonE7)],
};

/** Who agreed to a call. `emergency`: nobody could be asked. */
export const ConsentBy = { person: 0, guardian: 1, emergency: 2 } as const;
export type ConsentBy = (typeof ConsentBy)[keyof typeof ConsentBy];
export const ConsentMethod = { spoken: 0, written: 1 } as const;
export type ConsentMethod = (typeof ConsentMethod)[keyof typeof ConsentMethod];

const bodies = {
    /** What a person wrote. This urgency is the one that counts; `repeatS` is 0 unless the message is urgent. */
    text: {
        urgency: choice(Urgency),
        text: text(1, TEXT_CHARS),
        repeatS: or(repeatS, 0),
        replyTo: or(orNil(id<MessageId>()), null),
    },
    /**
     * The person at this device acknowledged a message; ends its repeating there, and is kept for all. `readBack` is a
     * recommendation in the words of who will act on it; empty for everything else.
     */
    acknowledged: { message: id<MessageId>(), readBack: or(text(0, TEXT_CHARS), '') },
    /** A file: where its sealed chunks stand, and the key that opens them. `sizeBytes` is of the plain file. */
    attachment: {
        blob: id<BlobId>(),
        key: bin(32, 32),
        fileId: bin(16, 16),
        sizeBytes: integer(0, BLOB_BYTES),
        sha256: bin(32, 32),
        name: text(1, FILE_NAME_CHARS),
        mediaType: or(text(0, MEDIA_TYPE_CHARS), ''),
        caption: or(text(0, TEXT_CHARS), ''),
    },
    /** A member asks to be granted earlier epochs. Never answered by a machine on the server's word. */
    context_wanted: { fromEpoch: count, reason: note },
    /** A unit is sent to this channel's incident; sounds at its people until they acknowledge. */
    assignment: { unit, priority: integer(1, 5), repeatS: or(repeatS, REPEAT_S), note },
    /** A mark of the incident's timeline that stays in its log. */
    timeline: { mark: integer(1, MARK_MAX) as Field<Exclude<Mark, 0>>, unit: unitOrNil, note },
    /** All is well here; sounds at the others until one of them acknowledges. */
    check_in: { unit: unitOrNil, repeatS: or(repeatS, REPEAT_S), fix: fixOrNil },
    /** Whoever sent this is in danger. Silent at the sender; only another member's acknowledgement clears it. */
    duress: { unit: unitOrNil, repeatS: or(repeatS, REPEAT_S), fix: fixOrNil },
    /**
     * What a consult is about, the first message of its channel. To the roles in `grantTo`, and to no others, a member's
     * client gives the incident's earlier context by itself.
     */
    consult: {
        consult: id<ConsultId>(),
        urgency: choice(Urgency),
        summary: note,
        grantTo: or(list(word(ROLES), ROLES.length), []),
    },
    /** A clinician's: sounds until the requester's unit has read it back. */
    recommendation: { text: text(1, TEXT_CHARS), repeatS: or(repeatS, REPEAT_S) },
    /**
     * What a person agreed to, or why nobody could be asked: before it is read, no media are sent (spec 09). `expiresMs` is
     * the server's time; an emergency, and nothing else, has a `reason`.
     */
    consent: {
        by: choice(ConsentBy),
        scope: text(1, NOTE_CHARS),
        purpose: text(1, NOTE_CHARS),
        recipients: some(list(choice(Part), Object.keys(Part).length)),
        expiresMs: count,
        method: choice(ConsentMethod),
        capacity: note,
        interpreter: or(flag, false),
        reason: note,
    },
    consent_withdrawn: { consent: id<MessageId>() },

    /** A unit's status (NENA-STA-021.1b). `sinceMs` is when it began. */
    status: {
        unit,
        primary: word(PRIMARY_STATUSES),
        secondary: orNil(word(SECONDARY_STATUSES)),
        sinceMs: count,
        note,
        destination: note,
        mark: or(choice(Mark), Mark.none),
    },
    /** What is sealed about an incident. `disposition` is empty while it goes on. */
    incident: {
        incident: id<IncidentId>(),
        typeCode: text(0, TYPE_CODE_CHARS),
        district: text(0, NAME_CHARS),
        address: text(0, NOTE_CHARS),
        place: or(orNil(place), null),
        narrative: or(text(0, TEXT_CHARS), ''),
        disposition: or(word(DISPOSITIONS), ''),
    },
    member_name: { member: id<MemberId>(), name },
    unit_name: { unit, name },
    /** All up to these offsets of `generation` is on the device (`delivered`) and was shown to its person (`read`). */
    marks: { generation: count, delivered: count, read: count },
    /** Where a device was last; `fix` null when there was never one. */
    last_position: { sharing: flag, everyS: repeatS, duress: flag, fix: orNil(fix) },

    /** Where a device is now; never stored. */
    position: { fix },
    typing: { on: flag },
};

type Bodies = typeof bodies;
export type ContentType = keyof Bodies;
/** What a message says, by its type: `ContentOf<'text'>`. */
export type ContentOf<K extends ContentType> = { readonly type: K } & Shape<Bodies[K]>;
export type Content = { [K in ContentType]: ContentOf<K> }[ContentType];
/** A type that this version does not know. Show "a message that this version cannot show". */
export interface Unsupported {
    readonly type: 'unsupported';
    readonly named: string;
}

const FORMS = new Map<string, Field<Readonly<Record<string, unknown>>>>(
    Object.entries(bodies).map(([type, fields]) => [type, positional(fields as Fields)]),
);
FORMS.set(
    'consent',
    holding(positional(bodies.consent), ({ by, reason }) => (by === ConsentBy.emergency) === (reason !== '')),
);
export const CONTENT_TYPES: readonly string[] = [...FORMS.keys()];

/** The `data` of a body. Throws `BodyError` beyond the bounds: they are told to the one who wrote it, not to the many. */
export function writeContent(content: Content): { readonly type: ContentType; readonly data: Value } {
    return { type: content.type, data: held(() => form(content.type).write(content)) };
}

/** What a body's `data` says. Throws `BodyError` when it does not fit the type. */
export function readContent(type: string, data: unknown): Content | Unsupported {
    if (!FORMS.has(type)) return { type: 'unsupported', named: type };
    return { type, ...held(() => form(type).read(data)) } as Content;
}

/** The lane and the key under which a content counts, sent by `device`; elsewhere it is `E_BODY` (spec 05). */
export function placeOf(content: Content, device: DeviceId): { readonly lane: Lane; readonly key: StateKey } {
    switch (content.type) {
        case 'text':
        case 'acknowledged':
        case 'attachment':
        case 'context_wanted':
        case 'assignment':
        case 'timeline':
        case 'check_in':
        case 'duress':
        case 'consult':
        case 'recommendation':
        case 'consent':
        case 'consent_withdrawn':
            return { lane: Lane.log, key: NO_KEY };
        case 'status':
            return { lane: Lane.state, key: stateKey('status', content.unit) };
        case 'incident':
            return { lane: Lane.state, key: stateKey('incident', content.incident) };
        case 'member_name':
            return { lane: Lane.state, key: stateKey('name', content.member) };
        case 'unit_name':
            return { lane: Lane.state, key: stateKey('name', content.unit) };
        case 'marks':
            return { lane: Lane.state, key: stateKey('receipt', device) };
        case 'last_position':
            return { lane: Lane.state, key: stateKey('position', device) };
        case 'position':
            return { lane: Lane.stream, key: stateKey('position', device) };
        case 'typing':
            return { lane: Lane.stream, key: stateKey('typing', device) };
    }
}

/** A list with something in it. */
function some<T>(of: Field<readonly T[]>): Field<readonly T[]> {
    return holding(of, (values) => values.length > 0);
}

/** What also holds as a whole. */
function holding<T>(of: Field<T>, holds: (value: T) => boolean): Field<T> {
    const checked = (value: T): T => {
        if (!holds(value)) throw new Misfit();
        return value;
    };
    return { read: (value) => checked(of.read(value)), write: (value) => of.write(checked(value)) };
}

function form(type: string): Field<Readonly<Record<string, unknown>>> {
    const found = FORMS.get(type);
    if (found === undefined) throw new BodyError();
    return found;
}

function held<T>(act: () => T): T {
    try {
        return act();
    } catch (error) {
        throw error instanceof Misfit ? new BodyError() : error;
    }
}
