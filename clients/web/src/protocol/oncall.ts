/**
 * What HTTP carries of who is on call, of paging and of consults (spec 08; `leeside_protocol/oncall.py`).
 *
 * JSON answers like those of `resources`; ids are 32 hexadecimal digits, times milliseconds by the server's clock.
 */

import { choice, count, type Field, flag, id, integer, positional, text, word } from '~/protocol/fields';
import { NO_BYTES } from '~/protocol/bytes';
import type {
    AgencyId,
    ChannelId,
    ConsultId,
    DeviceId,
    IncidentId,
    LadderId,
    MemberId,
    PageId,
    RotaId,
    UnitId,
} from '~/protocol/ids';
import { Misfit } from '~/protocol/pack';
import { base64, hexId, knownWords, many, orNull, record, type Reads } from '~/protocol/json';
import { channelPost, page } from '~/protocol/resources';
import { CONSULT_ACTIONS, CONSULT_STATES, TARGET_STATES, Urgency } from '~/protocol/words';

type Read<R> = R extends Reads<infer T> ? T : never;
const words = text(0, 4_096);
const member = hexId<MemberId>();
/** -1 before the first. */
const step = integer(-1, 64);

// ---- who is on call

const rotation = record({
    id: words,
    zone: words,
    start: words,
    rule: words,
    lengthMin: count,
    members: many(member),
});

const override = record({
    id: words,
    fromMs: count,
    untilMs: count,
    member,
    why: word(['cover', 'swap', 'shift'] as const),
});

const absence = record({ id: words, member, fromMs: count, untilMs: count });

export const rota = record({
    id: hexId<RotaId>(),
    label: words,
    rotations: many(rotation),
    overrides: many(override),
    absences: many(absence),
    owners: many(member),
    fallback: orNull(hexId<RotaId>()),
    createdMs: count,
    endedMs: count,
    revision: count,
});
export type Rota = Read<typeof rota>;
export const rotas = page(rota);

const span = record({
    fromMs: count,
    untilMs: count,
    member: orNull(member),
    why: word(['override', 'rotation', 'fallback', 'gap'] as const),
});

/** Who is on call in a window, without a hole and in order. */
export const schedule = record({ rota: hexId<RotaId>(), spans: many(span) });

/** A secret path of a live calendar, shown once. */
export const feed = record({ path: words });

const ladderStep = record({
    rotas: many(hexId<RotaId>()),
    members: many(member),
    delayS: count,
    repeats: count,
    language: flag,
    specialty: words,
    licence: words,
});

const phone = record({ label: words, number: words });
export type Phone = Read<typeof phone>;

export const ladder = record({
    id: hexId<LadderId>(),
    label: words,
    steps: many(ladderStep),
    phones: many(phone),
    createdMs: count,
    endedMs: count,
    revision: count,
});
export type Ladder = Read<typeof ladder>;
export const ladders = page(ladder);

/** Who a consult's first roster must hold, so that whoever accepts can read at once; and the phone tree. */
export const ladderRoster = record({
    ladder: orNull(hexId<LadderId>()),
    members: many(member),
    devices: many(hexId<DeviceId>()),
    phones: many(phone),
});
export type LadderRoster = Read<typeof ladderRoster>;

/** In place of a ladder's id: the agency's default. */
export const NO_LADDER = '0'.repeat(32) as LadderId;

const warning = record({
    rota: hexId<RotaId>(),
    kind: word(['gap', 'unreachable', 'probe_failed'] as const),
    member: orNull(member),
    fromMs: count,
    untilMs: count,
});

export const onCall = record({
    nowMs: count,
    rotas: many(record({ rota: hexId<RotaId>(), label: words, member: orNull(member), untilMs: count })),
    warnings: many(warning),
});

// ---- paging

/** 0 for what never happened. */
export const duty = record({
    on: flag,
    sound: flag,
    testedMs: count,
    probedMs: count,
    push: flag,
    holds: many(hexId<RotaId>()),
});

export const testPage = record({ page: hexId<PageId>() });

export const pageReceipts = record({
    page: hexId<PageId>(),
    paths: many(
        record({
            path: word(['socket', 'push', 'sms', 'voice'] as const),
            state: word(TARGET_STATES),
            atMs: count,
            attempts: count,
        }),
    ),
});

