/**
 * Whether what a sender sends is what was sealed.
 *
 * A transform that was set too late is ignored in silence, and plaintext goes out. So the browser's count of what it encoded is
 * compared with what the sealing worker was given `FOLLOW_MS` later: what was encoded must have come by there. A worker that is
 * slow answers late, and is not blamed; one that answers and was given nothing is.
 */

/** From the browser's count to the worker's. */
export const FOLLOW_MS = 300;
/** Fewer new frames than these say nothing: some may be under way. */
const ENOUGH = 10;

export class SealGuard {
    #encoded = 0;
    #given = 0;
    #lagged = false;

    /**
     * `encoded`: frames (of sound: packets) by `getStats`, at least `FOLLOW_MS` before the worker counted `given`. Both grow only.
     * False: what goes out is not sealed, stop the track. A lag after a good beginning counts once it is there twice in a row.
     */
    holds(encoded: number, given: number): boolean {
        if (encoded > 0 && given === 0) return false;
        const fresh = encoded - this.#encoded;
        if (fresh < ENOUGH) return true;
        const followed = given - this.#given >= fresh / 2;
        this.#encoded = encoded;
        this.#given = given;
        const holds = followed || !this.#lagged;
        this.#lagged = !followed;
        return holds;
    }
}
