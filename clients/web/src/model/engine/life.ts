/**
 * Background work and its end. Whatever goes on belongs to a `Life`; when that ends, everything that waits in it stops,
 * and what fails in it before is told, never swallowed. A full store is no failure: what cannot be written waits for space.
 */
import { type Clock, StoreFull } from '../ports';

/** The work was called off. Nobody is told: whoever ended the life knows. */
export class Ended extends Error {
    override readonly name = 'Ended';
}

export class Life {
    private over = false;
    private readonly endings = new Set<() => void>();

    /** `fault` hears of what failed in the background while this lived; `untilSpace` waits while the store is full. */
    constructor(
        readonly clock: Clock,
        private readonly fault: (error: unknown) => void,
        readonly untilSpace: () => Promise<void>,
    ) {}

    get ended(): boolean {
        return this.over;
    }

    /** Work that nobody waits for. When the store is full it begins anew once there is space. */
    begin(work: () => Promise<void>): void {
        if (this.over) return;
        this.untilWritten(work).catch((error: unknown) => {
            if (!this.over && !(error instanceof Ended)) this.fault(error);
        });
    }

    /** Do it, again and again until the store has space for it; `onFull` hears of the first time that it had none. */
    async untilWritten<T>(act: () => Promise<T>, onFull: () => void = () => undefined): Promise<T> {
        for (let first = true; ; first = false) {
            try {
                return await act();
            } catch (error) {
                if (!(error instanceof StoreFull)) throw error;
            }
            this.check();
            if (first) onFull();
            await this.untilSpace();
            this.check();
        }
    }

    /** A life within this one: it ends with it at the latest. */
    child(): Life {
        const child = new Life(this.clock, this.fault, this.untilSpace);
        if (this.over) child.end();
        else {
            const ending = (): void => child.end();
            this.endings.add(ending);
            child.endings.add(() => this.endings.delete(ending));
        }
        return child;
    }

    /** Wait. Rejects with `Ended`. */
    async sleep(delayMs: number): Promise<void> {
        await new Wake(this).wait(delayMs);
    }

    /** Call `act` once, unless this ended first. */
    later(act: () => void, delayMs: number): void {
        if (this.over) return;
        const callOff = this.clock.after(delayMs, () => {
            this.endings.delete(callOff);
            act();
        });
        this.endings.add(callOff);
    }

    /** Rejects with `Ended` when this is over: asked after a wait on somebody else. */
    check(): void {
        if (this.over) throw new Ended();
    }

    onEnd(act: () => void): () => void {
        if (this.over) act();
        else this.endings.add(act);
        return () => this.endings.delete(act);
    }

    end(): void {
        if (this.over) return;
        this.over = true;
        const endings = [...this.endings];
        this.endings.clear();
        for (const ending of endings) ending();
    }
}

/** Something to wait for: a signal that stays until somebody waited for it. */
export class Wake {
    private isSet = false;
    private readonly waiting = new Set<() => void>();

    constructor(private readonly life: Life) {}

    set(): void {
        this.isSet = true;
        for (const go of [...this.waiting]) go();
    }

    clear(): void {
        this.isSet = false;
    }

    /** Until it is set, `delayMs` at most; whether it was. Takes the signal down. Rejects with `Ended`. */
    async wait(delayMs = Infinity): Promise<boolean> {
        this.life.check();
        if (!this.isSet) {
            await new Promise<void>((resolve) => {
                let callOff = (): void => undefined;
                const go = (): void => {
                    callOff();
                    this.waiting.delete(go);
                    forget();
                    resolve();
                };
                const forget = this.life.onEnd(go);
                this.waiting.add(go);
                if (delayMs !== Infinity) callOff = this.life.clock.after(delayMs, go);
            });
            this.life.check();
        }
        const was = this.isSet;
        this.isSet = false;
        return was;
    }
}
