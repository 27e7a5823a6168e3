/** The keyboard of a call: one letter each, as long as nobody types into a field. Pure. */
import type { Pressed } from '../desk-keys';

export type CallAction = 'microphone' | 'camera' | 'chat' | 'people' | 'consent' | 'captions' | 'keys';

/** In the order that the help shows them. None of them leaves: a slip must not end a call. */
export const CALL_KEYS: readonly (readonly [key: string, action: CallAction])[] = [
    ['m', 'microphone'],
    ['v', 'camera'],
    ['c', 'chat'],
    ['p', 'people'],
    ['k', 'consent'],
    ['s', 'captions'],
    ['?', 'keys'],
];

const ACTIONS = new Map(CALL_KEYS);

/** What a key asks for; null: nothing of a call. `typing`: the focus is in a field. `letters`: the person wants them. */
export function callAction(pressed: Pressed, typing: boolean, letters: boolean): CallAction | null {
    if (typing || pressed.altKey || pressed.ctrlKey || pressed.metaKey) return null;
    if (pressed.repeat || pressed.isComposing) return null;
    const action = ACTIONS.get(pressed.key.toLowerCase()) ?? null;
    // WCAG 2.1.4: single letters can be turned off; the help stays, to turn them on again.
    return letters || action === 'keys' ? action : null;
}
