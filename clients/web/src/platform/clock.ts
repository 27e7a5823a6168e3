/** The machine's clocks and chance, for a page or a worker. */

import type { Clock, Random } from '~/model/ports';
import type { Bytes } from '~/protocol/bytes';

/** Longer delays run at once in browsers, which keep them in 32 bits. */
const LONGEST_MS = 2 ** 31 - 1;

export const systemClock: Clock = {
    nowMs: () => Date.now(),
    monotonicMs: () => performance.now(),
    after(delayMs, run) {
        const timer = setTimeout(run, Math.min(Math.max(0, delayMs), LONGEST_MS));
        return () => clearTimeout(timer);
    },
};

export const systemRandom: Random = {
    bytes(count: number): Bytes {
        return crypto.getRandomValues(new Uint8Array(count));
    },
    uniform(low: number, high: number): number {
        const [drawn = 0] = crypto.getRandomValues(new Uint32Array(1));
        return low + (high - low) * (drawn / 2 ** 32);
    },
};
