/**
 * The screen stays on while somebody works an incident. The browser lets go of the lock whenever the page is hidden; it is
 * taken again when the page comes back, for as long as it is wanted.
 */
export class AwakeScreen {
    #wanted = false;
    #asking = false;
    #held: WakeLockSentinel | null = null;

    constructor() {
        document.addEventListener('visibilitychange', () => void this.#settle());
    }

    /** Whether the screen is to stay on from now on. A browser or a battery that refuses changes nothing else. */
    want(wanted: boolean): void {
        this.#wanted = wanted;
        void this.#settle();
    }

    async #settle(): Promise<void> {
        // Absent in older browsers and in insecure contexts, whatever the types say.
        const wakeLock = navigator.wakeLock as WakeLock | undefined;
        if (!this.#wanted) {
            const held = this.#held;
            this.#held = null;
            await held?.release();
            return;
        }
        if (!wakeLock || this.#asking || document.visibilityState !== 'visible') return;
        if (this.#held && !this.#held.released) return;
        this.#asking = true;
        // Refused to save the battery: asked again when the page is next shown.
        const held = await wakeLock.request('screen').catch(() => null);
        this.#asking = false;
        this.#held = held;
        // It may have been given up while the browser thought about it.
        await (held && this.#settle());
    }
}
