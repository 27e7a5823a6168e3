import { flushSync } from 'svelte';
import { expect, test } from 'vitest';
import type { MessageId, Row } from './engine';
import { RowWindow } from './row-window.svelte';
import { channelId, messageId, progress, text } from './sample';

/** A local copy of `count` rows, and a window over it. */
function over(count: number, size = { page: 10, most: 25 }): { window: RowWindow; rows: Row[] } {
    const rows: Row[] = Array.from({ length: count }, (_, n) => text(n + 1));
    const history = (_: unknown, before: number, limit: number): Promise<readonly Row[]> =>
        Promise.resolve(rows.filter((row) => row.offset < before).slice(-limit));
    return { window: new RowWindow(channelId(1), history, size), rows };
}

const offsets = (window: RowWindow): number[] => window.cells.map((cell) => cell.row.offset);
const upTo = (from: number, to: number): number[] =>
    Array.from({ length: to - from + 1 }, (_, n) => from + n);

test('pages grow backwards until the beginning', async () => {
    const { window } = over(15);
    expect(window.loaded).toBe(false);
    await window.older();
    expect([offsets(window), window.atStart]).toEqual([upTo(6, 15), false]);
    await window.older();
    expect([offsets(window), window.atStart]).toEqual([upTo(1, 15), true]);
});

test('rows stand by offset, and waiting ones last in the order they were written', async () => {
    const { window } = over(2);
    await window.older();
    window.apply([text(9, { offset: 0 }), text(8, { offset: 0 }), text(4), text(3)]);
    const ids = (...ns: number[]): MessageId[] => ns.map(messageId);
    expect(window.cells.map((cell) => cell.id)).toEqual(ids(1, 2, 3, 4, 9, 8));
    window.apply([text(8, { offset: 5 })]);
    expect(window.cells.map((cell) => cell.id)).toEqual(ids(1, 2, 3, 4, 8, 9));
});

test('a mark on one row repaints that row only', async () => {
    const { window } = over(5);
    await window.older();
    const seen: string[] = [];
    const stop = $effect.root(() => {
        $effect(() => void seen.push(`list ${window.cells.length}`));
        for (const cell of window.cells) {
            $effect(
                () =>
                    void seen.push(
                        `${cell.row.offset} ${cell.row.kind === 'text' ? cell.row.progress.step : ''}`,
                    ),
            );
        }
    });
    flushSync();
    seen.length = 0;
    window.apply([text(3, { progress: progress({ step: 'read' }) })]);
    flushSync();
    stop();
    expect(seen).toEqual(['3 read']);
});

test('what an event said while a page was on its way is not undone by the page', async () => {
    const { window } = over(3);
    const coming = window.older();
    window.apply([text(2, { text: 'newer' }), text(4)]);
    window.remove(messageId(1));
    await coming;
    expect(window.cells.map((cell) => (cell.row.kind === 'text' ? cell.row.text : ''))).toEqual([
        'newer',
        'message 3',
        'message 4',
    ]);
});

test('a mark on a row far above does not tear a hole', async () => {
    const { window } = over(30);
    const coming = window.older();
    window.apply([text(2)]);
    await coming;
    window.apply([text(3)]);
    expect(offsets(window)).toEqual(upTo(21, 30));
});

test('the window is bounded, and goes back to the end by itself', async () => {
    const { window, rows } = over(40);
    await window.older();
    await window.older();
    await window.older();
    expect([offsets(window), window.atEnd]).toEqual([upTo(11, 35), false]);
    window.apply([text(41)]);
    rows.push(text(41));
    expect(offsets(window)).toEqual(upTo(11, 35));
    await window.toNewest();
    expect([offsets(window), window.atEnd]).toEqual([upTo(32, 41), true]);
});

test('new rows push the oldest out, and never a waiting one', async () => {
    const { window } = over(10);
    await window.older();
    window.apply([text(99, { offset: 0 })]);
    for (const n of upTo(11, 60)) window.apply([text(n)]);
    expect(offsets(window)).toEqual([...upTo(37, 60), 0]);
    expect(window.atStart).toBe(false);
});

test('a page that was asked for before a reset is thrown away', async () => {
    const { window } = over(3);
    const coming = window.older();
    window.reset();
    await coming;
    expect([offsets(window), window.loaded]).toEqual([[], false]);
});

test('a copy that cannot be read says so, and can be asked again', async () => {
    let broken = true;
    const window = new RowWindow(channelId(1), () =>
        broken ? Promise.reject(new Error()) : Promise.resolve([text(1)]),
    );
    await window.older();
    expect([window.failed, window.loaded, window.loading]).toEqual([true, false, false]);
    broken = false;
    await window.retry();
    expect([window.failed, offsets(window)]).toEqual([false, [1]]);
});
