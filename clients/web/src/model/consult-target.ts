/** Times of a consult against the product's targets: from the request until somebody is in the room. Pure. */
import { isOver } from './consult-progress';
import type { ConsultView } from './on-call';

/** Half of all consults are to be in the room by then, and nine of ten by the second (design: product, "Targets"). */
export const MEDIAN_MS = 3 * 60_000;
export const P90_MS = 10 * 60_000;

export type Lateness = 'within' | 'late' | 'over';

/** From the request until somebody was there; until now while nobody is. Null: it ended without anybody. */
export function waitedMs(consult: ConsultView, nowMs: number): number | null {
    if (consult.joinedMs > 0) return consult.joinedMs - consult.requestedMs;
    return isOver(consult) ? null : nowMs - consult.requestedMs;
}

/** `late`: slower than half are to be; `over`: slower than nine of ten. */
export function lateness(ms: number): Lateness {
    if (ms > P90_MS) return 'over';
    return ms > MEDIAN_MS ? 'late' : 'within';
}
