/** What a supervisor changes about a rota, as the change that is sent. Pure: ids and times are arguments. Spec 08, "Rotas". */
import type { MemberId } from './engine';
import type { RotaAbsence, RotaDraft, RotaOverride, RotaView, Rotation, Span } from './on-call';

/** What is wrong with what was typed; each has a sentence. */
export type Fault =
    | 'no_label'
    | 'no_member'
    | 'no_start'
    | 'no_zone'
    | 'bad_rule'
    | 'bad_length'
    | 'ends_before'
    | 'over'
    | 'same_member'
    | 'full';

/** Overrides, and absences, of one rota (spec limits). */
export const MOST_ENTRIES = 400;
export const MOST_ROTATIONS = 16;
export const MOST_MEMBERS = 64;

export interface Window {
    readonly fromMs: number;
    readonly untilMs: number;
}

/** Null: it may be sent. */
export function windowFault({ fromMs, untilMs }: Window, nowMs: number): Fault | null {
    if (!Number.isFinite(fromMs) || !Number.isFinite(untilMs) || fromMs <= 0) return 'no_start';
    if (untilMs <= fromMs) return 'ends_before';
    return untilMs <= nowMs ? 'over' : null;
}

/** What is over makes room for what comes. */
function current<T extends Window>(entries: readonly T[], nowMs: number): readonly T[] {
    return entries.length < MOST_ENTRIES ? entries : entries.filter((one) => one.untilMs > nowMs);
}

/** One person takes a time, whoever had it. The newest counts: it comes last. */
export function cover(
    rota: Pick<RotaView, 'overrides'>,
    id: string,
    member: MemberId,
    window: Window,
    nowMs: number,
): Pick<RotaDraft, 'overrides'> {
    const taken: RotaOverride = { id, member, fromMs: window.fromMs, untilMs: window.untilMs, why: 'cover' };
    return { overrides: [...current(rota.overrides, nowMs), taken] };
}

/** Two people take each other's shift. Null: one of the spans is a gap, or both are one person's. */
export function swap(
    rota: Pick<RotaView, 'overrides'>,
    ids: readonly [string, string],
    first: Span,
    second: Span,
    nowMs: number,
): Pick<RotaDraft, 'overrides'> | null {
    if (first.member === null || second.member === null || first.member === second.member) return null;
    const taken = (id: string, member: MemberId, span: Span): RotaOverride => ({
        id,
        member,
        fromMs: span.fromMs,
        untilMs: span.untilMs,
        why: 'swap',
    });
    return {
        overrides: [
            ...current(rota.overrides, nowMs),
            taken(ids[0], second.member, first),
            taken(ids[1], first.member, second),
        ],
    };
}

/** Somebody is away: their shifts of the rotations fall to the next rotation, the fallback, or nobody. */
export function absent(
    rota: Pick<RotaView, 'absences'>,
    id: string,
    member: MemberId,
    window: Window,
    nowMs: number,
): Pick<RotaDraft, 'absences'> {
    const away: RotaAbsence = { id, member, fromMs: window.fromMs, untilMs: window.untilMs };
    return { absences: [...current(rota.absences, nowMs), away] };
}

/** A new one comes last; one that stands is replaced in its place, for the first of the rotations counts. */
export function withRotation(
    rota: Pick<RotaView, 'rotations'>,
    rotation: Rotation,
): Pick<RotaDraft, 'rotations'> {
    const at = rota.rotations.findIndex((one) => one.id === rotation.id);
    const rotations = at < 0 ? [...rota.rotations, rotation] : rota.rotations.with(at, rotation);
    return { rotations };
}

export function rotationFault(rotation: Rotation): Fault | null {
    if (!isZone(rotation.zone)) return 'no_zone';
    if (!/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}$/.test(rotation.start)) return 'no_start';
    if (!/^FREQ=(YEARLY|MONTHLY|WEEKLY|DAILY|HOURLY)(;|$)/.test(rotation.rule)) return 'bad_rule';
    if (!Number.isInteger(rotation.lengthMin) || rotation.lengthMin < 1) return 'bad_length';
    return rotation.members.length === 0 ? 'no_member' : null;
}

/** Whether this browser knows the zone; the server asks again. */
export function isZone(zone: string): boolean {
    try {
        new Intl.DateTimeFormat('en', { timeZone: zone });
        return zone !== '';
    } catch {
        return false;
    }
}

// ---- the rules that a form offers; any other RRULE is shown, and edited, as it is

export type Turn = 'day' | 'week' | 'weekdays' | 'weekend' | 'other';

const RULES: Readonly<Record<Exclude<Turn, 'other'>, string>> = {
    day: 'FREQ=DAILY',
    week: 'FREQ=WEEKLY',
    weekdays: 'FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR',
    weekend: 'FREQ=WEEKLY;BYDAY=SA,SU',
};

export function turnOf(rule: string): Turn {
    const found = Object.entries(RULES).find(([, text]) => text === rule);
    return (found?.[0] ?? 'other') as Turn;
}

export function ruleOf(turn: Turn, other: string): string {
    return turn === 'other'
        ? other
              .trim()
              .replace(/^RRULE:/i, '')
              .toUpperCase()
        : RULES[turn];
}

/** `2026-03-01T08:00` of a form field, by this device's calendar, as ms of Unix time; NaN while it is none. */
export function localMs(field: string): number {
    return field === '' ? NaN : new Date(field).getTime();
}

/** And back. */
export function localField(ms: number): string {
    const at = new Date(ms);
    const two = (n: number): string => String(n).padStart(2, '0');
    const date = `${String(at.getFullYear()).padStart(4, '0')}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
    return `${date}T${two(at.getHours())}:${two(at.getMinutes())}`;
}

/** Names in an iCalendar file that must be told whom they mean: attendees and organizers, else summaries (RFC 5545). */
export function calendarNames(ics: string): readonly string[] {
    const lines = ics.replace(/\r?\n[ \t]/g, '').split(/\r?\n/);
    const names = new Set<string>();
    let inside = false;
    let people: string[] = [];
    let summary = '';
    for (const line of lines) {
        // A parameter in quotes may hold a colon.
        const [, head = '', rest = ''] = /^((?:"[^"]*"|[^":])*):(.*)$/.exec(line) ?? [];
        const value = rest.trim();
        const property = (head.split(';')[0] ?? '').toUpperCase();
        if (property === 'BEGIN' && value.toUpperCase() === 'VEVENT') {
            inside = true;
            people = [];
            summary = '';
        } else if (property === 'END' && value.toUpperCase() === 'VEVENT') {
            inside = false;
            for (const name of people.length > 0 ? people : summary === '' ? [] : [summary]) names.add(name);
        } else if (inside && (property === 'ATTENDEE' || property === 'ORGANIZER')) {
            people.push(value.toLowerCase().replace(/^mailto:/, ''));
        } else if (inside && property === 'SUMMARY') {
            summary = value.replace(/\\([\\,;])/g, '$1');
        }
    }
    return [...names];
}
