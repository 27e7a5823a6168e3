/** Something that a person asked for and that takes a while: whether it runs, and what went wrong, as a sentence. */
import { failureWords } from './failure';

export class Doing {
    busy = $state.raw(false);
    error = $state.raw('');

    /** Do it, once at a time. True: it was done. The sentence stays until the next try. */
    async run(work: () => Promise<unknown>): Promise<boolean> {
        if (this.busy) return false;
        this.busy = true;
        this.error = '';
        try {
            await work();
            return true;
        } catch (error) {
            this.error = failureWords(error);
            return false;
        } finally {
            this.busy = false;
        }
    }
}
