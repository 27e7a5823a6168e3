/**
 * Incidents as strips: in which order, with which timers, who owns them, and where each may go. Pure; time is an argument.
 *
 * The moves mirror the server's table (`server/leeside_server/core/incidents.py`), so that a screen offers only what
 * would be taken. Closing is never refused here: what would be left unowned is said, and a person decides.
 */

import { isRunning, type BoardLine, type BoardSource } from './board';
import type { IncidentState, IncidentView, UnitId } from './engine';
import type { UrgentRow } from './world.svelte';

export interface Strip {
    readonly incident: IncidentView;
    /** Its units as the board has them, in the order of assignment; the first one owns it. */
    readonly lines: readonly BoardLine[];
    /** Since it was opened; of an ended one, how long it ran. */
    readonly ageMs: number;
    /** Why a person must act, the worst first. Empty: it runs. */
    readonly needs: readonly Need[];
    /** Beyond its target; 0: in time. Decides the order among those that need the same. */
    readonly overdueMs: number;
    /** Urgent rows of its channels without an acknowledgement, the oldest first. */
    readonly waiting: readonly UrgentRow[];
}

/** `duress`, `not_acknowledged`: see `waiting`. `no_unit`: nobody is sent in time. `silent`: a unit of it is overdue. */
export type Need = 'duress' | 'not_acknowledged' | 'no_unit' | 'silent';

const MINUTE_MS = 60_000;
/** From opening to a unit, by priority 1-5. */
const ASSIGN_MS: readonly number[] = [2, 5, 15, 30, 60].map((minutes) => minutes * MINUTE_MS);

export function assignTargetMs(priority: number): number {
    return ASSIGN_MS[Math.min(5, Math.max(1, priority)) - 1] ?? MINUTE_MS;
}

/** Running incidents: whoever needs a person first, then by priority, then the oldest. `lines`: the board's, all of them. */
export function strips(source: BoardSource, lines: readonly BoardLine[], nowMs: number): Strip[] {
    const board = new Map<UnitId, BoardLine>(lines.map((line) => [line.unit.id, line]));
    const urgent = [...source.urgent.values()];
    return [...source.incidents.values()]
        .filter(isRunning)
        .map((incident) => strip(incident, board, urgent, nowMs))
        .sort(byNeed);
}

export function strip(
    incident: IncidentView,
    board: ReadonlyMap<UnitId, BoardLine>,
    urgent: readonly UrgentRow[],
    nowMs: number,
): Strip {
    const running = isRunning(incident);
    const lines = incident.units.flatMap((unit) => board.get(unit) ?? []);
    const waiting = urgent
        .filter((row) => row.channel === incident.operations || row.channel === incident.clinical)
        .sort((a, b) => a.atMs - b.atMs);
    const ageMs = Math.max(0, (running ? nowMs : incident.closedMs) - incident.createdMs);
    const unassignedMs = incident.units.length === 0 ? ageMs - assignTargetMs(incident.priority) : 0;
    const silentMs = Math.max(0, ...lines.map((line) => line.overdueMs));
    const needs: Need[] = [];
    if (running) {
        if (lines.some((line) => line.duress) || waiting.some((row) => row.kind === 'duress')) {
            needs.push('duress');
        }
        if (waiting.some((row) => row.kind !== 'duress')) needs.push('not_acknowledged');
        if (unassignedMs > 0) needs.push('no_unit');
        if (silentMs > 0) needs.push('silent');
    }
    const waitedMs = waiting[0] === undefined ? 0 : nowMs - waiting[0].atMs;
    return {
        incident,
        lines,
        ageMs,
        needs,
        overdueMs: running ? Math.max(0, unassignedMs, silentMs, waitedMs) : 0,
        waiting,
    };
}

// ---- where it may go

/** `unit`: needs one assigned. `no_unit`: needs that none is. `disposition`: asks how it ended. */
export interface Move {
    readonly to: IncidentState;
    readonly needs: 'unit' | 'no_unit' | 'disposition' | null;
    /** Whether it would be taken as the incident stands. */
    readonly allowed: boolean;
}

