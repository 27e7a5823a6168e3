/**
 * Figures of consults: those of the clear times are the server's; by type, district and disposition they are counted here,
 * from what this device may open (spec 08, "Figures"). Pure. A cell of fewer than five consults tells nothing but that: so few
 * are somebody's story. Nor may it be had back from the sum, so the smallest others are hidden with it until those hidden of a
 * cut are two and stand for five together; what could not be opened is a cell of each cut.
 */
import type { IncidentId } from '~/protocol/ids';
import type { Consult } from '~/protocol/oncall';

import type { IncidentDetails } from '../engine';
import type { FigureCell, FiguresView } from '../on-call';

export const SMALLEST_CELL = 5;

/** The times of one consult, null for what did not happen. */
interface Times {
    readonly toPageMs: number | null;
    readonly toAcceptMs: number | null;
    readonly toJoinMs: number | null;
    readonly isAnswered: boolean;
    readonly depth: number;
}

export type Cuts = Pick<FiguresView, 'byType' | 'byDistrict' | 'byDisposition' | 'unopened'>;

/** `detailsOf`: what is sealed about an incident, null where this device cannot open it. */
export function cutsOf(
    consults: readonly Consult[],
    detailsOf: (id: IncidentId) => IncidentDetails | null,
): Cuts {
    const opened = consults.flatMap((row) => {
        const details = detailsOf(row.incident);
        return details === null ? [] : [{ times: timesOf(row), details }];
    });
    const unopened = consults.length - opened.length;
    const by = (label: (details: IncidentDetails) => string): Cut => {
        const groups = new Map<string, Times[]>();
        for (const { times, details } of opened) {
            const group = groups.get(label(details)) ?? [];
            group.push(times);
            groups.set(label(details), group);
        }
        const cells = [...groups].sort(([a], [b]) => (a < b ? -1 : 1));
        const hidden = hiddenCells([...cells.map(([, group]) => group.length), unopened]);
        return {
            cells: cells.map(([name, group], at) =>
                hidden.has(at) ? hiddenCell(name) : cellOf(name, group),
            ),
            hidesUnopened: hidden.has(cells.length),
        };
    };
    const type = by(({ typeCode }) => typeCode);
    const district = by(({ district: name }) => name);
    const disposition = by(({ disposition: word }) => word);
    const hides = [type, district, disposition].some(({ hidesUnopened }) => hidesUnopened);
    return {
        byType: type.cells,
        byDistrict: district.cells,
        byDisposition: disposition.cells,
        unopened: hides ? null : unopened,
    };
}

interface Cut {
    readonly cells: FigureCell[];
    readonly hidesUnopened: boolean;
}

/** Which cells of one cut are hidden. A cell of none tells of nobody. */
export function hiddenCells(counts: readonly number[]): ReadonlySet<number> {
    const isSmall = (count: number): boolean => count > 0 && count < SMALLEST_CELL;
    const hidden = new Set(counts.flatMap((count, at) => (isSmall(count) ? [at] : [])));
    const others = counts
        .map((count, at) => ({ count, at }))
        .filter(({ count }) => count >= SMALLEST_CELL)
        .sort((a, b) => a.count - b.count);
    const together = (): number => [...hidden].reduce((sum, at) => sum + (counts[at] ?? 0), 0);
    for (const { at } of others) {
        if (hidden.size === 0 || (hidden.size >= 2 && together() >= SMALLEST_CELL)) break;
        hidden.add(at);
    }
    return hidden;
}

export function timesOf(row: Consult): Times {
    const since = (atMs: number | undefined): number | null =>
        atMs === undefined || atMs === 0 ? null : Math.max(0, atMs - row.requestedMs);
    const first = (event: string): number | undefined => row.tried.find((one) => one.event === event)?.atMs;
    // The newest acceptance may be a second one: what counts is how long the person waited for the first.
    const acceptedMs = first('accepted') ?? row.acceptedMs;
    return {
        toPageMs: since(first('paged')),
        toAcceptMs: since(acceptedMs),
        toJoinMs: since(first('joined') ?? row.joinedMs),
        isAnswered: acceptedMs > 0,
        depth: row.step + 1,
    };
}

function hiddenCell(label: string): FigureCell {
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
    };
}

export function cellOf(label: string, all: readonly Times[]): FigureCell {
    const of = (pick: (times: Times) => number | null, share: number): number | null =>
        quantile(
            all.flatMap((times) => pick(times) ?? []),
            share,
        );
    return {
        label,
        consults: all.length,
        toPageP50Ms: of(({ toPageMs }) => toPageMs, 0.5),
        toAcceptP50Ms: of(({ toAcceptMs }) => toAcceptMs, 0.5),
        toAcceptP90Ms: of(({ toAcceptMs }) => toAcceptMs, 0.9),
        toJoinP50Ms: of(({ toJoinMs }) => toJoinMs, 0.5),
        toJoinP90Ms: of(({ toJoinMs }) => toJoinMs, 0.9),
        unanswered: all.filter(({ isAnswered }) => !isAnswered).length / all.length,
        depth: all.reduce((sum, { depth }) => sum + depth, 0) / all.length,
    };
}

/** The smallest value that so large a share does not exceed (nearest rank); null of fewer than five. */
function quantile(values: readonly number[], share: number): number | null {
    if (values.length < SMALLEST_CELL) return null;
    const sorted = [...values].sort((a, b) => a - b);
    return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? null;
}
