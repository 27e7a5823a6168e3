/**
 * The engine: one enrolled device at work, and all that a screen may ask of it.
 *
 * It runs in a worker (`src/worker.ts`), so that sealing and storage never hold up a finger. The screen's side knows
 * only these types: everything that crosses is plain data that can be cloned, ids are lowercase hexadecimal, times are
 * milliseconds of Unix time *by the server's clock* unless a name says `written` or `fix` (then by a device's own).
 *
 * Guarantees to a screen:
 * - A command that resolves has written down what it promises: a message is on disk before `send` resolves, and is sent
 *   exactly once when there is a link, over any number of reloads.
 * - Events come in order, in batches, after `start` and the `Snapshot` that it gives; applying them to the snapshot
 *   gives the present. An event is the whole new value of what it names, never a difference.
 * - Nothing is left out in silence: what cannot be opened comes as a row that says why.
 * - A command that fails rejects with `EngineFailure` as its `name`, and the code in its `message` (see `FailureCode`).
 */

import type { ConsentDraft } from './call/call';
import type { CallCommands, CallEvent } from './call/commands';
import type { ConsultView, OnCallCommands, OnCallEvent } from './on-call';
import type {
    AgencyId,
    ChannelId,
    DeviceId,
    IncidentId,
    MemberId,
    MessageId,
    PasskeyId,
    UnitId,
} from '~/protocol/ids';

export type {
    AgencyId,
    ChannelId,
    DeviceId,
    IncidentId,
    MemberId,
    MessageId,
    PasskeyId,
    UnitId,
} from '~/protocol/ids';

// ---- where this device stands

export type Role =
    | 'responder'
    | 'dispatcher'
    | 'psychiatrist'
    | 'interpreter'
    | 'receiving_facility'
    | 'supervisor'
    | 'records_officer'
    | 'admin';
export type Discipline = 'clinician' | 'peer_specialist' | 'emt' | 'law_enforcement_officer' | 'case_manager';

/** Why the engine gave up for good; the local store is gone except after `other_tab` and `failed`. */
export type EndReason = 'revoked' | 'signed_out' | 'shift_over' | 'other_tab' | 'failed';

export type Standing =
    /** Nothing is here: show how to enrol. */
    | { readonly kind: 'new' }
    /** Keys were made and the code was taken; a person must approve. `shortCode` as `XXXX-XXXX-XXXX`. */
    | { readonly kind: 'pending'; readonly shortCode: string; readonly device: DeviceId }
    /** The store is closed until the person shows who they are. `tries`: how many are left before the store is wiped. */
    | { readonly kind: 'locked'; readonly by: 'pin'; readonly tries: number }
    /** The agency wants the person, not the device alone: a passkey, or the agency's own sign-in. */
    | { readonly kind: 'person'; readonly by: 'passkey' | 'oidc'; readonly device: DeviceId }
    | { readonly kind: 'active'; readonly me: Me }
    | { readonly kind: 'ended'; readonly why: EndReason };

export interface Me {
    readonly agency: AgencyId;
    readonly agencyLabel: string;
    readonly member: MemberId;
    readonly device: DeviceId;
    readonly roles: readonly Role[];
    /** From this device's certificate. */
    readonly clinical: boolean;
    /** Holds the agency's authority key: can approve devices. */
    readonly authority: boolean;
    /** The agency has one authority only (spec 04): said on the members' screen. */
    readonly oneAuthority: boolean;
    /** When a shared tablet's shift ends; 0: not a shared one. */
    readonly shiftUntilMs: number;
    /** What opens a screen that locked itself while the engine goes on: `unlock`, this device's passkey, or a tap. */
    readonly screenLock: 'pin' | 'passkey' | 'none';
    /** The server has a bridge for the calls of consults. */
    readonly video: boolean;
    /** A telephone conference for when a call cannot be had, as the operator wrote it; empty: none. */
    readonly videoPhone: string;
}

export interface Link {
    readonly state: 'connecting' | 'online' | 'offline';
    /** Since when, by this device's clock. */
    readonly sinceMs: number;
    /** Server's clock less this device's. */
    readonly clockOffsetMs: number;
    /** When all channels were last known to be complete; 0: never since the start. */
    readonly freshMs: number;
}

