import { expect, test } from 'vitest';
import { Draft } from './draft.svelte';
import { channelId } from './sample';

function setUp() {
    const store = new Map<string, string>();
    let waiting: (() => void) | null = null;
    const engine = {
        keep: (name: string, text: string) => {
            if (text === '') store.delete(name);
            else store.set(name, text);
            return Promise.resolve();
        },
        kept: (name: string) => Promise.resolve(store.get(name) ?? ''),
    };
    const draft = () =>
        new Draft(engine, channelId(1), (work) => {
            waiting = work;
            return () => (waiting = null);
        });
    return { store, draft, pause: () => waiting?.() };
}

test('comes back with its urgency after a reload', async () => {
    const { draft, pause } = setUp();
    const first = draft();
    first.text = 'On the roof, calm';
    first.urgency = 'urgent';
    pause();
    const second = draft();
    await second.load();
    expect([second.text, second.urgency]).toEqual(['On the roof, calm', 'urgent']);
});

test('is kept at once when the page goes', () => {
    const { draft, store } = setUp();
    const first = draft();
    first.text = 'Two';
    first.flush();
    expect([...store.values()]).toEqual(['0Two']);
});

test('does not overwrite what was typed while it loaded', async () => {
    const { draft, store } = setUp();
    store.set(`draft:${channelId(1)}`, '0old');
    const one = draft();
    const loading = one.load();
    one.text = 'new';
    await loading;
    expect(one.text).toBe('new');
});

test('leaves nothing behind once it is sent', () => {
    const { draft, store } = setUp();
    const one = draft();
    one.text = 'Gone';
    one.flush();
    one.clear();
    expect(store.size).toBe(0);
});

test('a failure to load is an empty draft, and one to keep is tried again', async () => {
    let kept = 0;
    const engine = {
        keep: () => ((kept += 1), Promise.reject(new Error('store_full'))),
        kept: () => Promise.reject(new Error('failed')),
    };
    const draft = new Draft(engine, channelId(1), () => () => undefined);
    await draft.load();
    draft.text = 'words';
    draft.flush();
    await Promise.resolve();
    await Promise.resolve();
    draft.flush();
    expect([draft.text, kept]).toEqual(['words', 2]);
});
