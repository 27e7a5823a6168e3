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

/** Frames that the worker had been given of a sender. */
export interface Came {
    /** Known before the browser counted: whatever was encoded after that count is not in it, however late an answer was. */
    readonly before: number;
    /** At least `FOLLOW_MS` after the browser counted. */
    readonly given: number;
}

export class SealGuard {
    #encoded = 0;
    #before = 0;
    #lagged = false;

    /**
     * `encoded`: frames (of sound: packets) by `getStats`. All counts grow only. False: what goes out is not sealed, stop the track.
     * A lag after a good beginning counts once it is there twice in a row.
     */
    holds(encoded: number, { before, given }: Came): boolean {
        if (encoded > 0 && given === 0) return false;
        const fresh = encoded - this.#encoded;
        if (fresh < ENOUGH) return true;
        // From before the last count to after this one: all that is fresh came by in that time, also where an answer that came late held
        // frames beyond its count. That is about twice as long, so that half going past the worker is found, as it was before.
        const followed = given - this.#before >= fresh;
        this.#encoded = encoded;
        this.#before = before;
        const holds = followed || !this.#lagged;
        this.#lagged = !followed;
        return holds;
    }
}
