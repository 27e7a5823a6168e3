import { expect, test } from 'vitest';

import { CALL_KEYS, callAction } from './call-keys';

const press = (key: string, change = {}) => ({
    key,
    altKey: false,
    ctrlKey: false,
    metaKey: false,
    repeat: false,
    isComposing: false,
    ...change,
});

test('a letter does one thing, in either case', () => {
    expect(callAction(press('m'), false, true)).toBe('microphone');
    expect(callAction(press('V'), false, true)).toBe('camera');
    expect(new Set(CALL_KEYS.map(([key]) => key)).size).toBe(CALL_KEYS.length);
});

test.each([
    ['while somebody types', press('m'), true],
    ['with another key held', press('m', { ctrlKey: true }), false],
    ['as long as it is held down', press('m', { repeat: true }), false],
    ['within a letter being composed', press('m', { isComposing: true }), false],
    ['that is no key of ours', press('x'), false],
] as const)('nothing %s', (_, pressed, typing) => {
    expect(callAction(pressed, typing, true)).toBeNull();
});

test('who turned letters off keeps the help', () => {
    expect(callAction(press('m'), false, false)).toBeNull();
    expect(callAction(press('?'), false, false)).toBe('keys');
});
