/**
 * The rows of one channel that a screen looks at: a contiguous stretch of the log, bounded, with its own place to grow.
 *
 * A row lives in a cell of its own, so that a progress mark on one of ten thousand messages repaints one line. The list
 * of cells is a new array only when a row comes, goes or moves. What an event says about a row is newer than any page
 * of history that was asked for before the event, so a page never overwrites it.
 */

import type { ChannelId, Engine, MessageId, Row } from './engine';

/** Rows asked for at once. */
const PAGE = 100;
/** Rows kept: ten screens of a long night. What falls out is read again from the local store. */
const MOST = 2_000;

export type History = Engine['history'];

/** One row and its changes. Keyed by `id` in lists. */
export class RowCell {
    row = $state.raw() as Row;
    readonly id: MessageId;

    constructor(row: Row) {
        this.id = row.id;
        this.row = row;
    }
}

/** In order of the log; what waits for the link comes last, in the order it was written. */
function before(a: Row, b: Row): number {
    if (a.offset === 0 || b.offset === 0) {
        return a.offset === b.offset ? 0 : a.offset === 0 ? 1 : -1;
    }
    return a.offset - b.offset;
}

/** What is inside is read-only to screens; only `World` feeds it. */
export class RowWindow {
    cells = $state.raw<readonly RowCell[]>([]);
    /** A page is on its way. While `cells` is empty too, nothing may be said about what the channel holds. */
    loading = $state.raw(false);
    /** The first page is here. */
    loaded = $state.raw(false);
    /** Nothing older is kept on this device. */
    atStart = $state.raw(false);
    /** The newest row is in the window. Else new ones are left out, and `toNewest` brings them. */
    atEnd = $state.raw(true);
    /** The local copy could not be read; `retry` asks again. */
    failed = $state.raw(false);

    readonly channel: ChannelId;
    readonly #history: History;
    readonly #most: number;
    readonly #page: number;
    #byId = new Map<MessageId, RowCell>();
    /** What events said since the page under way was asked for: they are applied again over it. */
    #since: Row[] = [];
    #gone = new Set<MessageId>();
    /** Counts resets: a page that was asked for before one is thrown away. */
    #era = 0;

    constructor(channel: ChannelId, history: History, { page = PAGE, most = MOST } = {}) {
        this.channel = channel;
        this.#history = history;
        this.#page = page;
        this.#most = most;
    }

    /** The lowest offset here; `MAX_SAFE_INTEGER` when there is none. */
    get #lowest(): number {
        return this.cells.find((cell) => cell.row.offset > 0)?.row.offset ?? Number.MAX_SAFE_INTEGER;
    }

    get #highest(): number {
        return this.cells.findLast((cell) => cell.row.offset > 0)?.row.offset ?? 0;
    }

    /** One page further back. Does nothing while one is on its way or when there is none. */
    async older(): Promise<void> {
        if (this.loading || (this.loaded && this.atStart)) return;
        this.loading = true;
        this.failed = false;
        this.#since = [];
        this.#gone.clear();
        const era = this.#era;
        try {
            const rows = await this.#history(this.channel, this.#lowest, this.#page);
            if (era !== this.#era) return;
            this.loaded = true;
            // A page may hold waiting rows beside its own: only logged ones tell whether there is more.
            this.atStart = rows.filter((row) => row.offset > 0).length < this.#page;
            this.#put(rows.filter((row) => !this.#gone.has(row.id)));
            this.#bound('newest');
            this.#take(this.#since);
            this.#since = [];
        } catch {
            if (era === this.#era) this.failed = true;
        } finally {
            if (era === this.#era) this.loading = false;
        }
    }

    retry(): Promise<void> {
        return this.older();
    }

    /** Back to the end of the log, after reading far up. */
    async toNewest(): Promise<void> {
        if (this.atEnd) return;
        this.reset();
        await this.older();
    }

    /** Forget everything; the next `older` begins at the end. */
    reset(): void {
        this.#era += 1;
        this.#byId.clear();
        this.#since = [];
        this.#gone.clear();
        this.cells = [];
        this.loading = false;
        this.loaded = false;
        this.atStart = false;
        this.atEnd = true;
        this.failed = false;
    }

    /** Rows that came or changed, in the order of their events. */
    apply(rows: readonly Row[]): void {
        if (this.loading) this.#since.push(...rows);
        if (this.loaded) this.#take(rows);
    }

    remove(id: MessageId): void {
        if (this.loading) {
            this.#gone.add(id);
            this.#since = this.#since.filter((row) => row.id !== id);
        }
        if (!this.#byId.delete(id)) return;
        this.cells = this.cells.filter((cell) => cell.id !== id);
    }

    get(id: MessageId): Row | null {
        return this.#byId.get(id)?.row ?? null;
    }

    /** What belongs to this stretch: an older row comes with its page, a newer one, away from the end, with the end. */
    #take(rows: readonly Row[]): void {
        const lowest = this.atStart ? 0 : this.#lowest;
        const highest = this.atEnd ? Number.MAX_SAFE_INTEGER : this.#highest;
        this.#put(
            rows.filter(
                (row) =>
                    row.offset === 0 ||
                    this.#byId.has(row.id) ||
                    (row.offset > lowest && row.offset < highest),
            ),
        );
        this.#bound('oldest');
    }

    #put(rows: readonly Row[]): void {
        let moved = false;
        const added: RowCell[] = [];
        for (const row of rows) {
            const cell = this.#byId.get(row.id);
            if (cell === undefined) {
                const fresh = new RowCell(row);
                this.#byId.set(row.id, fresh);
                added.push(fresh);
            } else {
                moved ||= cell.row.offset !== row.offset;
                cell.row = row;
            }
        }
        if (added.length === 0 && !moved) return;
        // Sorting is stable: waiting rows keep the order in which they were written.
        this.cells = [...this.cells, ...added].sort((a, b) => before(a.row, b.row));
    }

    /** Keep at most `most` rows; waiting ones always stay. */
    #bound(drop: 'oldest' | 'newest'): void {
        const over = this.cells.length - this.#most;
        if (over <= 0) return;
        const logged = this.cells.filter((cell) => cell.row.offset > 0);
        const gone = new Set(drop === 'oldest' ? logged.slice(0, over) : logged.slice(-over));
        for (const cell of gone) this.#byId.delete(cell.id);
        this.cells = this.cells.filter((cell) => !gone.has(cell));
        if (drop === 'oldest') this.atStart = false;
        else this.atEnd = false;
    }
}
