/**
 * The present, by the server's clock, as a signal: ages and timers on a screen follow it.
 *
 * One timer for all screens. It steps every 10 s, which is as fine as a screen says; a view that counts seconds asks for
 * `beat(1000)` while it is shown.
 */
export class Now {
    /** Milliseconds of Unix time by the server's clock. */
    ms = $state(0);
    #offsetMs = 0;

    constructor(private readonly device: () => number = Date.now) {
        this.ms = device();
    }

    /** Server's clock less this device's, from the link. */
    setOffset(offsetMs: number): void {
        this.#offsetMs = offsetMs;
        this.step();
    }

    step(): void {
        this.ms = this.device() + this.#offsetMs;
    }

    /** Step every `everyMs` until the returned function is called. */
    beat(everyMs: number): () => void {
        const timer = setInterval(() => this.step(), everyMs);
        this.step();
        return () => clearInterval(timer);
    }
}

export const now = new Now();
