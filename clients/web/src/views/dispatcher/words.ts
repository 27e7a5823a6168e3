/** Sentences that several parts of the dispatcher's view say about an incident, a unit or a place. */
import type { BoardLine, Candidate } from '~/model/board';
import type { IncidentDetails } from '~/model/engine';
import type { Need } from '~/model/incident-strip';
import { age, span } from '~/words/time';
import { language, t } from '~/words/words.svelte';

export function needWords(need: Need): string {
    return t(`need.${need}`);
}

/** Where it is, as short as it can be said; what is sealed and not open here is said to be. */
export function whereWords(details: IncidentDetails | null): string {
    if (details === null) return t('incident.sealed');
    const parts = [details.address, details.district].filter(Boolean);
    return parts.length > 0 ? parts.join(', ') : t('incident.nowhere');
}

/** The last word of a unit, and by how much it is overdue. */
export function heardWords(line: BoardLine, nowMs: number): string {
    if (line.heardMs === 0) return t('board.unheard');
    if (line.overdueMs > 0) return t('board.silent', { span: span(nowMs - line.heardMs) });
    return t('board.heard', { age: age(line.heardMs, nowMs) });
}

/** `240 m`, `1.2 km`, `14 km`: no finer than a fix is. */
export function distanceWords(metres: number): string {
    const near = metres < 1_000;
    return new Intl.NumberFormat(language(), {
        style: 'unit',
        unit: near ? 'meter' : 'kilometer',
        maximumFractionDigits: near || metres >= 10_000 ? 0 : 1,
    }).format(near ? Math.round(metres / 10) * 10 : metres / 1_000);
}

/** How far, and how old the place is that says so. */
export function candidateWords(candidate: Candidate): string {
    const { distanceM, fixAgeMs } = candidate;
    if (fixAgeMs === null) return t('assign.no_place');
    const old = t('assign.fix_age', { span: span(fixAgeMs) });
    return distanceM === null ? old : `${distanceWords(distanceM)} · ${old}`;
}

/** Degrees as a person reads them out: five decimals are a metre. */
export function placeWords(place: { readonly latE7: number; readonly lonE7: number }): string {
    return `${(place.latE7 / 1e7).toFixed(5)}, ${(place.lonE7 / 1e7).toFixed(5)}`;
}
