/**
 * The part of a channel's rows that stands in the page: at most 160 of them, however many there are.
 *
 * It follows the newest until the person scrolls up; then it stays where they read, whatever arrives, also over a lost
 * link. It is anchored by the id of its first row, since the rows before it come and go with pages of history.
 */
import type { MessageId } from './engine';
import type { RowCell, RowWindow } from './row-window.svelte';

const STEP = 40;
const MOST = 160;

export class Pane {
    /** Null: follows the newest. */
    #first = $state.raw<MessageId | null>(null);
    #size = $state.raw(MOST / 2);
    /** Newest offset while it followed, so that one can say how many came since. */
    #seenOffset = $state.raw(0);

    constructor(readonly window: RowWindow) {}

    get #start(): number {
        const { cells } = this.window;
        if (this.#first !== null) {
            const at = cells.findIndex((cell) => cell.id === this.#first);
            if (at >= 0) return at;
        }
        return Math.max(0, cells.length - this.#size);
    }

    readonly shown: readonly RowCell[] = $derived.by(() => {
        const start = this.#start;
        return this.window.cells.slice(start, start + this.#size);
    });

    get follows(): boolean {
        return this.#first === null;
    }

    /** Nothing above what is shown, on this device. */
    get atStart(): boolean {
        return this.#start === 0 && this.window.loaded && this.window.atStart;
    }

    /** How many rows came since the person scrolled up. */
    get missed(): number {
        if (this.follows) return 0;
        return this.window.cells.filter((cell) => cell.row.offset > this.#seenOffset && !cell.row.mine)
            .length;
    }

    /** The person left the end: stay with these rows. */
    stay(): void {
        if (this.#first !== null) return;
        const { cells } = this.window;
        this.#seenOffset = cells.findLast((cell) => cell.row.offset > 0)?.row.offset ?? 0;
        this.#first = cells[this.#start]?.id ?? null;
    }

    /** Show what is above; reads more history when the local rows end. */
    async earlier(): Promise<void> {
        this.stay();
        if (this.#start === 0) {
            if (this.window.atStart) return;
            await this.window.older();
        }
        const start = this.#start;
        const next = Math.max(0, start - STEP);
        this.#size = Math.min(MOST, this.#size + start - next);
        this.#first = this.window.cells[next]?.id ?? null;
    }

    /** Show what is below. */
    later(): void {
        if (this.follows) return;
        const { cells, atEnd } = this.window;
        const start = this.#start;
        if (start + this.#size >= cells.length) {
            if (atEnd) this.follow();
            return;
        }
        const size = Math.min(MOST, this.#size + STEP);
        const next = Math.max(0, Math.min(start + this.#size + STEP, cells.length) - size);
        this.#size = size;
        this.#first = cells[Math.max(start, next)]?.id ?? null;
    }

    /** Go with the newest again. */
    follow(): void {
        this.#first = null;
        this.#size = MOST / 2;
    }

    /** To the newest row, also when it fell out of the window. */
    async toNewest(): Promise<void> {
        await this.window.toNewest();
        this.follow();
    }
}
