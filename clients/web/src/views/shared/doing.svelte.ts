/** Something that a person asked for and that takes a while: whether it runs, and what went wrong, as a sentence. */
import type { FailureCode } from '~/model/engine';
import { failureCode, failureWords } from './failure';

export class Doing {
    busy = $state.raw(false);
    error = $state.raw('');
    /** Of that sentence, for what means more than a sentence. */
    code = $state.raw<FailureCode | null>(null);

    /** Do it, once at a time. True: it was done. The sentence stays until the next try. */
    async run(work: () => Promise<unknown>): Promise<boolean> {
        if (this.busy) return false;
        this.busy = true;
        this.forget();
        try {
            await work();
            return true;
        } catch (error) {
            this.error = failureWords(error);
            this.code = failureCode(error);
            return false;
        } finally {
            this.busy = false;
        }
    }

    /** What went wrong needs no sentence any more. */
    forget(): void {
        this.error = '';
        this.code = null;
    }
}
