/**
 * What becomes of a device whose store takes nothing more: the background waits here, and the person is told.
 *
 * What was written is safe. Whoever waits tries again when a small write goes through; only then does the notice end.
 * Commands do not wait: they fail with `store_full`.
 */
import { StoreFull } from '../ports';
import type { Life } from './life';

const AGAIN_MS = 2_000;
const AGAIN_CAP_MS = 30_000;

export class FullStore {
    private ending: Promise<void> | null = null;
    private delayMs = AGAIN_MS;
    private endedMs = -Infinity;

    /** `write` tries the store; `tell` hears that it is full, or no longer. */
    constructor(
        private readonly life: Life,
        private readonly write: () => Promise<void>,
        private readonly tell: (full: boolean) => void,
    ) {}

    /** Until there is space again. Rejects with `Ended`. */
    async untilSpace(): Promise<void> {
        this.ending ??= this.tryAgain().finally(() => (this.ending = null));
        await this.ending;
    }

    private async tryAgain(): Promise<void> {
        const { clock } = this.life;
        this.tell(true);
        // Space for the small write alone is none: who comes straight back waits longer.
        if (clock.monotonicMs() - this.endedMs > AGAIN_CAP_MS) this.delayMs = AGAIN_MS;
        do {
            await this.life.sleep(this.delayMs);
            this.delayMs = Math.min(AGAIN_CAP_MS, this.delayMs * 2);
        } while (!(await this.fits()));
        this.endedMs = clock.monotonicMs();
        this.tell(false);
    }

    private async fits(): Promise<boolean> {
        try {
            await this.write();
            return true;
        } catch (error) {
            if (error instanceof StoreFull) return false;
            throw error;
        }
    }
}
