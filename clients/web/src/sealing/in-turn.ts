/** One step after the other, where a step has to wait in the middle. */

/**
 * Runs asynchronous steps in the order in which they were asked for, each once the one before has ended.
 *
 * What is verified against a state must still be true when the state changes. A step that fails does not hold up the
 * next.
 */
export class InTurn {
    #last: Promise<unknown> = Promise.resolve();

    run<Result>(step: () => Promise<Result>): Promise<Result> {
        const result = this.#last.then(step);
        this.#last = result.catch(() => undefined);
        return result;
    }
}
