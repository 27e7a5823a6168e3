/**
 * What HTTP carries: JSON answers of the management resources, MessagePack bodies of signed ones (spec 02, "HTTP").
 *
 * Signed objects travel byte for byte as they were signed; what they mean is read by sealing. `routes.ts` says which
 * operation answers with what.
 */

import { type Bytes, fromHex, type Hex, NO_BYTES, toHex } from '~/protocol/bytes';
import {
    bin,
    count,
    type Field,
    flag,
    integer,
    list,
    or,
    orNil,
    positional,
    text,
    word,
} from '~/protocol/fields';
import type {
    AgencyId,
    AnyId,
    BlobId,
    ChannelId,
    DeviceId,
    PasskeyId,
    IncidentId,
    MemberId,
    UnitId,
} from '~/protocol/ids';
import {
    base64,
    hexId,
    knownWord,
    knownWords,
    many,
    orNone,
    orNull,
    record,
    type Reads,
} from '~/protocol/json';
import { COMMIT_BYTES, DIRECTORY_ENTRY_BYTES, PAYLOAD_BYTES, ROSTER_DEVICES } from '~/protocol/limits';
import { Misfit } from '~/protocol/pack';
import {
    CHANNEL_PURPOSES,
    Compartment,
    DISCIPLINES,
    INCIDENT_STATES,
    PERSON_BY,
    ROLES,
} from '~/protocol/words';

type Read<R> = R extends Reads<infer T> ? T : never;
const words = text(0, 4_096);

// ---- JSON answers

/** Every refusal: the error's name and number (spec 90), and a sentence of the server's own. */
export const errorAnswer = record({
    code: words,
    number: integer(100, 399),
    detail: or(words, ''),
    retryMs: or(count, 0),
    sealingCode: or(words, ''),
    head: or(count, 0),
    /** What shows the person, where `detail` is `person`. */
    person: knownWord(PERSON_BY),
});

export const serverInfo = record({
    version: words,
    subprotocols: many(words),
    generation: count,
    serverMs: count,
    /** An agency of this server has a sign-in of its own. */
    agencySignIn: or(flag, false),
});
export type ServerInfo = Read<typeof serverInfo>;

export const agency = record({
    id: hexId<AgencyId>(),
    label: words,
    rootPub: base64,
    createdMs: count,
    person: or(word(PERSON_BY), 'device'),
    /** How long the person's proof counts. */
    personHours: or(count, 12),
    revision: or(count, 0),
    /** The server has a bridge for the calls of consults. */
    video: or(flag, false),
    /** A telephone conference for when a call cannot be had, as the operator wrote it. */
    videoPhone: or(words, ''),
});
export type Agency = Read<typeof agency>;

/** Pseudonymous, with roles. `endedMs` is 0 while the membership lasts. */
export const member = record({
    id: hexId<MemberId>(),
    roles: knownWords(ROLES),
    discipline: knownWord(DISCIPLINES),
    login: words,
    createdMs: count,
    endedMs: count,
    revision: count,
    languages: orNone(words),
    specialties: orNone(words),
    licences: orNone(words),
    phone: or(words, ''),
});
export type Member = Read<typeof member>;

/** Shown once: 15 minutes, single use. It admits a *pending* device, nothing more. */
export const enrolmentCode = record({ code: words, expiresMs: count });
export type EnrolmentCode = Read<typeof enrolmentCode>;

/** The device waits for approval: an administrator compares `shortCode` in person or on video. */
export const enrolled = record({
    agency: hexId<AgencyId>(),
    member: hexId<MemberId>(),
    device: hexId<DeviceId>(),
    shortCode: words,
    rootPub: base64,
});
export type Enrolled = Read<typeof enrolled>;