const MOVES: Readonly<Record<IncidentState, readonly IncidentState[]>> = {
    open: ['assigned', 'on_scene', 'closed', 'cancelled'],
    assigned: ['open', 'on_scene', 'closed', 'cancelled'],
    on_scene: ['closed', 'cancelled'],
    closed: [],
    cancelled: [],
};

export function moves(incident: IncidentView): Move[] {
    const staffed = incident.units.length > 0;
    return MOVES[incident.state].map((to) => {
        switch (to) {
            case 'assigned':
            case 'on_scene':
                return { to, needs: 'unit', allowed: staffed };
            case 'open':
                return { to, needs: 'no_unit', allowed: !staffed };
            case 'closed':
            case 'cancelled':
                return { to, needs: 'disposition', allowed: true };
        }
    });
}

/** What closing would leave without an owner; a screen says each and asks once. */
export type Unowned =
    | { readonly kind: 'duress' }
    | { readonly kind: 'not_acknowledged'; readonly rows: readonly UrgentRow[] }
    /** The unit did not say that it left. */
    | { readonly kind: 'unit_busy'; readonly line: BoardLine };

const DONE = new Set(['Cleared', 'InService', 'OutofService', 'OnDuty', 'OffDuty', 'Break']);

export function unowned(strip: Strip): Unowned[] {
    const found: Unowned[] = [];
    if (strip.needs.includes('duress')) found.push({ kind: 'duress' });
    const rows = strip.waiting.filter((row) => row.kind !== 'duress');
    if (rows.length > 0) found.push({ kind: 'not_acknowledged', rows });
    for (const line of strip.lines) {
        const { status } = line;
        const left = status === null || status.primary === 'Available' || DONE.has(status.secondary ?? '');
        if (!left && line.incident?.id === strip.incident.id) found.push({ kind: 'unit_busy', line });
    }
    return found;
}

/** How an incident ended (spec 10), in the order that a dispatcher meets them. */
export const DISPOSITIONS = [
    'resolved_by_phone',
    'remained_in_place',
    'remained_with_support',
    'voluntary_transport',
    'involuntary_hold',
    'medical_transport',
    'crisis_facility',
    'referral_made',
    'law_enforcement_custody',
    'declined_service',
    'unable_to_locate',
    'cancelled',
] as const;
export type Disposition = (typeof DISPOSITIONS)[number];

/** Type codes that a desk offers (after APCO 2.103.2); others may be typed. */
export const TYPE_CODES = ['EDP', 'MNTL', 'SUICTHRT', 'WELFARE', 'OD'] as const;

// ---- screening

/** What a dispatcher asks before anybody is sent; the answers become the narrative, in this order. */
export const QUESTIONS = ['who', 'happening', 'weapons', 'medical', 'alone'] as const;
export type Question = (typeof QUESTIONS)[number];

/** Spec 10: a narrative's most characters. */
export const NARRATIVE_MOST = 8_000;

/** The narrative that screening gives: one line an answer, each under its label; what was not asked says so. */
export function screened(
    answers: Readonly<Record<Question, string>>,
    label: (question: Question) => string,
    notAsked: string,
): string {
    return QUESTIONS.map((question) => `${label(question)}: ${answers[question].trim() || notAsked}`)
        .join('\n')
        .slice(0, NARRATIVE_MOST);
}

// ---- order

const NEED: Readonly<Record<Need, number>> = { duress: 0, not_acknowledged: 1, no_unit: 2, silent: 3 };

function need(strip: Strip): number {
    const [worst] = strip.needs;
    return worst === undefined ? 4 : NEED[worst];
}

function byNeed(a: Strip, b: Strip): number {
    return (
        Number(need(b) === 0) - Number(need(a) === 0) ||
        Number(b.needs.length > 0) - Number(a.needs.length > 0) ||
        a.incident.priority - b.incident.priority ||
        need(a) - need(b) ||
        b.overdueMs - a.overdueMs ||
        a.incident.createdMs - b.incident.createdMs
    );
}
