import { expect, test } from 'vitest';
import { DESK_KEYS, deskAction } from './desk-keys';

const press = (key: string, change = {}) => ({
    key,
    altKey: false,
    ctrlKey: false,
    metaKey: false,
    repeat: false,
    isComposing: false,
    ...change,
});

test('each key does one thing', () => {
    expect(new Set(DESK_KEYS.map(([key]) => key)).size).toBe(DESK_KEYS.length);
    for (const [key, action] of DESK_KEYS) expect(deskAction(press(key), false, true)).toBe(action);
    expect(deskAction(press('N'), false, true)).toBe('new');
});

test('nothing is taken from fields, the browser, or a key that is held down', () => {
    expect(deskAction(press('n'), true, true)).toBeNull();
    for (const held of ['altKey', 'ctrlKey', 'metaKey', 'repeat', 'isComposing']) {
        expect(deskAction(press('n', { [held]: true }), false, true)).toBeNull();
    }
    expect(deskAction(press('F5'), false, true)).toBeNull();
});

test('letters can be turned off, and the help still opens', () => {
    expect(deskAction(press('x'), false, false)).toBeNull();
    expect(deskAction(press('?'), false, false)).toBe('keys');
});