export const deviceInfo = record({
    id: hexId<DeviceId>(),
    member: hexId<MemberId>(),
    state: word(['pending', 'active', 'revoked']),
    label: words,
    shortCode: words,
    publicKey: base64,
    deviceKey: base64,
    createdMs: count,
    revokedMs: count,
    revision: count,
    /** When a shared device's shift ends; 0: not a shared one. */
    shiftUntilMs: or(count, 0),
});
export type DeviceInfo = Read<typeof deviceInfo>;

/** Sign PAE("leeside1 session", nonce, device) within a minute; each nonce serves once. */
export const challengeAnswer = record({ nonce: base64, expiresMs: count });

/** A token for five minutes, the secret for the next one, and who signed in. */
export const sessionTokens = record({
    token: words,
    tokenUntilMs: count,
    refresh: words,
    refreshUntilMs: count,
    agency: hexId<AgencyId>(),
    member: hexId<MemberId>(),
    device: hexId<DeviceId>(),
    roles: knownWords(ROLES),
    /** Until when the person's proof counts; 0 where the device's key is enough. */
    personUntilMs: or(count, 0),
});
export type SessionTokens = Read<typeof sessionTokens>;

/** Who is at the device: one of these. The browser's answers as JSON, or the ticket of the agency's own sign-in. */
export type PersonProof =
    { readonly passkey: string } | { readonly newPasskey: string } | { readonly ticket: string };

/** What shows the person. `options`: what the browser is asked with, as JSON; empty unless `by` is `passkey`. */
export const personOptions = record({
    by: word(PERSON_BY),
    purpose: word(['', 'sign_in', 'register']),
    options: text(0, 65_536),
});
export type PersonOptions = Read<typeof personOptions>;

export const passkeyOptions = record({ options: text(0, 65_536) });

/** A passkey of one's own. `device`: where it was made; `synced`: its maker keeps copies on other devices of the person. */
export const passkey = record({
    id: hexId<PasskeyId>(),
    device: hexId<DeviceId>(),
    synced: flag,
    createdMs: count,
    usedMs: count,
});
export type Passkey = Read<typeof passkey>;
export const passkeys = record({ items: many(passkey) });

/** What a push subscription is bound to (P-256, uncompressed); empty: no push here. */
export const pushKey = record({ public: base64 });

export const unit = record({
    id: hexId<UnitId>(),
    members: many(hexId<MemberId>()),
    lead: orNull(hexId<MemberId>()),
    createdMs: count,
    endedMs: count,
    revision: count,
});
export type Unit = Read<typeof unit>;

/** An incident's clear part; all that tells about the person is sealed in its channels. */
export const incident = record({
    id: hexId<IncidentId>(),
    priority: integer(1, 5),
    state: word(INCIDENT_STATES),
    units: many(hexId<UnitId>()),
    createdMs: count,
    closedMs: count,
    revision: count,
});
export type Incident = Read<typeof incident>;

/** A channel that the asking device is in: why it exists, and its head as the server says. */
export const channelInfo = record({
    id: hexId<ChannelId>(),
    purpose: word(CHANNEL_PURPOSES),
    compartment: integer(0, 4) as Field<Compartment>,
    subject: orNull(hexId<UnitId | IncidentId>()),
    epoch: count,
    commitHash: base64,
    devices: many(hexId<DeviceId>()),
    archived: flag,
    generation: count,
    head: count,
});
export type ChannelInfo = Read<typeof channelInfo>;

/** Chunks that stand already are in `have`, so that an upload goes on where it broke off. */
export const blob = record({
    id: hexId<BlobId>(),
    sizeBytes: count,
    chunkBytes: count,
    chunks: count,
    have: many(count),
    complete: flag,
});
export type Blob = Read<typeof blob>;

export const securityEvent = record({
    seq: count,
    atMs: count,
    event: words,
    actor: words,
    subject: words,
    outcome: words,
});
export type SecurityEvent = Read<typeof securityEvent>;

/** A page of a listing: `next` is the cursor of the following page, empty at the end. */
export interface Page<T> {
    readonly items: readonly T[];
    readonly next: string;
}

