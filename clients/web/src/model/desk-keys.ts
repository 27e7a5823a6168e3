/** The dispatcher's keyboard: one letter each, as long as nobody types into a field. Pure. */

export type DeskAction =
    | 'new'
    | 'assign'
    | 'close'
    | 'edit'
    | 'priority'
    | 'mark'
    | 'write'
    | 'find'
    | 'incidents'
    | 'channel'
    | 'board'
    | 'map'
    | 'channels'
    | 'calls'
    | 'consults'
    | 'keys';

/** In the order that the help shows them. */
export const DESK_KEYS: readonly (readonly [key: string, action: DeskAction])[] = [
    ['n', 'new'],
    ['a', 'assign'],
    ['c', 'write'],
    ['p', 'priority'],
    ['t', 'mark'],
    ['e', 'edit'],
    ['x', 'close'],
    ['/', 'find'],
    ['0', 'calls'],
    ['1', 'incidents'],
    ['2', 'channel'],
    ['3', 'board'],
    ['4', 'map'],
    ['5', 'channels'],
    ['6', 'consults'],
    ['?', 'keys'],
];

const ACTIONS = new Map(DESK_KEYS);

export interface Pressed {
    readonly key: string;
    readonly altKey: boolean;
    readonly ctrlKey: boolean;
    readonly metaKey: boolean;
    readonly repeat: boolean;
    readonly isComposing: boolean;
}

/** What a key asks for; null: nothing of ours. `typing`: the focus is in a field. `letters`: the person wants them. */
export function deskAction(pressed: Pressed, typing: boolean, letters: boolean): DeskAction | null {
    if (typing || pressed.altKey || pressed.ctrlKey || pressed.metaKey) return null;
    if (pressed.repeat || pressed.isComposing) return null;
    const action = ACTIONS.get(pressed.key.toLowerCase()) ?? null;
    // WCAG 2.1.4: single letters can be turned off; the help stays, to turn them on again.
    return letters || action === 'keys' ? action : null;
}
