/** Where the next key goes when what had the focus is gone: never nowhere, or a person at a keyboard starts from the top. */

/** Nothing has the focus. */
export function focusLost(): boolean {
    return document.activeElement === null || document.activeElement === document.body;
}

/** Give the focus to the first of these that is still on the screen, else to the page's content. */
export function focusBack(...wanted: readonly (HTMLElement | null)[]): void {
    const content = document.getElementById('content');
    [...wanted, content].find((element) => element?.checkVisibility())?.focus();
}
