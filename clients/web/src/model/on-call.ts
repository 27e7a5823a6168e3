/**
 * On call, paging and the consult, as screens see them (spec 08): plain data, like everything of `engine.ts`.
 *
 * Times are milliseconds by the server's clock. A ring is a level and not an edge: `ConsultView.ringing` says it, after a
 * reload too, and the event `ring` only tells when to make a noise.
 */
import type { ConsultId, LadderId, PageId, RotaId } from '~/protocol/ids';
import type { ChannelId, DeviceId, IncidentId, MemberId, MessageId, UnitId, Urgency } from './engine';

export type { ConsultId, LadderId, PageId, RotaId } from '~/protocol/ids';

// ---- the consult

export type ConsultState =
    /** Held for a supervisor: its device asked for too many at once. */
    | 'requested'
    | 'paging'
    | 'accepted'
    | 'in_session'
    | 'ended'
    | 'cancelled'
    | 'exhausted'
    /** Of this device alone: the server has not confirmed it yet. */
    | 'unconfirmed'
    /** Of this device alone: found no way for two minutes, and is not sent by itself any more. */
    | 'unsent';

export type TargetState =
    'queued' | 'sent' | 'delivered' | 'seen' | 'accepted' | 'declined' | 'timed_out' | 'unreachable';

export type ConsultAction =
    'accept' | 'decline' | 'hold' | 'escalate' | 'cancel' | 'join' | 'leave' | 'end' | 'take' | 'release';

export interface ConsultTarget {
    readonly member: MemberId;
    readonly step: number;
    readonly state: TargetState;
    readonly atMs: number;
}

export type TriedEvent =
    | 'paged'
    | 'unreachable'
    | 'no_one_on_call'
    | 'declined'
    | 'timed_out'
    | 'held'
    | 'escalated'
    | 'accepted'
    | 'not_joined'
    | 'joined'
    | 'left'
    | 'rejoined'
    | 'exhausted'
    | 'alarmed'
    | 'taken'
    | 'cancelled'
    | 'ended'
    | 'released';

export interface Tried {
    readonly atMs: number;
    /** A word that this client does not know is shown as it is. */
    readonly event: TriedEvent | (string & {});
    readonly step: number;
    readonly member: MemberId | null;
}

export interface ConsultView {
    readonly id: ConsultId;
    readonly incident: IncidentId;
    readonly unit: UnitId | null;
    /** Who asks. */
    readonly member: MemberId;
    readonly mine: boolean;
    readonly urgency: Urgency;
    /** A primary language subtag (`es`), empty for any. */
    readonly language: string;
    readonly interpreter: boolean;
    readonly specialty: string;
    readonly state: ConsultState;
    /** Null until the server confirmed it, or while this device is not in it. */
    readonly channel: ChannelId | null;
    /** The clinicians' own channel, if there is one and this device is in it. */
    readonly side: ChannelId | null;
    /** The sealed line; empty: none was written, or it cannot be opened here (`opened` says which). */
    readonly summary: string;
    readonly opened: boolean;
    /** The incident's earlier context can be read here: its operations channel is open to this device. */
    readonly context: boolean;
    /** 0 is the first; -1: none began. `steps` counts the last one, all supervisors and the phone tree. */
    readonly step: number;
    readonly steps: number;
    readonly requestedMs: number;
    readonly stepMs: number;
    /** When the next step begins by itself; 0: never. */
    readonly nextMs: number;
    readonly acceptedBy: MemberId | null;
    readonly acceptedMs: number;
    readonly joinedMs: number;
    readonly endedMs: number;
    readonly heldUntilMs: number;
    /** How often the alarm of an exhausted one was raised; it repeats until `takenBy` is somebody. */
    readonly alarms: number;
    readonly takenBy: MemberId | null;
    readonly targets: readonly ConsultTarget[];
    readonly tried: readonly Tried[];
    /** What this person may do now. */
    readonly may: readonly ConsultAction[];
    /** It rings for this person until answered. */
    readonly ringing: boolean;
}

export interface ConsultRequest {
    readonly incident: IncidentId | null;
    readonly unit: UnitId | null;
    readonly urgency: Urgency;
    readonly language: string;
    readonly interpreter: boolean;
    readonly specialty: string;
    /** Sealed; up to 500 characters; may be empty. */
    readonly summary: string;
}

// ---- guests of a consult

export type GuestRole = 'interpreter' | 'receiving_facility';

export interface GuestInvite {
    readonly guest: MemberId;
    /** Whoever opens it first may come: it is shown to the guest, and to nobody else. */
    readonly url: string;
    readonly expiresMs: number;
}

