import { expect, test } from 'vitest';
import type { Fix } from './engine';
import { Safety } from './safety.svelte';
import { fix } from './sample';

function setUp(fails: number) {
    const said: string[] = [];
    const engine = {
        safety: (kind: string, place: Fix | null) => {
            said.push(`${kind} ${place ? 'placed' : 'unplaced'}`);
            return said.length <= fails ? Promise.reject(new Error('failed')) : Promise.resolve();
        },
    };
    return { said, safety: new Safety(engine, { lastPlace: () => Promise.resolve(fix()) }, () => 77) };
}

test('a check-in carries the place and is remembered', async () => {
    const { said, safety } = setUp(0);
    await safety.checkIn();
    expect([said, safety.checkedInMs, safety.dot]).toEqual([['check_in placed'], 77, false]);
});

test('a check-in that failed says so', async () => {
    const { safety } = setUp(1);
    await expect(safety.checkIn()).rejects.toThrow();
    expect(safety.checkedInMs).toBe(0);
});

test('a call for help is tried again without a place, and shows a dot once it is written down', async () => {
    const { said, safety } = setUp(1);
    await safety.callForHelp();
    expect([said, safety.dot]).toEqual([['duress placed', 'duress unplaced'], true]);
});

test('a call for help that fails stays silent, and never shows what is not so', async () => {
    const { safety } = setUp(2);
    await safety.callForHelp();
    expect(safety.dot).toBe(false);
});
