/**
 * The board: every unit, what it does, and how long nobody has heard of it. Pure; time is an argument.
 *
 * Whoever needs a person comes first: duress, then what nobody acknowledged, then units that are silent longer than
 * their work allows. A unit is heard by anything that one of its members wrote, set or shared.
 */

import type {
    ChannelId,
    ChannelView,
    DeviceId,
    Fix,
    IncidentId,
    IncidentView,
    MemberId,
    PositionView,
    PrimaryStatus,
    SecondaryStatus,
    StatusView,
    UnitId,
    UnitView,
} from './engine';
import type { UrgentRow } from './world.svelte';

/** What the board is made from; `World` is one. */
export interface BoardSource {
    readonly units: ReadonlyMap<UnitId, UnitView>;
    readonly statuses: ReadonlyMap<UnitId, StatusView>;
    readonly positions: ReadonlyMap<DeviceId, PositionView>;
    readonly incidents: ReadonlyMap<IncidentId, IncidentView>;
    readonly channels: ReadonlyMap<ChannelId, ChannelView>;
    readonly urgent: ReadonlyMap<string, UrgentRow>;
    readonly heard: ReadonlyMap<MemberId, number>;
}

export interface BoardLine {
    readonly unit: UnitView;
    readonly status: StatusView | null;
    /** The running incident that it is assigned to; the most urgent one, if there are several. */
    readonly incident: IncidentView | null;
    /** Last word of any of its members; 0: none is known. */
    readonly heardMs: number;
    /** How long it has been silent beyond what its work allows; 0: it is not overdue. */
    readonly overdueMs: number;
    /** The newest place of any of its members. */
    readonly position: PositionView | null;
    readonly duress: boolean;
    /** What this unit was told urgently and nobody of it acknowledged, the oldest first. */
    readonly waiting: readonly UrgentRow[];
}

export interface BoardFilter {
    /** Words of the unit's name, its members or its incident's district; case and accents do not count. */
    readonly text: string;
    readonly primary: PrimaryStatus | null;
    /** Only who needs a person: duress, not acknowledged, overdue. */
    readonly needing: boolean;
}

export const EVERYTHING: BoardFilter = { text: '', primary: null, needing: false };

const MINUTE_MS = 60_000;

/** How long a unit may be silent while it does this; 0: as long as it likes. */
const SILENCE_MS: Readonly<Record<SecondaryStatus, number>> = {
    Dispatched: 2 * MINUTE_MS,
    AcknowledgedTransmission: 5 * MINUTE_MS,
    EnRoute: 15 * MINUTE_MS,
    Staging: 10 * MINUTE_MS,
    Arrived: 10 * MINUTE_MS,
    OnScene: 15 * MINUTE_MS,
    PatientContact: 15 * MINUTE_MS,
    Consulting: 20 * MINUTE_MS,
    Transporting: 20 * MINUTE_MS,
    Hospital: 60 * MINUTE_MS,
    Delayed: 15 * MINUTE_MS,
    Cleared: 0,
    InService: 0,
    OutofService: 0,
    OnDuty: 0,
    OffDuty: 0,
    Break: 0,
};
/** Not available, and nobody said why. */
const SILENCE_UNSAID_MS = 15 * MINUTE_MS;

export function silenceLimitMs(status: StatusView | null): number {
    if (status === null) return 0;
    if (status.secondary !== null) return SILENCE_MS[status.secondary];
    return status.primary === 'NotAvailable' ? SILENCE_UNSAID_MS : 0;
}

export function isRunning(incident: IncidentView): boolean {
    return incident.state !== 'closed' && incident.state !== 'cancelled';
}

/** Every unit that works, whoever needs a person first. */
export function boardLines(source: BoardSource, nowMs: number): BoardLine[] {
    const incidents = incidentsByUnit(source.incidents.values());
    const places = newestPlaces(source.positions.values());
    const waiting = waitingByUnit(source);
    const lines: BoardLine[] = [];
    for (const unit of source.units.values()) {
        if (unit.ended) continue;
        const status = source.statuses.get(unit.id) ?? null;
        let heardMs = status?.atMs ?? 0;
        let position: PositionView | null = null;
        for (const member of unit.members) {
            heardMs = Math.max(heardMs, source.heard.get(member) ?? 0);
            position = newer(position, places.get(member) ?? null);
        }
        const limitMs = silenceLimitMs(status);
        const rows = waiting.get(unit.id) ?? [];
        lines.push({
            unit,
            status,
            incident: incidents.get(unit.id) ?? null,
            heardMs,
            overdueMs: limitMs === 0 ? 0 : Math.max(0, nowMs - heardMs - limitMs),
            position,
            duress: rows.some((row) => row.kind === 'duress'),
            waiting: rows.filter((row) => row.kind !== 'duress'),
        });
    }
    return lines.sort(byNeed);
}