/** A link that serves, or somebody who came by one. `in` is told by the signed roster; the rest is the server's word. */
export interface GuestView {
    readonly id: MemberId;
    /** Null: in the roster, and not in the server's list. */
    readonly role: GuestRole | null;
    readonly state: 'open' | 'waiting' | 'in' | 'ended';
    /** The link itself, while it serves and this device made it. */
    readonly url: string | null;
    /** Until when the link may be opened. */
    readonly expiresMs: number;
    /** Until when the guest may stay. */
    readonly untilMs: number;
    readonly device: DeviceId | null;
    /**
     * Whether the keys that came are those of whoever was given the link. Null: nobody came yet, or another device made the link
     * and it alone can tell.
     */
    readonly genuine: boolean | null;
    /** Who made the link; once it is in, who vouched for it in the signed roster. */
    readonly by: MemberId | null;
}

// ---- on call

export interface Rotation {
    readonly id: string;
    readonly zone: string;
    /** Wall time `2026-03-01T08:00` in `zone`. */
    readonly start: string;
    /** RFC 5545 RRULE, e.g. `FREQ=WEEKLY`. */
    readonly rule: string;
    readonly lengthMin: number;
    readonly members: readonly MemberId[];
}
export interface RotaOverride {
    readonly id: string;
    readonly fromMs: number;
    readonly untilMs: number;
    readonly member: MemberId;
    readonly why: 'cover' | 'swap' | 'shift';
}
export interface RotaAbsence {
    readonly id: string;
    readonly member: MemberId;
    readonly fromMs: number;
    readonly untilMs: number;
}
export interface RotaView {
    readonly id: RotaId;
    readonly label: string;
    readonly rotations: readonly Rotation[];
    readonly overrides: readonly RotaOverride[];
    readonly absences: readonly RotaAbsence[];
    readonly owners: readonly MemberId[];
    readonly fallback: RotaId | null;
    readonly revision: number;
}
export type RotaDraft = Omit<RotaView, 'id' | 'revision'>;

export interface Span {
    readonly fromMs: number;
    readonly untilMs: number;
    /** Null: nobody, a gap. */
    readonly member: MemberId | null;
    readonly why: 'override' | 'rotation' | 'fallback' | 'gap';
}

export interface LadderStep {
    readonly rotas: readonly RotaId[];
    readonly members: readonly MemberId[];
    readonly delayS: number;
    readonly repeats: number;
    readonly language: boolean;
    readonly specialty: string;
    readonly licence: string;
}
export interface Phone {
    readonly label: string;
    /** E.164. */
    readonly number: string;
}
export interface LadderView {
    readonly id: LadderId;
    readonly label: string;
    readonly steps: readonly LadderStep[];
    readonly phones: readonly Phone[];
    readonly revision: number;
}
export type LadderDraft = Omit<LadderView, 'id' | 'revision'>;

export interface RotaWarning {
    readonly rota: RotaId;
    readonly kind: 'gap' | 'unreachable' | 'probe_failed';
    readonly member: MemberId | null;
    readonly fromMs: number;
    readonly untilMs: number;
}

export interface OnCallView {
    readonly atMs: number;
    readonly rotas: readonly {
        readonly rota: RotaId;
        readonly label: string;
        readonly member: MemberId | null;
        readonly untilMs: number;
    }[];
    readonly warnings: readonly RotaWarning[];
}

/** This device and its pages; 0 for what never happened. */
export interface DutyView {
    readonly on: boolean;
    readonly sound: boolean;
    readonly testedMs: number;
    readonly probedMs: number;
    readonly push: boolean;
    /** Rotas that this member holds now. */
    readonly holds: readonly RotaId[];
}

export interface PagePath {
    readonly path: 'socket' | 'push' | 'sms' | 'voice';
    readonly state: TargetState;
    readonly atMs: number;
    readonly attempts: number;
}

// ---- figures

/** One cut of the times; a number that stands for fewer than five consults is null, and shown as "fewer than 5". */
export interface FigureCell {
    readonly label: string;
    readonly consults: number | null;
    readonly toPageP50Ms: number | null;
    readonly toAcceptP50Ms: number | null;
    readonly toAcceptP90Ms: number | null;
    readonly toJoinP50Ms: number | null;
    readonly toJoinP90Ms: number | null;
    /** 0 to 1. */
    readonly unanswered: number | null;
    readonly depth: number | null;
}
export interface FiguresView {
    readonly fromMs: number;
    readonly untilMs: number;
    readonly zone: string;
    readonly all: FigureCell;
    /** 24 and 7 cells; Monday first. */
    readonly byHour: readonly FigureCell[];
    readonly byWeekday: readonly FigureCell[];
    /** Counted on this device from what it may open; labels are codes of the sealed incident. */
    readonly byType: readonly FigureCell[];
    readonly byDistrict: readonly FigureCell[];
    readonly byDisposition: readonly FigureCell[];
    /** Consults whose incident this device cannot open, left out of the three above; null: fewer than five. */
    readonly unopened: number | null;
}

// ---- what happens, and what can be asked

