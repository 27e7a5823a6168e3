import { expect, test } from 'vitest';
import { LongPress } from './long-press';

function setUp() {
    const said: string[] = [];
    let due: (() => void) | null = null;
    const press = new LongPress(
        () => said.push('tap'),
        () => said.push('hold'),
        (work) => {
            due = work;
            return () => (due = null);
        },
    );
    return { press, said, pass: () => due?.() };
}

test('let go early is a tap, held is a hold and no tap', () => {
    const { press, said, pass } = setUp();
    press.down();
    press.up();
    press.down();
    pass();
    press.up();
    expect(said).toEqual(['tap', 'hold']);
});

test('a finger that slides away is nothing', () => {
    const { press, said, pass } = setUp();
    press.down();
    press.cancel();
    pass();
    press.up();
    expect(said).toEqual([]);
});

test('a held key that repeats is held once', () => {
    const { press, said, pass } = setUp();
    press.down();
    press.down();
    pass();
    press.up();
    expect(said).toEqual(['hold']);
});
