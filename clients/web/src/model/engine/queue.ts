/**
 * One thing after another: what changes a channel awaits cryptography in between, and must not be overtaken.
 */

export class Queue {
    private last: Promise<unknown> = Promise.resolve();

    /** Run `work` when everything put in before has ended; its result or failure is the caller's alone. */
    run<T>(work: () => Promise<T>): Promise<T> {
        const result = this.last.then(work, work);
        this.last = result.catch(() => undefined);
        return result;
    }
}
