import { expect, test } from 'vitest';

import { CaptionLines } from './captions.svelte';

test('what is being said gives way to the sentence, and old sentences to new ones', () => {
    const shown = new CaptionLines();
    shown.heard(' is he', false);
    expect([shown.now, shown.lines]).toEqual(['is he', []]);
    shown.heard('Is he calm?', true);
    expect([shown.now, shown.lines]).toEqual(['', ['Is he calm?']]);
    for (const words of ['one', 'two', ' ', 'three']) shown.heard(words, true);
    expect(shown.lines).toEqual(['one', 'two', 'three']);
});
