/** Which rows of a long list are in sight: rows of one height, a few more on either side. Pure. */

export interface Span {
    /** First row to draw, and the one after the last. */
    readonly from: number;
    readonly to: number;
}

/** Rows drawn beyond each edge, so that a turn of the wheel does not show a gap. */
const BEYOND = 4;

/** Lengths in pixels. Before the height is known (0) one screen's worth is drawn. */
export function spanOf(count: number, rowPx: number, scrollPx: number, heightPx: number): Span {
    const height = heightPx > 0 ? heightPx : 20 * rowPx;
    const first = Math.floor(Math.max(0, scrollPx) / rowPx);
    const from = Math.max(0, Math.min(first, count) - BEYOND);
    return { from, to: Math.min(count, first + Math.ceil(height / rowPx) + 1 + BEYOND) };
}

/** Where to scroll so that a row is wholly in sight; the present place when it is. */
export function scrollFor(index: number, rowPx: number, scrollPx: number, heightPx: number): number {
    const top = index * rowPx;
    if (top < scrollPx) return top;
    return Math.max(scrollPx, top + rowPx - heightPx);
}

/** Where a key takes the focus in a list; null: it is not a key of lists. */
export function step(key: string, index: number, count: number, page: number): number | null {
    const last = count - 1;
    switch (key) {
        case 'ArrowDown':
            return Math.min(last, index + 1);
        case 'ArrowUp':
            return Math.max(0, index - 1);
        case 'PageDown':
            return Math.min(last, index + page);
        case 'PageUp':
            return Math.max(0, index - page);
        case 'Home':
            return 0;
        case 'End':
            return last;
        default:
            return null;
    }
}
