/** Both languages say everything, with the same arguments; no view speaks for itself; every key that is asked for exists. */
import { parse, TYPE, type MessageFormatElement } from '@formatjs/icu-messageformat-parser';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { direction, language, speak, t, useWords, type Key } from './words.svelte';

const source = join(import.meta.dirname, '..');
const areas = [
    'shared',
    'start',
    'chat',
    'responder',
    'desk',
    'admin',
    'consult',
    'duty',
    'supervisor',
    'guest',
    'call',
    'push',
] as const;

function words(of: string, area: string): Record<string, string> {
    return JSON.parse(readFileSync(join(source, 'words', of, `${area}.json`), 'utf8')) as Record<
        string,
        string
    >;
}

function argumentsOf(elements: readonly MessageFormatElement[], found = new Set<string>()): Set<string> {
    for (const element of elements) {
        if (element.type === TYPE.literal || element.type === TYPE.pound) continue;
        found.add(`${element.value}:${element.type}`);
        if (element.type === TYPE.select || element.type === TYPE.plural) {
            for (const option of Object.values(element.options)) argumentsOf(option.value, found);
        }
    }
    return found;
}

describe.each(areas)('the words of %s', (area) => {
    const english = words('en', area);
    const spanish = words('es', area);

    it('are the same keys in the same order', () => {
        expect(Object.keys(spanish)).toEqual(Object.keys(english));
    });

    it.each(Object.keys(english))('%s parses, says something, and takes the same values', (key) => {
        const [first, second] = [english[key], spanish[key]];
        expect(first?.trim()).toBeTruthy();
        expect(second?.trim()).toBeTruthy();
        expect(argumentsOf(parse(second ?? ''))).toEqual(argumentsOf(parse(first ?? '')));
    });
});

function views(): string[] {
    return readdirSync(join(source, 'views'), { recursive: true, encoding: 'utf8' })
        .filter((name) => name.endsWith('.svelte'))
        .map((name) => join(source, 'views', name));
}

/** The markup without scripts, styles, comments, and what stands in braces (which may be nested). */
function literalText(file: string): string[] {
    const markup = readFileSync(file, 'utf8')
        .replace(/<!--[\s\S]*?-->/g, '')
        .replace(/<(script|style)[\s\S]*?<\/\1>/g, '');
    let depth = 0;
    let bare = '';
    for (const letter of markup) {
        if (letter === '{') depth += 1;
        if (depth === 0) bare += letter;
        if (letter === '}') depth -= 1;
    }
    const spoken = [...bare.matchAll(/\s(?:aria-label|title|placeholder|alt)="([^"]*)"/g)].map(
        (m) => m[1] ?? '',
    );
    const text = bare.replace(/<(?:"[^"]*"|'[^']*'|=>|[^>"'])*>/g, '\n').split('\n');
    return [...spoken, ...text].map((line) => line.trim()).filter((line) => /\p{L}{2,}/u.test(line));
}

describe('views', () => {
    it('have no literal text', () => {
        const found = views().flatMap((file) =>
            literalText(file).map((line) => `${file.slice(source.length)}: ${line}`),
        );
        expect(found).toEqual([]);
    });
});

/** Which words are there when a screen is shown: an area that was not loaded shows its keys. */
const loadedWith: Readonly<Record<string, readonly string[]>> = {
    'start/': ['shared', 'start'],
    'App.svelte': ['shared', 'start'],
    'Notices.svelte': ['shared', 'start', 'chat'],
    'chat/': ['shared', 'start', 'chat'],
    'responder/': ['shared', 'start', 'chat', 'consult', 'responder'],
    'consult/': ['shared', 'start', 'chat', 'consult'],
    // A guest's page knows nothing else.
    'call/': ['shared', 'call'],
    'guest/': ['shared', 'start', 'guest', 'call'],
    'psychiatrist/': ['shared', 'start', 'chat', 'consult', 'responder', 'duty'],
    'supervisor/': ['shared', 'start', 'chat', 'consult', 'responder', 'desk', 'supervisor'],
    'dispatcher/': ['shared', 'start', 'chat', 'consult', 'responder', 'desk'],
    'admin/': ['shared', 'start', 'chat', 'responder', 'admin'],
    'map/': ['shared', 'start', 'chat', 'desk'],
};

describe.each(Object.entries(loadedWith))('the words of views/%s', (place, loaded) => {
    it('are loaded with it', () => {
        const known = new Set(loaded.flatMap((area) => Object.keys(words('en', area))));
        const asked = views()
            .filter((file) => file.slice(join(source, 'views/').length).startsWith(place))
            .flatMap((file) => [...readFileSync(file, 'utf8').matchAll(/\bt\(\s*'([^']+)'/g)])
            .map((found) => found[1] ?? '');
        expect(asked.filter((key) => !known.has(key))).toEqual([]);
    });
});

it('speaks another language at once, and shows the key of what is not loaded', async () => {
    expect(t('age.minutes', { n: 2 })).toBe('age.minutes');
    await useWords('shared');
    expect(t('age.minutes', { n: 2 })).toBe('2 min ago');
    expect(t('age.days', { n: 1 })).toBe('1 day ago');
    await speak('es');
    expect(language()).toBe('es');
    expect(direction()).toBe('ltr');
    expect(t('age.minutes', { n: 2 })).toBe('hace 2 min');
    await speak('en');
    expect(t('no.such' as Key)).toBe('no.such');
});