/** What the local store cannot do, if anything. `full`: nothing more can be written; what is written is safe. */
export type StoreTrouble = 'none' | 'full' | 'not_persistent' | 'broken';

// ---- people, units, channels

export interface MemberView {
    readonly id: MemberId;
    /** Shown name from the agency's channel; the id's first eight digits until it is known. */
    readonly name: string;
    readonly roles: readonly Role[];
    readonly discipline: Discipline | null;
    readonly ended: boolean;
}

export interface UnitView {
    readonly id: UnitId;
    readonly name: string;
    readonly members: readonly MemberId[];
    readonly lead: MemberId | null;
    readonly ended: boolean;
    /** Its channel, if this device is in it. */
    readonly channel: ChannelId | null;
}

export type Purpose = 'unit' | 'desk' | 'agency' | 'on_call' | 'incident' | 'consult';
export type CompartmentName = 'operations' | 'clinical' | 'record' | 'substance_use' | 'criminal_justice';

export interface Reader {
    readonly device: DeviceId;
    readonly member: MemberId | null;
    /** `records`: a custodian's key that reads and never writes. `guest`: vouched for, until `untilMs`. */
    readonly kind: 'member' | 'records' | 'guest';
    readonly untilMs: number;
}

export interface ChannelView {
    readonly id: ChannelId;
    readonly purpose: Purpose;
    readonly compartment: CompartmentName;
    /** The unit's or incident's id. */
    readonly subject: string | null;
    readonly readers: readonly Reader[];
    /**
     * Of a unit's or the agency's channel, by the server's lists, for whoever may let people in: who belongs there and has
     * a device that cannot read it, and who reads it and belongs there no more. A person decides: `admit`, `remove`.
     */
    readonly outside: readonly MemberId[];
    readonly leftover: readonly MemberId[];
    readonly archived: boolean;
    /** Everything up to the head is here. Until then a screen must not say "no messages". */
    readonly caughtUp: boolean;
    /** An alarm or a missing right stops sending here; the code says which. Empty: one may write. */
    readonly blocked: string;
    /** What this person has not seen, of the log lane; and up to which offset they have. */
    readonly unread: number;
    readonly seen: number;
    /** The newest row's time and words for a list; empty when there is none. */
    readonly lastMs: number;
    readonly lastText: string;
}

// ---- what stands in a channel

export type Urgency = 'routine' | 'important' | 'urgent';
export type Progress = 'waiting' | 'accepted' | 'delivered' | 'read' | 'acknowledged' | 'refused';

interface RowBase {
    readonly channel: ChannelId;
    readonly id: MessageId;
    /** Place in the log; 0 while it waits in the outbox (shown last, in order of writing). */
    readonly offset: number;
    readonly device: DeviceId;
    readonly member: MemberId | null;
    readonly mine: boolean;
    /** The server's time; of a waiting one, this device's. */
    readonly atMs: number;
    /** The sender's own clock. */
    readonly writtenMs: number;
}

export type Row =
    | (RowBase & {
          readonly kind: 'text';
          readonly text: string;
          readonly urgency: Urgency;
          readonly replyTo: MessageId | null;
          readonly progress: ProgressView;
      })
    | (RowBase & { readonly kind: 'file'; readonly file: FileView; readonly progress: ProgressView })
    /** A unit is assigned to this channel's incident; its people acknowledge. */
    | (RowBase & {
          readonly kind: 'assignment';
          readonly unit: UnitId;
          readonly priority: number;
          readonly note: string;
          readonly progress: ProgressView;
      })
    /** `check_in`: they say that all is well. `duress`: they are in danger; cleared by another person's acknowledgement only. */
    | (RowBase & {
          readonly kind: 'check_in' | 'duress';
          readonly unit: UnitId | null;
          readonly fix: Fix | null;
          readonly progress: ProgressView;
      })
    /** What a psychiatrist recommends; it sounds until somebody of the asking unit read it back. */
    | (RowBase & {
          readonly kind: 'recommendation';
          readonly text: string;
          /** Newest last. */
          readonly readBack: readonly {
              readonly member: MemberId | null;
              readonly text: string;
              readonly atMs: number;
          }[];
          readonly progress: ProgressView;
      })
    /** The first of a consult's channel: what is asked. */
    | (RowBase & { readonly kind: 'consult'; readonly summary: string; readonly urgency: Urgency })
    /** What a person agreed to about a call, or why nobody could be asked. */
    | (RowBase & { readonly kind: 'consent'; readonly consent: ConsentDraft })
    | (RowBase & { readonly kind: 'consent_withdrawn'; readonly consent: MessageId })
    /** A mark of the incident's timeline. */
    | (RowBase & {
          readonly kind: 'timeline';
          readonly mark: Mark;
          readonly unit: UnitId | null;
          readonly note: string;
      })
    /** A member asks for what was before; a person decides: `grant`. */
    | (RowBase & { readonly kind: 'context_wanted'; readonly fromEpoch: number; readonly reason: string })
    /** What this device cannot show: `not_granted`, `no_key`, `unsupported`, `unreadable`, or a sealing code ("does not hold"). */
    | (RowBase & { readonly kind: 'closed'; readonly why: string })
    /** Who can read changed. */
    | (RowBase & {
          readonly kind: 'members';
          readonly joined: readonly Moved[];
          readonly left: readonly Moved[];
      })
    /** The log begins here: what was before was pruned. */
    | (RowBase & { readonly kind: 'gap' });

