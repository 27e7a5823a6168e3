import { expect, test } from 'vitest';
import type { Row } from './engine';
import { Pane } from './pane.svelte';
import { RowWindow } from './row-window.svelte';
import { channelId, messageId, text } from './sample';

const log = Array.from({ length: 1_000 }, (_, n) => text(n + 1, { offset: n + 1 }));

async function open(rows: readonly Row[] = log) {
    const window = new RowWindow(channelId(101), (_, before, limit) =>
        Promise.resolve(rows.filter((row) => row.offset < before).slice(-limit)),
    );
    await window.older();
    return { window, pane: new Pane(window) };
}
const ends = (pane: Pane) => [pane.shown.at(0)?.row.offset, pane.shown.at(-1)?.row.offset];

test('follows the newest', async () => {
    const { window, pane } = await open();
    expect(ends(pane)).toEqual([921, 1_000]);
    window.apply([text(1_001, { offset: 1_001 })]);
    expect(ends(pane)).toEqual([922, 1_001]);
    expect(pane.missed).toBe(0);
});

test('stays with what the person reads, and says how many came', async () => {
    const { window, pane } = await open();
    pane.stay();
    window.apply([text(1_001, { offset: 1_001 }), text(1_002, { offset: 1_002, mine: true })]);
    expect(ends(pane)).toEqual([921, 1_000]);
    expect(pane.missed).toBe(1);
    pane.later();
    expect(ends(pane)).toEqual([921, 1_002]);
    pane.later();
    expect(pane.follows).toBe(true);
});

test('reads history as it goes up, and never holds more than 160 rows in the page', async () => {
    const { pane } = await open();
    while (!pane.atStart) {
        const before = pane.shown[0]?.id;
        await pane.earlier();
        expect(pane.shown.map((cell) => cell.id)).toContain(before);
        expect(pane.shown.length).toBeLessThanOrEqual(160);
    }
    expect(ends(pane)).toEqual([1, 160]);
    await pane.toNewest();
    expect(ends(pane)).toEqual([921, 1_000]);
});

test('an empty channel begins and ends where it is', async () => {
    const { pane } = await open([]);
    await pane.earlier();
    pane.later();
    expect(pane.shown).toEqual([]);
    expect(pane.atStart).toBe(true);
});

test('a row that it was anchored by may go', async () => {
    const { window, pane } = await open();
    pane.stay();
    window.remove(messageId(921));
    expect(ends(pane)).toEqual([920, 1_000]);
});
