/** Plain things to test with: every field has a value, and a test names only the ones that it is about. */

import type {
    ChannelId,
    ChannelView,
    DeviceId,
    Fix,
    IncidentId,
    IncidentView,
    MemberId,
    MemberView,
    MessageId,
    PositionView,
    ProgressView,
    Reader,
    Row,
    Snapshot,
    StatusView,
    UnitId,
    UnitView,
} from './engine';
import type {
    ConsultId,
    ConsultView,
    FigureCell,
    LadderId,
    LadderView,
    PageId,
    RotaId,
    RotaView,
} from './on-call';

/** An id of any kind: a number in lowercase hexadecimal, 16 bytes long. */
const id = (n: number): string => n.toString(16).padStart(32, '0');
export const memberId = (n: number): MemberId => id(n) as MemberId;
export const deviceId = (n: number): DeviceId => id(n) as DeviceId;
export const unitId = (n: number): UnitId => id(n) as UnitId;
export const channelId = (n: number): ChannelId => id(n) as ChannelId;
export const incidentId = (n: number): IncidentId => id(n) as IncidentId;
export const messageId = (n: number): MessageId => id(n) as MessageId;
export const consultId = (n: number): ConsultId => id(n) as ConsultId;
export const rotaId = (n: number): RotaId => id(n) as RotaId;
export const ladderId = (n: number): LadderId => id(n) as LadderId;
export const pageId = (n: number): PageId => id(n) as PageId;

export function progress(change: Partial<ProgressView> = {}): ProgressView {
    return {
        step: 'accepted',
        code: 0,
        delivered: [],
        read: [],
        acknowledged: [],
        sounding: false,
        ...change,
    };
}

/** What every row has. */
function base(n: number) {
    return {
        channel: channelId(1),
        id: messageId(n),
        offset: n,
        device: deviceId(1),
        member: memberId(1),
        mine: false,
        atMs: n * 1_000,
        writtenMs: n * 1_000,
        progress: progress(),
    };
}

export type TextRow = Extract<Row, { readonly kind: 'text' }>;

export function text(n: number, change: Partial<TextRow> = {}): TextRow {
    return { ...base(n), kind: 'text', text: `message ${n}`, urgency: 'routine', replyTo: null, ...change };
}

export type AssignmentRow = Extract<Row, { readonly kind: 'assignment' }>;

export function assignment(n: number, change: Partial<AssignmentRow> = {}): AssignmentRow {
    return { ...base(n), kind: 'assignment', unit: unitId(1), priority: 2, note: '', ...change };
}

export type SafetyRow = Extract<Row, { readonly kind: 'duress' | 'check_in' }>;

export function duress(n: number, change: Partial<SafetyRow> = {}): SafetyRow {
    return { ...base(n), kind: 'duress', unit: unitId(1), fix: null, ...change };
}

export function member(n: number, change: Partial<MemberView> = {}): MemberView {
    return {
        id: memberId(n),
        name: `Member ${n}`,
        roles: ['responder'],
        discipline: null,
        ended: false,
        ...change,
    };
}

export function unit(n: number, change: Partial<UnitView> = {}): UnitView {
    return {
        id: unitId(n),
        name: `Crisis ${n}`,
        members: [memberId(n)],
        lead: memberId(n),
        ended: false,
        channel: channelId(100 + n),
        ...change,
    };
}

export function channel(n: number, change: Partial<ChannelView> = {}): ChannelView {
    return {
        id: channelId(n),
        purpose: 'incident',
        compartment: 'operations',
        subject: null,
        readers: [],
        outside: [],
        leftover: [],
        archived: false,
        caughtUp: true,
        blocked: '',
        unread: 0,
        seen: 0,
        lastMs: 0,
        lastText: '',
        ...change,
    };
}

export function incident(n: number, change: Partial<IncidentView> = {}): IncidentView {
    return {
        id: incidentId(n),
        priority: 3,
        state: 'open',
        units: [],
        createdMs: 0,
        closedMs: 0,
        operations: channelId(n),
        clinical: null,
        details: null,
        ...change,
    };
}

export function fix(change: Partial<Fix> = {}): Fix {
    return {
        latE7: 475_600_000,
        lonE7: 191_200_000,
        accuracyM: 10,
        fixMs: 0,
        coarseM: 0,
        headingDeg: null,
        speedCmS: null,
        batteryPercent: null,
        ...change,
    };
}

export function position(n: number, change: Partial<PositionView> = {}): PositionView {
    return {
        device: deviceId(n),
        member: memberId(n),
        channel: channelId(100 + n),
        fix: fix(),
        live: true,
        sharing: true,
        duress: false,
        atMs: 0,
        ...change,
    };
}

export function status(n: number, change: Partial<StatusView> = {}): StatusView {
    return {
        unit: unitId(n),
        channel: channelId(100 + n),
        primary: 'Available',
        secondary: 'InService',
        sinceMs: 0,
        note: '',
        destination: '',
        device: deviceId(n),
        atMs: 0,
        ...change,
    };
}

export function snapshot(change: Partial<Snapshot> = {}): Snapshot {
    return {
        standing: { kind: 'new' },
        link: { state: 'online', sinceMs: 0, clockOffsetMs: 0, freshMs: 0 },
        store: 'none',
        members: [],
        units: [],
        channels: [],
        incidents: [],
        statuses: [],
        positions: [],
        alarms: [],
        urgent: [],
        pending: [],
        consults: [],
        ...change,
    };
}

export function reader(n: number): Reader {
    return { device: deviceId(n), member: memberId(n), kind: 'member', untilMs: 0 };
}

export function consult(n: number, change: Partial<ConsultView> = {}): ConsultView {
    return {
        id: consultId(n),
        incident: incidentId(n),
        unit: unitId(1),
        member: memberId(1),
        mine: false,
        urgency: 'important',
        language: '',
        interpreter: false,
        specialty: '',
        state: 'paging',
        channel: channelId(700 + n),
        side: null,
        summary: '',
        opened: true,
        context: false,
        step: 0,
        steps: 3,
        requestedMs: 0,
        stepMs: 0,
        nextMs: 60_000,
        acceptedBy: null,
        acceptedMs: 0,
        joinedMs: 0,
        endedMs: 0,
        heldUntilMs: 0,
        alarms: 0,
        takenBy: null,
        targets: [],
        tried: [],
        may: [],
        ringing: false,
        ...change,
    };
}

export function rota(n: number, change: Partial<RotaView> = {}): RotaView {
    return {
        id: rotaId(n),
        label: `Rota ${n}`,
        rotations: [],
        overrides: [],
        absences: [],
        owners: [],
        fallback: null,
        revision: 1,
        ...change,
    };
}

export function ladder(n: number, change: Partial<LadderView> = {}): LadderView {
    return { id: ladderId(n), label: `Ladder ${n}`, steps: [], phones: [], revision: 1, ...change };
}

export function figure(label: string, change: Partial<FigureCell> = {}): FigureCell {
    return {
        label,
        consults: null,
        toPageP50Ms: null,
        toAcceptP50Ms: null,
        toAcceptP90Ms: null,
        toJoinP50Ms: null,
        toJoinP90Ms: null,
        unanswered: null,
        depth: null,
        ...change,
    };
}