/** A device that may read from here on, or no more. */
export interface Moved {
    readonly device: DeviceId;
    /** Null: a guest, or certified by nobody. */
    readonly member: MemberId | null;
}

export interface ProgressView {
    readonly step: Progress;
    /** A number of spec 90 while `step` is `refused`; else 0. */
    readonly code: number;
    readonly delivered: readonly DeviceId[];
    readonly read: readonly DeviceId[];
    readonly acknowledged: readonly {
        readonly device: DeviceId;
        readonly member: MemberId | null;
        readonly atMs: number;
    }[];
    /** It sounds on this device until somebody of its member acknowledges. */
    readonly sounding: boolean;
}

export interface FileView {
    readonly name: string;
    readonly mediaType: string;
    readonly caption: string;
    readonly sizeBytes: number;
    /** Plain bytes sealed and stored so far, while it is being sent or fetched; `sizeBytes` when whole. */
    readonly doneBytes: number;
}

export type Mark =
    | 'call_received'
    | 'screened'
    | 'dispatched'
    | 'acknowledged'
    | 'en_route'
    | 'arrived'
    | 'person_contact'
    | 'consult_requested'
    | 'consult_accepted'
    | 'video_joined'
    | 'consult_ended'
    | 'left_scene'
    | 'arrived_destination'
    | 'transfer_of_care'
    | 'back_in_service'
    | 'closed';

// ---- the present: statuses, places

export type PrimaryStatus = 'Available' | 'ConditionallyAvailable' | 'NotAvailable';
export type SecondaryStatus =
    | 'Dispatched'
    | 'AcknowledgedTransmission'
    | 'EnRoute'
    | 'Staging'
    | 'Arrived'
    | 'OnScene'
    | 'PatientContact'
    | 'Transporting'
    | 'Hospital'
    | 'Delayed'
    | 'Cleared'
    | 'InService'
    | 'OutofService'
    | 'OnDuty'
    | 'OffDuty'
    | 'Break'
    | 'Consulting';

export interface StatusView {
    readonly unit: UnitId;
    readonly channel: ChannelId;
    readonly primary: PrimaryStatus;
    readonly secondary: SecondaryStatus | null;
    readonly sinceMs: number;
    readonly note: string;
    readonly destination: string;
    readonly device: DeviceId;
    readonly atMs: number;
}

/** A place on earth, WGS 84 in 1e-7 degrees, as spec 06 has it. */
export interface Fix {
    readonly latE7: number;
    readonly lonE7: number;
    readonly accuracyM: number;
    readonly fixMs: number;
    readonly coarseM: number;
    readonly headingDeg: number | null;
    readonly speedCmS: number | null;
    readonly batteryPercent: number | null;
}

export interface PositionView {
    readonly device: DeviceId;
    readonly member: MemberId | null;
    readonly channel: ChannelId;
    readonly fix: Fix | null;
    /** Pushed within two minutes; else the last one known. Show the age of `fix.fixMs` in both cases. */
    readonly live: boolean;
    readonly sharing: boolean;
    readonly duress: boolean;
    readonly atMs: number;
}

// ---- incidents

