/**
 * That somebody writes at this moment (spec 05, `typing`). It is said again while they go on, taken back when they stop, and
 * what is not said again is over: a phone that lost its link must not seem to write for ever.
 */

/** Said again so often while a person goes on. */
export const AGAIN_MS = 3_000;
/** Without a key for so long a person has stopped. */
export const STOPPED_MS = 6_000;
/** What was not said again for so long is over. */
export const OVER_MS = 10_000;

/** Tells one channel that this person writes, and that they stopped. */
export class Typing {
    readonly #tell: (on: boolean) => void;
    readonly #nowMs: () => number;
    readonly #later: (work: () => void, ms: number) => () => void;
    #told: number | null = null;
    #calm: () => void = () => undefined;

    /** `later` calls after so many ms, unless what it returns is called before. */
    constructor(
        tell: (on: boolean) => void,
        nowMs: () => number,
        later: (work: () => void, ms: number) => () => void,
    ) {
        this.#tell = tell;
        this.#nowMs = nowMs;
        this.#later = later;
    }

    /** Something was written. */
    wrote(): void {
        this.#calm();
        this.#calm = this.#later(() => this.stop(), STOPPED_MS);
        const now = this.#nowMs();
        if (this.#told !== null && now - this.#told < AGAIN_MS) return;
        this.#told = now;
        this.#tell(true);
    }

    /** It was sent, emptied or left. */
    stop(): void {
        this.#calm();
        if (this.#told === null) return;
        this.#told = null;
        this.#tell(false);
    }
}
