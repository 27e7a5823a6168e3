/** What sounds on this device until somebody acknowledged it: the clock behind `Repeats`. */
import type { EngineEvent } from '../engine';
import { type Life, Wake } from './life';
import { Repeats } from './urgent';

export class Sounds {
    readonly repeats = new Repeats();
    private readonly wake: Wake;

    constructor(
        private readonly life: Life,
        private readonly put: (event: EngineEvent) => void,
    ) {
        this.wake = new Wake(life);
    }

    /** Something sounds from now on, or no longer. */
    changed(): void {
        this.wake.set();
    }

    async run(): Promise<void> {
        for (;;) {
            const nextMs = this.repeats.nextMs();
            const nowMs = this.life.clock.monotonicMs();
            if (nextMs === null || nextMs > nowMs) {
                await this.wake.wait(nextMs === null ? Infinity : nextMs - nowMs);
            }
            for (const { channel, id, times } of this.repeats.due(this.life.clock.monotonicMs())) {
                this.put({ kind: 'sound', channel, id, times });
            }
        }
    }
}