export type IncidentState = 'open' | 'assigned' | 'on_scene' | 'closed' | 'cancelled';

/** What is sealed in the operations channel. */
export interface IncidentDetails {
    /** A type code after APCO 2.103.2, e.g. `EDP`. */
    readonly typeCode: string;
    readonly district: string;
    readonly address: string;
    readonly place: { readonly latE7: number; readonly lonE7: number } | null;
    readonly narrative: string;
    /** Empty until it is closed. */
    readonly disposition: string;
}

export interface IncidentView {
    readonly id: IncidentId;
    /** 1 is the most urgent, 5 the least; in the clear. */
    readonly priority: number;
    readonly state: IncidentState;
    readonly units: readonly UnitId[];
    readonly createdMs: number;
    readonly closedMs: number;
    readonly operations: ChannelId | null;
    readonly clinical: ChannelId | null;
    /** Null: not opened yet, or not granted. */
    readonly details: IncidentDetails | null;
}

// ---- alarms

export type AlarmKind =
    'fork' | 'directory_fork' | 'ghost_device' | 'withheld' | 'history' | 'refused_commit' | 'changed_frame';

export interface AlarmView {
    /** Counts upward; names it in `settleAlarm`. */
    readonly seq: number;
    readonly kind: AlarmKind;
    readonly channel: ChannelId | null;
    readonly device: DeviceId | null;
    readonly code: string;
    readonly stopsSending: boolean;
    readonly atMs: number;
    /** A person saw it and decided to go on. It stays in the list. */
    readonly settled: boolean;
}

// ---- administration

export interface PendingDevice {
    readonly device: DeviceId;
    readonly member: MemberId;
    readonly label: string;
    readonly createdMs: number;
}

export interface DeviceView {
    readonly device: DeviceId;
    readonly member: MemberId;
    readonly label: string;
    readonly state: 'pending' | 'active' | 'revoked';
    readonly createdMs: number;
}

export interface EnrolmentLink {
    /** The whole link; its fragment carries code and root key, which a server never sees. */
    readonly url: string;
    readonly code: string;
    readonly expiresMs: number;
    /** When the shift of the shared device ends that it is for; 0: for one person's own. */
    readonly shiftUntilMs: number;
}

/** How an agency wants its people to show themselves, besides their device; and for how many hours that counts, 1 to 168. */
export interface PersonRule {
    readonly by: 'device' | 'passkey' | 'oidc';
    readonly hours: number;
    /** Of the rule that was read: a change of any other is a `conflict`. */
    readonly revision: number;
}

/** A passkey of this person. */
export interface PasskeyView {
    readonly id: PasskeyId;
    /** Where it was made. */
    readonly device: DeviceId;
    /** Its maker keeps copies on other devices of the person. */
    readonly synced: boolean;
    readonly createdMs: number;
    readonly usedMs: number;
}

// ---- what happens

export interface Snapshot {
    readonly standing: Standing;
    readonly link: Link;
    readonly store: StoreTrouble;
    readonly members: readonly MemberView[];
    readonly units: readonly UnitView[];
    readonly channels: readonly ChannelView[];
    readonly incidents: readonly IncidentView[];
    readonly statuses: readonly StatusView[];
    readonly positions: readonly PositionView[];
    readonly alarms: readonly AlarmView[];
    /**
     * Rows of any channel that ask for an acknowledgement (urgent texts, assignments, check-ins, duress) and have none
     * yet, or still sound on this device: the newest 500. A desk must show them before anybody has opened their channels.
     */
    readonly urgent: readonly Row[];
    readonly pending: readonly PendingDevice[];
    /** Those under way that concern this person, and those of the last day. */
    readonly consults: readonly ConsultView[];
}

