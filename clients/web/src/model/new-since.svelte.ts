/**
 * What is new in a channel since a person looked last: a line stands before it, and stays where it is for as long as they
 * look. What comes while they look is not new.
 */
import type { ChannelView, Row } from './engine';

export class NewSince {
    /** Rows of others beyond this offset are new; null: nothing is. */
    after = $state.raw<number | null>(null);
    #seen = 0;
    /** What was missed has still to come. */
    #coming = false;

    /** A person begins to look. */
    look({ seen, unread, caughtUp }: Pick<ChannelView, 'seen' | 'unread' | 'caughtUp'>): void {
        this.#seen = seen;
        this.after = unread > 0 ? seen : null;
        this.#coming = !caughtUp;
    }

    /** All that was missed is here; `newest`: the last offset of anybody else's. */
    settle(newest: number): void {
        if (!this.#coming) return;
        this.#coming = false;
        if (newest > this.#seen) this.after = this.#seen;
    }

    /** The first new row of these; null: none, or it lies above what is loaded (`whole`: nothing does). */
    first(rows: readonly Row[], whole: boolean): Row | null {
        const { after } = this;
        if (after === null) return null;
        const at = rows.findIndex((row) => row.offset > after && isSaid(row));
        return at > 0 || (at === 0 && whole) ? (rows[at] ?? null) : null;
    }
}

/** What somebody else said: a change of members is nothing to read up on. */
export function isSaid(row: Row): boolean {
    return !row.mine && row.kind !== 'members' && row.kind !== 'gap';
}
