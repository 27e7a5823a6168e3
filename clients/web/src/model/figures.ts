/**
 * Times of consults, cut by what only a device that may open the incidents knows: type, district, disposition. Pure.
 *
 * The server counts from the clear times alone; what stands here never leaves the device by itself. A number that stands for
 * fewer than five consults could point at a person, so it is null. Where one cell alone would be hidden, the smallest other
 * one is hidden with it: else it could be had back from the sum.
 */
import type { IncidentDetails, IncidentId } from './engine';
import type { ConsultView, FigureCell, FiguresView } from './on-call';

export const FEWEST = 5;

/** The clear times of a consult that figures are made of. */
export type Timed = Pick<
    ConsultView,
    'incident' | 'state' | 'step' | 'requestedMs' | 'acceptedMs' | 'joinedMs' | 'tried'
>;

/** The value below which a share of them lies: nearest rank. Null: there are none. */
export function quantile(values: readonly number[], share: number): number | null {
    const sorted = values.toSorted((a, b) => a - b);
    return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? null;
}

export function cellOf(label: string, consults: readonly Timed[]): FigureCell {
    const since = (one: Timed, atMs: number): number[] => (atMs > 0 ? [atMs - one.requestedMs] : []);
    const toPage = consults.flatMap((one) =>
        since(one, one.tried.find((x) => x.event === 'paged')?.atMs ?? 0),
    );
    const toAccept = consults.flatMap((one) => since(one, one.acceptedMs));
    const toJoin = consults.flatMap((one) => since(one, one.joinedMs));
    const few = consults.length < FEWEST;
    /** A median of three times is three people's times, whatever the cell counts. */
    const of = (values: readonly number[], share: number): number | null =>
        few || values.length < FEWEST ? null : quantile(values, share);
    const wasAlarmed = (one: Timed): boolean => one.tried.some((x) => x.event === 'exhausted');
    return {
        label,
        consults: few ? null : consults.length,
        toPageP50Ms: of(toPage, 0.5),
        toAcceptP50Ms: of(toAccept, 0.5),
        toAcceptP90Ms: of(toAccept, 0.9),
        toJoinP50Ms: of(toJoin, 0.5),
        toJoinP90Ms: of(toJoin, 0.9),
        unanswered: few ? null : consults.filter(wasAlarmed).length / consults.length,
        depth: few ? null : consults.reduce((sum, one) => sum + one.step + 1, 0) / consults.length,
    };
}

function hidden(label: string): FigureCell {
    return cellOf(label, []);
}

/** One cell a label, the largest first. */
export function cut(consults: readonly Timed[], labelOf: (consult: Timed) => string): readonly FigureCell[] {
    const groups = new Map<string, Timed[]>();
    for (const one of consults) {
        const label = labelOf(one);
        const group = groups.get(label);
        if (group === undefined) groups.set(label, [one]);
        else group.push(one);
    }
    const sorted = [...groups].sort(([a, x], [b, y]) => y.length - x.length || a.localeCompare(b));
    const small = sorted.filter(([, group]) => group.length < FEWEST).length;
    const alone = small === 1 ? sorted.findLastIndex(([, group]) => group.length >= FEWEST) : -1;
    return sorted.map(([label, group], n) => (n === alone ? hidden(label) : cellOf(label, group)));
}

/** The part of the figures that is counted here. `details`: of the incidents that this device could open. */
export function ownCuts(
    consults: readonly Timed[],
    details: ReadonlyMap<IncidentId, IncidentDetails>,
): Pick<FiguresView, 'byType' | 'byDistrict' | 'byDisposition' | 'unopened'> {
    const opened = consults.filter((one) => details.has(one.incident));
    const closedAs = opened.filter((one) => (details.get(one.incident)?.disposition ?? '') !== '');
    const by = (
        from: readonly Timed[],
        key: 'typeCode' | 'district' | 'disposition',
    ): readonly FigureCell[] => cut(from, (one) => details.get(one.incident)?.[key] ?? '');
    const unopened = consults.length - opened.length;
    return {
        byType: by(opened, 'typeCode'),
        byDistrict: by(opened, 'district'),
        byDisposition: by(closedAs, 'disposition'),
        unopened: unopened > 0 && unopened < FEWEST ? null : unopened,
    };
}