// ---- figures

const number: Reads<number> = {
    read(value) {
        if (typeof value !== 'number' || !Number.isFinite(value)) throw new Misfit();
        return value;
    },
};

/** One cut of the times; null stands for fewer than five consults. */
const figureCell = record({
    label: words,
    consults: orNull(count),
    toPageP50Ms: orNull(count),
    toAcceptP50Ms: orNull(count),
    toAcceptP90Ms: orNull(count),
    toJoinP50Ms: orNull(count),
    toJoinP90Ms: orNull(count),
    unanswered: orNull(number),
    depth: orNull(number),
});

export const figures = record({
    fromMs: count,
    untilMs: count,
    zone: words,
    all: figureCell,
    byHour: many(figureCell),
    byWeekday: many(figureCell),
});

// ---- the consult

/** A consult's clear part. Its summary, and all that is said, is sealed in its channel. */
export const consult = record({
    id: hexId<ConsultId>(),
    incident: hexId<IncidentId>(),
    unit: orNull(hexId<UnitId>()),
    member,
    device: hexId<DeviceId>(),
    urgency: choice(Urgency),
    language: words,
    interpreter: flag,
    specialty: words,
    state: word(CONSULT_STATES),
    channel: hexId<ChannelId>(),
    side: orNull(hexId<ChannelId>()),
    ladder: orNull(hexId<LadderId>()),
    step,
    steps: count,
    turn: count,
    requestedMs: count,
    stepMs: count,
    nextMs: count,
    acceptedBy: orNull(member),
    acceptedDevice: orNull(hexId<DeviceId>()),
    acceptedMs: count,
    joinedMs: count,
    endedMs: count,
    heldUntilMs: count,
    alarms: count,
    takenBy: orNull(member),
    targets: many(
        record({ member, step, state: word(TARGET_STATES), page: orNull(hexId<PageId>()), atMs: count }),
    ),
    tried: many(record({ atMs: count, event: words, step, member: orNull(member) })),
    me: record({
        may: knownWords(CONSULT_ACTIONS),
        page: orNull(hexId<PageId>()),
        ringing: flag,
    }),
    revision: count,
});
export type Consult = Read<typeof consult>;
export const consults = page(consult);

/** An id, or nothing: empty bytes there, null here. */
function idOrEmpty<T extends IncidentId | UnitId | LadderId>(): Field<T | null> {
    const some = id<T>();
    return {
        read: (value) => (value instanceof Uint8Array && value.length === 0 ? null : some.read(value)),
        write: (value) => (value === null ? NO_BYTES : some.write(value)),
    };
}

/** The consult, its sealed channel and its first frame, in one transaction (spec 08, "Requesting"). */
export const consultPost = positional({
    consult: id<ConsultId>(),
    incident: idOrEmpty<IncidentId>(),
    unit: idOrEmpty<UnitId>(),
    urgency: choice(Urgency),
    language: text(0, 3),
    interpreter: flag,
    specialty: text(0, 40),
    ladder: idOrEmpty<LadderId>(),
    channel: channelPost,
});
export type ConsultPost = Read<typeof consultPost>;

// ---- guests

const guestRole = word(['interpreter', 'receiving_facility'] as const);

/** The link's code, told once. */
export const guestLink = record({ guest: member, code: text(4, 64), expiresMs: count });

/** A link and who came by it; the keys are empty until somebody did. */
export const guest = record({
    guest: member,
    consult: hexId<ConsultId>(),
    role: guestRole,
    state: word(['open', 'waiting', 'in', 'ended'] as const),
    madeBy: hexId<DeviceId>(),
    expiresMs: count,
    untilMs: count,
    device: orNull(hexId<DeviceId>()),
    publicKey: base64,
    hpkePublic: base64,
    mac: base64,
});
export type Guest = Read<typeof guest>;
export const guests = record({ items: many(guest) });

/** What a guest is told once its link was taken. */
export const guestTaken = record({
    agency: hexId<AgencyId>(),
    rootPub: base64,
    guest: member,
    device: hexId<DeviceId>(),
    consult: hexId<ConsultId>(),
    channel: hexId<ChannelId>(),
    untilMs: count,
    role: guestRole,
});
export type GuestTaken = Read<typeof guestTaken>;
