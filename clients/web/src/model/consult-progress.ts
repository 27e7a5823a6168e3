/**
 * How far a consult has come, as a requester reads it: what happens now, what was tried, what comes next. Pure. The words are
 * the view's; here stand their keys and whom they are about. Spec 08.
 */
import type { MemberId } from './engine';
import type { ConsultTarget, ConsultView, TriedEvent } from './on-call';

/** What happens now, in one word: each has a sentence of its own. */
export type Stage =
    | 'unconfirmed'
    | 'unsent'
    | 'held'
    | 'starting'
    | 'paging'
    /** "5 minutes": somebody asked for them, and the backup is paged meanwhile. */
    | 'on_hold'
    | 'accepted'
    | 'in_session'
    | 'exhausted'
    | 'taken'
    | 'ended'
    | 'cancelled';

/** Nothing more is done for it. */
export function isOver(consult: Pick<ConsultView, 'state'>): boolean {
    return consult.state === 'ended' || consult.state === 'cancelled';
}

/** Somebody said that they come, or are there. */
export function isAnswered(consult: Pick<ConsultView, 'state'>): boolean {
    return consult.state === 'accepted' || consult.state === 'in_session';
}

export function stageOf(consult: ConsultView, nowMs: number): Stage {
    switch (consult.state) {
        case 'requested':
            return 'held';
        case 'paging':
            if (consult.heldUntilMs > nowMs) return 'on_hold';
            return consult.step < 0 ? 'starting' : 'paging';
        case 'exhausted':
            return consult.takenBy === null ? 'exhausted' : 'taken';
        default:
            return consult.state;
    }
}

/** Who is being paged in the present step and has not said no. */
export function pagedNow(consult: ConsultView): readonly MemberId[] {
    if (consult.state !== 'paging') return [];
    return consult.targets
        .filter((one) => one.step === consult.step && isWaiting(one))
        .map((one) => one.member);
}

function isWaiting(target: ConsultTarget): boolean {
    switch (target.state) {
        case 'queued':
        case 'sent':
        case 'delivered':
        case 'seen':
            return true;
        case 'accepted':
        case 'declined':
        case 'timed_out':
        case 'unreachable':
            return false;
    }
}

/** Until the next step begins by itself; null: none will. Never negative: a late server is not early. */
export function nextInMs(consult: ConsultView, nowMs: number): number | null {
    if (consult.state !== 'paging' || consult.nextMs === 0) return null;
    return Math.max(0, consult.nextMs - nowMs);
}

export type StepState = 'done' | 'now' | 'ahead';

export interface StepView {
    /** 0 is the first. */
    readonly step: number;
    /** All supervisors, and the phone tree. */
    readonly last: boolean;
    readonly state: StepState;
    readonly targets: readonly ConsultTarget[];
}

/** Every step of the ladder, the last one too, with whom it reached. */
export function stepsOf(consult: ConsultView): readonly StepView[] {
    const over = consult.state !== 'paging' && consult.state !== 'requested';
    return Array.from({ length: Math.max(0, consult.steps) }, (_, step): StepView => {
        const state =
            step < consult.step || (over && step === consult.step)
                ? 'done'
                : step === consult.step
                  ? 'now'
                  : 'ahead';
        return {
            step,
            last: step === consult.steps - 1,
            state,
            targets: consult.targets.filter((one) => one.step === step),
        };
    });
}

const EVENTS = new Set<string>([
    'paged',
    'unreachable',
    'no_one_on_call',
    'declined',
    'timed_out',
    'held',
    'escalated',
    'accepted',
    'not_joined',
    'joined',
    'left',
    'rejoined',
    'exhausted',
    'alarmed',
    'taken',
    'cancelled',
    'ended',
    'released',
] satisfies readonly TriedEvent[]);

export interface TriedLine {
    readonly atMs: number;
    /** `other`: a word of a newer server; `word` has it. */
    readonly event: TriedEvent | 'other';
    readonly word: string;
    readonly step: number;
    readonly members: readonly MemberId[];
}

/** Said within this time about the same step is one line: a page to five people is one thing that was done. */
const TOGETHER_MS = 1_000;

/** What was done to reach somebody, in order; the same for several people stands in one line. */
export function triedLines(consult: ConsultView): readonly TriedLine[] {
    const lines: TriedLine[] = [];
    for (const { atMs, event, step, member } of consult.tried) {
        const before = lines.at(-1);
        const members = member === null ? [] : [member];
        if (
            before?.word === event &&
            before.step === step &&
            members.length > 0 &&
            atMs - before.atMs <= TOGETHER_MS
        ) {
            if (member !== null && !before.members.includes(member)) {
                lines[lines.length - 1] = { ...before, members: [...before.members, member] };
            }
            continue;
        }
        const known = EVENTS.has(event) ? (event as TriedEvent) : 'other';
        lines.push({ atMs, event: known, word: event, step, members });
    }
    return lines;
}

const URGENCY_ORDER = { urgent: 0, important: 1, routine: 2 } as const;

/** The most urgent first; of equal ones the one that waits longest. */
export function byUrgency(a: ConsultView, b: ConsultView): number {
    return URGENCY_ORDER[a.urgency] - URGENCY_ORDER[b.urgency] || a.requestedMs - b.requestedMs;
}
