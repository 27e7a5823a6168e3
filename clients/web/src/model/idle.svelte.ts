/**
 * The screen locks itself when nobody has touched it for a while. Only the screen: sockets, sounds and the position go on,
 * so that an idle phone never silences a page.
 */
export class Idle {
    locked = $state.raw(false);
    #touchedMs: number;

    /** `afterMs` 0: never. `read`: this device's clock; a wrong one is wrong in the same way both times. */
    constructor(
        private afterMs: number,
        private readonly read: () => number = Date.now,
    ) {
        this.#touchedMs = read();
    }

    after(ms: number): void {
        this.afterMs = ms;
        this.touch();
    }

    /** A person did something. It does not open a screen that is locked. */
    touch(): void {
        if (!this.locked) this.#touchedMs = this.read();
    }

    /** Call it each second or so, and when the page comes back from being hidden. */
    check(): void {
        if (this.afterMs > 0 && this.read() - this.#touchedMs >= this.afterMs) this.lock();
    }

    lock(): void {
        this.locked = true;
    }

    /** They showed who they are. */
    open(): void {
        this.locked = false;
        this.touch();
    }
}
