/** What time it is on screens: the server's time, moved by a tick from outside so that ages and timers run together. */

/** A signal of the time in ms of Unix time *by the server's clock*; whoever owns the page calls `tick` each second. */
export class Clock {
    #device = $state.raw(0);
    #offset = $state.raw(0);
    readonly #read: () => number;

    /** `read`: this device's clock, ms of Unix time. */
    constructor(read: () => number = Date.now) {
        this.#read = read;
        this.#device = read();
    }

    /** The server's time at the last tick. */
    get nowMs(): number {
        return this.#device + this.#offset;
    }

    /** Server's clock less this device's, as the link measured it. Ages must not jump with somebody's wrong clock. */
    correct(offsetMs: number): void {
        this.#offset = offsetMs;
    }

    tick(): void {
        this.#device = this.#read();
    }

    /** A time by this device's own clock (a link's `sinceMs`), as the server would tell it. */
    fromDevice(ms: number): number {
        return ms + this.#offset;
    }
}
