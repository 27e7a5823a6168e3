import { expect, test } from 'vitest';
import { PhoneList, tidyNumber } from './phone-list.svelte';

function setUp(kept = '') {
    let store = kept;
    let full = false;
    const list = new PhoneList({
        kept: () => Promise.resolve(store),
        keep: (_, text) =>
            full ? Promise.reject(new Error('store_full')) : Promise.resolve(void (store = text)),
    });
    return { list, kept: () => store, fill: () => (full = true) };
}

test('is kept, and is there again', async () => {
    const { list, kept } = setUp();
    await list.load();
    await list.add(' Dispatch desk ', '+1 (555) 010-0199');
    const again = setUp(kept()).list;
    expect(again.loaded).toBe(false);
    await again.load();
    expect(again.entries).toEqual([{ name: 'Dispatch desk', number: '+15550100199' }]);
    const [first] = again.entries;
    if (first) await again.remove(first);
    expect(again.entries).toEqual([]);
});

test('what has no number or no name is not added', async () => {
    const { list } = setUp();
    await list.add('Desk', 'none');
    await list.add(' ', '911');
    expect(list.entries).toEqual([]);
});

test('stays as it was when it cannot be kept', async () => {
    const { list, fill } = setUp();
    fill();
    await expect(list.add('Desk', '911')).rejects.toThrow('store_full');
    expect(list.entries).toEqual([]);
});

test.each(['{}', 'x', '[{"name":1}]'])('what was kept badly is nothing: %s', async (kept) => {
    const { list } = setUp(kept);
    await list.load();
    expect([list.entries, list.loaded]).toEqual([[], true]);
});

test('a number keeps what a telephone dials', () => {
    expect(tidyNumber('555-0100 ext. #12')).toBe('5550100#12');
});