export function page<T>(of: Reads<T>): Reads<Page<T>> {
    return record({ items: many(of), next: words });
}

// ---- signed objects (MessagePack, positional arrays)

/** A name of any length: bytes there, hexadecimal digits here. */
function name(least: number, most: number): Field<Hex> {
    const bytes = bin(least, most);
    return {
        read: (value) => toHex(bytes.read(value)),
        write: (value) => bytes.write(fromHex(value)),
    };
}

const hash = name(32, 32);
const signature = bin(64, 64);

/** `[payload, signer, signature]`, kept and sent byte for byte (spec 04). */
export const signedObject = positional({ payload: bin(0, COMMIT_BYTES), signer: name(0, 32), signature });
export type SignedObject = Read<typeof signedObject>;

/** One recipient's sealed epoch secret (spec 04, "Boxes"). */
export const box = positional({
    recipient: name(0, 32),
    kid: name(0, 32),
    suite: count,
    sealed: bin(0, 1_024),
});
export type Box = Read<typeof box>;

/** The next epoch, its boxes, the committer's signature over the boxes. */
export const commitPost = positional({
    commit: signedObject,
    boxes: list(box, ROSTER_DEVICES),
    boxListSignature: signature,
});
export type CommitPost = Read<typeof commitPost>;

/** A message stored together with the commit that opens its channel. */
const firstMessage = positional({
    id: name(16, 16),
    payload: bin(0, PAYLOAD_BYTES),
    urgency: or(integer(0, 2), 0),
});

/** A new channel with its genesis. `subject`: a unit's or incident's id, or empty. */
export const channelPost = positional({
    purpose: word(CHANNEL_PURPOSES),
    subject: name(0, 16),
    genesis: commitPost,
    first: or(orNil(firstMessage), null),
});
export type ChannelPost = Read<typeof channelPost>;

/** The incident's row and its operations channel in one transaction. */
export const incidentPost = positional({
    incident: name(16, 16),
    priority: integer(1, 5),
    units: list(name(16, 16), 16),
    channel: channelPost,
});
export type IncidentPost = Read<typeof incidentPost>;

/** The commit stands. `repeat`: the very same one stood already. */
export const commitAnswer = positional({
    channel: name(16, 16) as Field<ChannelId>,
    epoch: count,
    commitHash: hash,
    repeat: or(flag, false),
});
export type CommitAnswer = Read<typeof commitAnswer>;

/** One epoch's own box, and what verifies it. */
export const epochBoxes = positional({
    epoch: count,
    box: orNil(box),
    boxHashes: list(hash, ROSTER_DEVICES),
    boxListSignature: bin(0, 64),
});
export type EpochBoxes = Read<typeof epochBoxes>;

/** Entries that follow the directory's head, each verbatim. All stand or none. */
export const directoryPost = positional({ entries: list(bin(1, DIRECTORY_ENTRY_BYTES), 500) });
export type DirectoryPost = Read<typeof directoryPost>;

/** A signed history grant and its box (spec 04, "History grants"). */
export const grantPost = positional({ grant: signedObject, suite: count, box: bin(0, COMMIT_BYTES) });
export type GrantPost = Read<typeof grantPost>;

/** An ended incident's secrets, sealed to a records key (spec 04, "Records"). */
export const archivePost = positional({
    label: signedObject,
    suite: count,
    keyBox: bin(0, 1_024),
    wrapped: bin(0, COMMIT_BYTES),
});
export type ArchivePost = Read<typeof archivePost>;

/** Every element of a MessagePack listing. */
export function listing<T>(of: Field<T>): Reads<readonly T[]> {
    return {
        read(value) {
            if (!Array.isArray(value)) throw new Misfit();
            return value.map((item: unknown) => of.read(item));
        },
    };
}

export const directoryEntry: Field<Bytes> = bin(1, DIRECTORY_ENTRY_BYTES);
export const NO_SUBJECT = toHex(NO_BYTES);
export type Subject = AnyId | typeof NO_SUBJECT;
