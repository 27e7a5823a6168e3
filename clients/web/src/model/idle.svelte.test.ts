import { expect, test } from 'vitest';
import { Idle } from './idle.svelte';

function setUp(afterMs: number) {
    let time = 0;
    const idle = new Idle(afterMs, () => time);
    const pass = (ms: number): void => {
        time += ms;
        idle.check();
    };
    return { idle, pass };
}

test('locks when nobody touched it for long enough, and opens only by showing who one is', () => {
    const { idle, pass } = setUp(1_000);
    pass(999);
    idle.touch();
    pass(999);
    expect(idle.locked).toBe(false);
    pass(1);
    expect(idle.locked).toBe(true);
    idle.touch();
    pass(0);
    expect(idle.locked).toBe(true);
    idle.open();
    pass(999);
    expect(idle.locked).toBe(false);
});

test('never, when it is off; then after the new time', () => {
    const { idle, pass } = setUp(0);
    pass(1e9);
    expect(idle.locked).toBe(false);
    idle.after(500);
    pass(500);
    expect(idle.locked).toBe(true);
});