/** Whether a dispatcher must do something about this unit now. */
export function isNeeding(line: BoardLine): boolean {
    return line.duress || line.waiting.length > 0 || line.overdueMs > 0;
}

export function filterLines(
    lines: readonly BoardLine[],
    filter: BoardFilter,
    memberName: (id: MemberId) => string,
): BoardLine[] {
    const words = fold(filter.text).split(/\s+/u).filter(Boolean);
    return lines.filter((line) => {
        // A unit in danger is never filtered away.
        if (line.duress) return true;
        if (filter.needing && !isNeeding(line)) return false;
        if (filter.primary !== null && line.status?.primary !== filter.primary) return false;
        if (words.length === 0) return true;
        const said = fold(
            [
                line.unit.name,
                ...line.unit.members.map(memberName),
                line.incident?.details?.district ?? '',
                line.incident?.details?.address ?? '',
            ].join(' '),
        );
        return words.every((word) => said.includes(word));
    });
}

/** Who must still acknowledge a row. Of a duress or a check-in: anybody but its sender, hence nobody by name. */
export function notAcknowledged(
    row: UrgentRow,
    source: Pick<BoardSource, 'units' | 'channels'>,
): readonly MemberId[] {
    const done = new Set(row.progress.acknowledged.map((mark) => mark.member));
    const asked = new Set<MemberId>();
    if (row.kind === 'assignment') {
        for (const member of source.units.get(row.unit)?.members ?? []) asked.add(member);
    } else if (row.kind === 'text') {
        for (const reader of source.channels.get(row.channel)?.readers ?? []) {
            if (reader.kind === 'member' && reader.member !== null) asked.add(reader.member);
        }
    }
    if (row.member !== null) asked.delete(row.member);
    return [...asked].filter((member) => !done.has(member));
}

// ---- nearest

export interface Candidate {
    readonly line: BoardLine;
    /** Great-circle distance in metres; null: nobody of the unit shares a place, or the incident has none. */
    readonly distanceM: number | null;
    /** Age of the fix by its own clock; null as above. */
    readonly fixAgeMs: number | null;
}

/**
 * Units for an incident: those that can go before those that cannot, however near, and nobody who is in danger; of each the
 * nearest first, then those whose place is not known, as the board has them.
 */
export function nearest(
    lines: readonly BoardLine[],
    place: Pick<Fix, 'latE7' | 'lonE7'> | null,
    nowMs: number,
): Candidate[] {
    return lines
        .map((line) => {
            const fix = line.position?.fix ?? null;
            return {
                line,
                distanceM: fix === null || place === null ? null : distanceM(fix, place),
                fixAgeMs: fix === null ? null : Math.max(0, nowMs - fix.fixMs),
            };
        })
        .sort(
            (a, b) =>
                readiness(a.line) - readiness(b.line) ||
                // Two that are nowhere are no number apart.
                (a.distanceM ?? Infinity) - (b.distanceM ?? Infinity) ||
                0 ||
                byName(a.line, b.line),
        );
}

/** Whether a unit can go; one that never said stands before one that said no. */
function readiness(line: BoardLine): number {
    if (line.duress) return 4;
    if (line.status === null) return 2;
    return { Available: 0, ConditionallyAvailable: 1, NotAvailable: 3 }[line.status.primary];
}

/** Mean radius of the earth, IUGG. */
const EARTH_M = 6_371_009;
const RADIANS_PER_E7 = Math.PI / 180 / 1e7;

/** Great-circle distance by the haversine formula: within half a percent of the ellipsoid, which no car notices. */
export function distanceM(a: Pick<Fix, 'latE7' | 'lonE7'>, b: Pick<Fix, 'latE7' | 'lonE7'>): number {
    const [latA, latB] = [a.latE7 * RADIANS_PER_E7, b.latE7 * RADIANS_PER_E7];
    const half = (x: number): number => Math.sin(x / 2) ** 2;
    const h =
        half(latB - latA) + Math.cos(latA) * Math.cos(latB) * half((b.lonE7 - a.lonE7) * RADIANS_PER_E7);
    return 2 * EARTH_M * Math.asin(Math.sqrt(Math.min(1, h)));
}

