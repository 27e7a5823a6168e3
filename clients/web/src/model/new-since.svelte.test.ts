import { describe, expect, test } from 'vitest';

import { NewSince } from './new-since.svelte';
import * as a from './sample';

const rows = [
    a.text(1),
    a.text(2, { mine: true }),
    a.text(3, { mine: true }),
    a.text(4),
    a.text(5),
    a.text(6, { offset: 0, mine: true }),
].map((row, n) => (row.offset === 0 ? row : { ...row, offset: n + 1 }));
const begun = (view: { seen: number; unread: number; caughtUp: boolean }): NewSince => {
    const since = new NewSince();
    since.look(view);
    return since;
};

describe('the line before what is new', () => {
    test('stands before what somebody else said first, and stays there', () => {
        const since = begun({ seen: 1, unread: 2, caughtUp: true });
        expect(since.first(rows, true)?.offset).toBe(4);
        since.settle(9);
        expect(since.first([...rows, a.text(7, { offset: 7 })], true)?.offset).toBe(4);
    });

    test('is not drawn for what comes while one looks', () => {
        const since = begun({ seen: 5, unread: 0, caughtUp: true });
        since.settle(6);
        expect(since.first([...rows, a.text(7, { offset: 6 })], true)).toBeNull();
    });

    test('is drawn for what was missed and comes late', () => {
        const since = begun({ seen: 3, unread: 0, caughtUp: false });
        expect(since.first(rows, true)).toBeNull();
        since.settle(5);
        expect(since.first(rows, true)?.offset).toBe(4);
    });

    test('waits above the page where more of it is new, and stands at the beginning of a channel', () => {
        const since = begun({ seen: 0, unread: 3, caughtUp: true });
        expect(since.first(rows, false)).toBeNull();
        expect(since.first(rows, true)?.offset).toBe(1);
    });
});
