/**
 * What a device that speaks for the person says to the bridge about whom media may reach (spec 09, "Bodies"). Pure.
 *
 * A signal may be lost, and a room that moved to another machine may have forgotten: so it is said until the bridge holds it. Who
 * says that media may flow again must be surer than who says that they must not: others may have read a withdrawal that has not
 * come here yet. So this device says it at once only where it saw the newer consent come, and else after a while.
 */

/** Said again when the bridge did not take it. */
export const SAY_AGAIN_MS = 2_000;
/** Whatever the channel says is here by then. */
export const SURE_MS = 10_000;

export class Restriction {
    #lifts = false;
    #saidMs = Number.NEGATIVE_INFINITY;
    #said: boolean | null = null;
    /** Since when media are kept from people although a consent is in force. */
    #sinceMs: number | null = null;

    /** What to say now; null: nothing. `agreed`: a consent in force was read; `restricted`: what the bridge said last. */
    look(agreed: boolean, restricted: boolean, nowMs: number): boolean | null {
        const wanted = !agreed;
        if (wanted === restricted) {
            this.#sinceMs = null;
            this.#lifts = wanted;
            this.#said = null;
            return null;
        }
        if (wanted) this.#lifts = true;
        else {
            this.#sinceMs ??= nowMs;
            if (!this.#lifts && nowMs - this.#sinceMs < SURE_MS) return null;
        }
        if (this.#said === wanted && nowMs - this.#saidMs < SAY_AGAIN_MS) return null;
        this.#said = wanted;
        this.#saidMs = nowMs;
        return wanted;
    }
}
