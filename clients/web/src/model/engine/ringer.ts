/**
 * What rings on this device. A ring is a level: it goes on for as long as it is said to, and says how often it has sounded.
 */
import type { ConsultId } from '~/protocol/ids';

import type { EngineEvent } from '../engine';
import { type Life, Wake } from './life';

export const RING_EVERY_MS = 5_000;

export type RingWhy = 'page' | 'alarm' | 'test';

interface Ringing {
    readonly why: RingWhy;
    nextMs: number;
    times: number;
}

export class Ringer {
    private readonly ringing = new Map<ConsultId, Ringing>();
    private readonly wake: Wake;

    constructor(
        private readonly life: Life,
        private readonly put: (event: EngineEvent) => void,
    ) {
        this.wake = new Wake(life);
    }

    /** It rings from now on, or (null) no more. */
    set(consult: ConsultId, why: RingWhy | null): void {
        const before = this.ringing.get(consult);
        if (why === (before?.why ?? null)) return;
        if (why === null) this.ringing.delete(consult);
        else this.ringing.set(consult, { why, nextMs: this.life.clock.monotonicMs(), times: 0 });
        this.wake.set();
    }

    /** Once, for a test. */
    once(consult: ConsultId): void {
        this.put({ kind: 'ring', consult, why: 'test', times: 1 });
    }

    async run(): Promise<void> {
        for (;;) {
            const nowMs = this.life.clock.monotonicMs();
            let nextMs = Infinity;
            for (const [consult, one] of this.ringing) {
                if (one.nextMs <= nowMs) {
                    // Missed times are not made up for.
                    one.times += 1;
                    one.nextMs = nowMs + RING_EVERY_MS;
                    this.put({ kind: 'ring', consult, why: one.why, times: one.times });
                }
                nextMs = Math.min(nextMs, one.nextMs);
            }
            await this.wake.wait(nextMs - nowMs);
        }
    }
}