export type EngineEvent =
    | OnCallEvent
    | CallEvent
    | { readonly kind: 'standing'; readonly standing: Standing }
    | { readonly kind: 'link'; readonly link: Link }
    | { readonly kind: 'store'; readonly store: StoreTrouble }
    | { readonly kind: 'member'; readonly member: MemberView }
    | { readonly kind: 'unit'; readonly unit: UnitView }
    | { readonly kind: 'channel'; readonly channel: ChannelView }
    /** This device is no longer in it, or its incident ended a day ago. */
    | { readonly kind: 'channel_gone'; readonly channel: ChannelId; readonly why: 'left' | 'forgotten' }
    /** A new row, or one that changed (progress, granted, sent). */
    | { readonly kind: 'row'; readonly row: Row }
    /** A row that was taken back before it was sent. */
    | { readonly kind: 'row_gone'; readonly channel: ChannelId; readonly id: MessageId }
    /** The server's history is another one: forget this channel's rows and read `history` again. */
    | { readonly kind: 'reset'; readonly channel: ChannelId }
    | { readonly kind: 'status'; readonly status: StatusView }
    /** The server deleted it, as it does when its time to keep is over. */
    | { readonly kind: 'status_gone'; readonly channel: ChannelId; readonly unit: UnitId }
    | { readonly kind: 'position'; readonly position: PositionView }
    | { readonly kind: 'position_gone'; readonly channel: ChannelId; readonly device: DeviceId }
    | {
          readonly kind: 'typing';
          readonly channel: ChannelId;
          readonly device: DeviceId;
          readonly on: boolean;
      }
    | { readonly kind: 'incident'; readonly incident: IncidentView }
    /** Sound now: an urgent row that nobody here acknowledged. `times` counts from 1. */
    | { readonly kind: 'sound'; readonly channel: ChannelId; readonly id: MessageId; readonly times: number }
    | { readonly kind: 'alarm'; readonly alarm: AlarmView }
    | { readonly kind: 'pending'; readonly pending: readonly PendingDevice[] };

// ---- failures

export type FailureCode =
    /** There is no link and this cannot wait for one. */
    | 'offline'
    | 'not_permitted'
    | 'blocked'
    | 'too_long'
    | 'too_large'
    | 'outbox_full'
    | 'store_full'
    | 'wrong_code'
    | 'code_expired'
    | 'wrong_pin'
    | 'wrong_person'
    | 'wrong_root'
    | 'conflict'
    | 'not_found'
    | 'already_accepted'
    | 'not_genuine'
    | 'guest_over'
    | 'unfit_browser'
    | 'failed';

// ---- commands

export interface Engine extends OnCallCommands, CallCommands {
    /** Begin; `listen` is called with every batch that follows the snapshot. Once per engine. */
    start(listen: (events: readonly EngineEvent[]) => void): Promise<Snapshot>;
    /** Close sockets and stores, keep everything. For a tab that gives way to another. */
    stop(): Promise<void>;

    /** The network came back, or a person wants to go on after an alarm. */
    reconnect(): Promise<void>;
    settleAlarm(seq: number): Promise<void>;

    // -- enrolling and signing in
    /** Make keys and present the code. `root`: the agency's root public key, 64 hexadecimal digits, from the link. */
    enrol(request: {
        readonly code: string;
        readonly root: string;
        readonly pin?: string;
        readonly authoritySeed?: string;
    }): Promise<void>;
    /** Opens the store. While `active` it only proves the PIN (`wrong_pin`), for a screen that locked itself. */
    unlock(pin: string): Promise<void>;
    /** What `navigator.credentials` is to be asked with, as the server made it (JSON of WebAuthn level 3). */
    passkeyOptions(purpose: 'register' | 'sign_in'): Promise<unknown>;
    passkeyAnswer(purpose: 'register' | 'sign_in', answer: unknown): Promise<void>;
    passkeys(): Promise<readonly PasskeyView[]>;
    /** `not_permitted` where the agency asks for one and this is the last. */
    deletePasskey(id: PasskeyId): Promise<void>;
    /** Whether an agency of this server has a sign-in of its own. Rejects while there is no link. */
    hasAgencySignIn(): Promise<boolean>;
    /** The ticket that the agency's sign-in left in the fragment. */
    oidcTicket(ticket: string): Promise<void>;
    /** The same for a browser without a device: a one-time code for `enrol`. `wrong_person`: the ticket serves no more. */
    oidcEnrolment(ticket: string): Promise<string>;
    /** End the session on the server if it can be reached, and wipe everything here whether or not it can. */
    signOut(): Promise<void>;

    // -- reading
    /** Rows of the local copy below an offset, the newest `limit` of them in order, waiting ones last. */
    history(channel: ChannelId, before: number, limit: number): Promise<readonly Row[]>;
    /** The person has seen everything up to this offset. */
    markRead(channel: ChannelId, offset: number): Promise<void>;
    presence(channel: ChannelId): Promise<{ devices: readonly DeviceId[]; asOfMs: number; stale: boolean }>;
    /** The whole of a file, opened and verified. */
    openFile(channel: ChannelId, id: MessageId): Promise<Blob>;

