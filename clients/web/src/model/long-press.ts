/**
 * A press that means something else when it is held: one second and a half for a call for help. Slow enough that a pocket
 * does not send it, quick enough for a person in danger.
 */
import type { Later } from './draft.svelte';

export const HOLD_MS = 1_500;

const afterHolding: Later = (work) => {
    const timer = setTimeout(work, HOLD_MS);
    return () => clearTimeout(timer);
};

export class LongPress {
    #forget: (() => void) | null = null;

    constructor(
        private readonly tapped: () => void,
        private readonly held: () => void,
        private readonly later: Later = afterHolding,
    ) {}

    down(): void {
        // A held key repeats its `down`.
        if (this.#forget) return;
        this.#forget = this.later(() => {
            this.#forget = null;
            this.held();
        });
    }

    /** Let go: a tap, unless it was held long enough. */
    up(): void {
        if (!this.#forget) return;
        this.cancel();
        this.tapped();
    }

    /** The finger slid away, or the page lost it. */
    cancel(): void {
        this.#forget?.();
        this.#forget = null;
    }
}
