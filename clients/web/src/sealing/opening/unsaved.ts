/** Which records of a channel changed since they were last written. */

import type { Bytes } from '../public/encoding';

/** Records to write in one transaction. `head` is null, and an epoch is not among them, when it is as it was. */
export interface Unsaved {
    readonly head: Bytes | null;
    readonly epochs: ReadonlyMap<number, Bytes>;
    /** The last change that these records hold. */
    readonly upTo: number;
}

export class UnsavedRecords {
    #changes = 0;
    /** When a record last changed, by epoch; the head under -1. */
    readonly #changed = new Map<number, number>();

    head(): void {
        this.#changed.set(HEAD, ++this.#changes);
    }

    epoch(epoch: number): void {
        this.#changed.set(epoch, ++this.#changes);
    }

    collect(head: () => Bytes, epoch: (epoch: number) => Bytes): Unsaved {
        const epochs = [...this.#changed.keys()].filter((name) => name !== HEAD);
        return {
            head: this.#changed.has(HEAD) ? head() : null,
            epochs: new Map(epochs.map((name) => [name, epoch(name)])),
            upTo: this.#changes,
        };
    }

    /** These were written. What changed again since they were collected stays. */
    saved({ upTo }: Unsaved): void {
        for (const [name, at] of this.#changed) if (at <= upTo) this.#changed.delete(name);
    }

    clear(): void {
        this.#changed.clear();
    }
}

const HEAD = -1;