/** A place as people write it: degrees, latitude first. Null when it is none. */
export function parsePlace(text: string): { readonly latE7: number; readonly lonE7: number } | null {
    const match = /^\s*(-?\d{1,2}(?:\.\d+)?)\s*[,;\s]\s*(-?\d{1,3}(?:\.\d+)?)\s*$/u.exec(text);
    if (match === null) return null;
    const [lat, lon] = [Number(match[1]), Number(match[2])];
    if (Math.abs(lat) > 90 || Math.abs(lon) > 180) return null;
    return { latE7: Math.round(lat * 1e7), lonE7: Math.round(lon * 1e7) };
}

/** Without case and accents, for comparing what people type. */
export function fold(text: string): string {
    return text.normalize('NFD').replace(/\p{M}/gu, '').toLowerCase();
}

// ---- its pieces

function incidentsByUnit(incidents: Iterable<IncidentView>): Map<UnitId, IncidentView> {
    const found = new Map<UnitId, IncidentView>();
    for (const incident of incidents) {
        if (!isRunning(incident)) continue;
        for (const unit of incident.units) {
            const known = found.get(unit);
            if (known === undefined || incident.priority < known.priority) found.set(unit, incident);
        }
    }
    return found;
}

function newestPlaces(positions: Iterable<PositionView>): Map<MemberId, PositionView> {
    const found = new Map<MemberId, PositionView>();
    for (const position of positions) {
        if (position.member === null || position.fix === null) continue;
        const best = newer(found.get(position.member) ?? null, position);
        if (best !== null) found.set(position.member, best);
    }
    return found;
}

function newer(a: PositionView | null, b: PositionView | null): PositionView | null {
    if (a?.fix == null) return b?.fix == null ? null : b;
    if (b?.fix == null) return a;
    return b.fix.fixMs > a.fix.fixMs ? b : a;
}

/** Rows by the unit that they are about: who is assigned, who is in danger, or whose channel it is. */
function waitingByUnit(source: BoardSource): Map<UnitId, UrgentRow[]> {
    const found = new Map<UnitId, UrgentRow[]>();
    let unitOf: Map<MemberId, UnitId> | null = null;
    for (const row of source.urgent.values()) {
        let unit: UnitId | null = null;
        if (row.kind === 'text') {
            const channel = source.channels.get(row.channel);
            if (channel?.purpose === 'unit') unit = channel.subject as UnitId | null;
        } else if (row.kind === 'assignment' || row.kind === 'duress') {
            unitOf ??= unitsByMember(source.units.values());
            unit = row.unit ?? (row.member === null ? null : (unitOf.get(row.member) ?? null));
        }
        if (unit === null) continue;
        const rows = found.get(unit);
        if (rows === undefined) found.set(unit, [row]);
        else rows.push(row);
    }
    for (const rows of found.values()) rows.sort((a, b) => a.atMs - b.atMs);
    return found;
}

function unitsByMember(units: Iterable<UnitView>): Map<MemberId, UnitId> {
    const found = new Map<MemberId, UnitId>();
    for (const unit of units) {
        if (!unit.ended) for (const member of unit.members) found.set(member, unit.id);
    }
    return found;
}

const AVAILABILITY: Readonly<Record<PrimaryStatus, number>> = {
    Available: 0,
    ConditionallyAvailable: 1,
    NotAvailable: 2,
};

function availability(line: BoardLine): number {
    return line.status === null ? 3 : AVAILABILITY[line.status.primary];
}

/** A name to compare as people read it: numbers by value. Kept per unit, since a thousand collations take a frame. */
const readings = new WeakMap<UnitView, string>();

function reading(unit: UnitView): string {
    let found = readings.get(unit);
    if (found === undefined) {
        found = fold(unit.name).replace(/\d+/gu, (digits) => digits.padStart(10, '0'));
        readings.set(unit, found);
    }
    return found;
}

function byName(a: BoardLine, b: BoardLine): number {
    const [first, second] = [reading(a.unit), reading(b.unit)];
    return first < second ? -1 : first > second ? 1 : 0;
}

/** Busy units before free ones: who works is who may need somebody. */
function byNeed(a: BoardLine, b: BoardLine): number {
    return (
        Number(b.duress) - Number(a.duress) ||
        Math.min(b.waiting.length, 1) - Math.min(a.waiting.length, 1) ||
        b.overdueMs - a.overdueMs ||
        Number(b.incident !== null) - Number(a.incident !== null) ||
        availability(b) - availability(a) ||
        byName(a, b)
    );
}