    // -- writing
    send(channel: ChannelId, text: string, urgency: Urgency, replyTo?: MessageId): Promise<MessageId>;
    /** Sealed and kept on disk first; the upload goes on where it broke off. */
    sendFile(channel: ChannelId, file: Blob, name: string, caption: string): Promise<MessageId>;
    acknowledge(channel: ChannelId, id: MessageId): Promise<void>;
    /** False: it may have been sent already. */
    cancel(id: MessageId): Promise<boolean>;
    typing(channel: ChannelId, on: boolean): Promise<void>;
    setStatus(
        unit: UnitId,
        primary: PrimaryStatus,
        secondary: SecondaryStatus | null,
        note: string,
        mark: Mark | null,
    ): Promise<void>;
    /** Where this device is; paced, coarsened and sealed here. Ignored for channels in which it does not share. */
    position(fix: Fix): Promise<void>;
    sharePosition(channel: ChannelId, on: boolean, coarseM: number): Promise<void>;
    /** An urgent message that repeats until acknowledged, in the unit's channel and its incidents' operations. */
    safety(kind: 'check_in' | 'duress', fix: Fix | null): Promise<void>;

    // -- a person's own small notes
    /** Written words of this device's person, sealed at rest: drafts, telephone numbers. Up to 64 KiB; empty removes it. */
    keep(name: string, text: string): Promise<void>;
    /** Empty: there is none. */
    kept(name: string): Promise<string>;

    // -- who is in
    askContext(channel: ChannelId, reason: string): Promise<void>;
    grant(channel: ChannelId, to: DeviceId): Promise<void>;
    admit(channel: ChannelId, members: readonly MemberId[]): Promise<void>;
    remove(channel: ChannelId, members: readonly MemberId[]): Promise<void>;

    /** A unit's channel, for its people and the desk; one that stands already is not opened twice. */
    openUnitChannel(unit: UnitId): Promise<ChannelId>;

    // -- incidents
    /** The row, the operations channel and its first words in one step. */
    openIncident(priority: number, details: IncidentDetails): Promise<IncidentId>;
    describeIncident(incident: IncidentId, details: IncidentDetails): Promise<void>;
    prioritise(incident: IncidentId, priority: number): Promise<void>;
    /** Admits the unit's devices, then says so in the channel, urgently. */
    assign(incident: IncidentId, unit: UnitId, note: string): Promise<void>;
    unassign(incident: IncidentId, unit: UnitId): Promise<void>;
    moveIncident(incident: IncidentId, state: IncidentState, disposition: string): Promise<void>;
    mark(incident: IncidentId, mark: Mark, unit: UnitId | null, note: string): Promise<void>;
    /** For clinicians, when first needed. `ground`: consent or break-glass, with what is recorded about it. */
    openClinical(incident: IncidentId, ground: 'consent' | 'break_glass', record: string): Promise<ChannelId>;

    // -- administration
    /** Take the authority key into this browser: its seed, 64 hexadecimal digits. `wrong_code`: no authority of the agency. */
    takeAuthority(seed: string): Promise<void>;
    devices(): Promise<readonly DeviceView[]>;
    createMember(name: string, roles: readonly Role[], discipline: Discipline | null): Promise<MemberId>;
    createUnit(name: string, members: readonly MemberId[]): Promise<UnitId>;
    enrolmentLink(member: MemberId, label: string, shift: boolean): Promise<EnrolmentLink>;
    /** `shortCode` as read aloud by its owner; `wrong_code` when it is another device's. */
    approve(device: DeviceId, shortCode: string): Promise<void>;
    revoke(device: DeviceId): Promise<void>;

    personRule(): Promise<PersonRule>;
    /** For everybody of the agency. `not_permitted`: who sets it could not show themselves by it. */
    setPersonRule(rule: PersonRule): Promise<PersonRule>;

    // -- push
    /** The server's VAPID public key in base64url; empty: this server sends none. */
    pushKey(): Promise<string>;
    pushSubscribed(subscription: PushSubscriptionJSON | null): Promise<void>;
}