export type OnCallEvent =
    | { readonly kind: 'consult'; readonly consult: ConsultView }
    /** Over for a day, or not this person's any more. */
    | { readonly kind: 'consult_gone'; readonly consult: ConsultId }
    /** Make a noise now: it rings, or an exhausted one's alarm is up. `times` counts from 1. */
    | {
          readonly kind: 'ring';
          /** Of a test: the id of the page that `testPage` gave. */
          readonly consult: ConsultId;
          readonly why: 'page' | 'alarm' | 'test';
          readonly times: number;
      }
    /** Of a consult that somebody asked `guests` for, or into which this device invited: told anew when they changed. */
    | { readonly kind: 'guests'; readonly consult: ConsultId; readonly guests: readonly GuestView[] }
    | { readonly kind: 'on_call'; readonly onCall: OnCallView }
    | { readonly kind: 'duty'; readonly duty: DutyView };

/** What a step of a ladder may ask of a member, and where they are called when nothing else woke them. */
export interface Skills {
    /** Primary subtags of BCP 47, eight at most. */
    readonly languages: readonly string[];
    readonly specialties: readonly string[];
    readonly licences: readonly string[];
    /** E.164; empty: none. */
    readonly phone: string;
    readonly revision: number;
}

export interface OnCallCommands {
    /**
     * On the disk when it resolves, and sent as soon as there is a link. The view's state is `unconfirmed` until the server
     * has it, and `unsent` after two minutes without a way: then a person decides, `sendAgain` or `cancel`.
     */
    requestConsult(request: ConsultRequest): Promise<ConsultId>;
    sendAgain(consult: ConsultId): Promise<void>;
    /** Rejects with `already_accepted` when somebody else was first. `accept` also admits what it must to the channel. */
    actOnConsult(consult: ConsultId, action: ConsultAction): Promise<void>;
    /** The person has its page before them: the asking side is told so. */
    sawConsult(consult: ConsultId): Promise<void>;
    /** Sounds at the others until somebody of the asking unit read it back. */
    recommend(channel: ChannelId, text: string): Promise<MessageId>;
    readBack(channel: ChannelId, recommendation: MessageId, text: string): Promise<void>;
    /** The clinicians' own channel of a consult; opened by the first of them who needs it. */
    openSide(consult: ConsultId, ground: 'consent' | 'break_glass', record: string): Promise<ChannelId>;
    /** A link for one device, for fifteen minutes. */
    inviteGuest(consult: ConsultId, role: GuestRole): Promise<GuestInvite>;
    /** Those who are here, wait, or were sent a link; from then on by `guests` events. */
    guests(consult: ConsultId): Promise<readonly GuestView[]>;
    /**
     * Vouch for who came by a link of this device, for the calls of this consult alone. Rejects with `not_genuine` where other keys
     * came than those of whoever was given the link, with `guest_over` where it ended meanwhile.
     */
    letGuestIn(consult: ConsultId, guest: MemberId): Promise<void>;
    /** The link serves no more; a guest is refused at once, and leaves the roster. */
    endGuest(consult: ConsultId, guest: MemberId): Promise<void>;
    /** The newest from the server, and from then on by `on_call` events. */
    onCall(): Promise<OnCallView>;
    /** The phone tree of the default ladder, as last seen; cached on this device. */
    phoneTree(): Promise<readonly Phone[]>;

    duty(): Promise<DutyView>;
    setDuty(on: boolean, sound: boolean): Promise<DutyView>;
    /** Pages this device by every way that it has; rings here (`why: 'test'`). */
    testPage(): Promise<PageId>;
    pagePaths(page: PageId): Promise<readonly PagePath[]>;

    rotas(): Promise<readonly RotaView[]>;
    schedule(rota: RotaId, fromMs: number, untilMs: number): Promise<readonly Span[]>;
    createRota(draft: RotaDraft): Promise<RotaId>;
    /** What is named is replaced as a whole; `conflict`: somebody changed it meanwhile. */
    changeRota(rota: RotaId, revision: number, change: Partial<RotaDraft>): Promise<void>;
    endRota(rota: RotaId, revision: number): Promise<void>;
    importCalendar(
        rota: RotaId,
        revision: number,
        ics: string,
        members: Readonly<Record<string, MemberId>>,
    ): Promise<void>;
    /** A secret address of a live calendar, shown once. */
    createFeed(rota: RotaId, mine: boolean): Promise<string>;
    endFeeds(rota: RotaId): Promise<void>;
    ladders(): Promise<readonly LadderView[]>;
    createLadder(draft: LadderDraft): Promise<LadderId>;
    changeLadder(ladder: LadderId, revision: number, change: Partial<LadderDraft>): Promise<void>;

    /** For supervisors and administrators. */
    skills(member: MemberId): Promise<Skills>;
    /** Replaced as a whole; `conflict`: somebody changed the member meanwhile. */
    setSkills(member: MemberId, skills: Skills): Promise<void>;

    figures(fromMs: number, untilMs: number, zone: string): Promise<FiguresView>;
    /** The clear times as CSV. */
    figuresCsv(fromMs: number, untilMs: number, zone: string): Promise<string>;
}
