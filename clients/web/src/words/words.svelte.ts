/**
 * What the screens say, in the person's language: `t('chat.send')`.
 *
 * The words are ICU messages in `LANGUAGE/AREA.json`, loaded when the language and the area are needed. A key that does
 * not exist does not compile; that both languages have the same keys with the same arguments is a test
 * (words.test.ts). `t` reads signals, so a screen that used it shows the new language by itself.
 */
import { IntlMessageFormat } from 'intl-messageformat';
import type admin from './en/admin.json';
import type call from './en/call.json';
import type chat from './en/chat.json';
import type consult from './en/consult.json';
import type desk from './en/desk.json';
import type duty from './en/duty.json';
import type guest from './en/guest.json';
import type responder from './en/responder.json';
import type shared from './en/shared.json';
import type start from './en/start.json';
import type supervisor from './en/supervisor.json';

type Words = typeof shared &
    typeof start &
    typeof chat &
    typeof responder &
    typeof desk &
    typeof admin &
    typeof consult &
    typeof duty &
    typeof supervisor &
    typeof guest &
    typeof call;
export type Key = keyof Words;
export type Area =
    | 'shared'
    | 'start'
    | 'chat'
    | 'responder'
    | 'desk'
    | 'admin'
    | 'consult'
    | 'duty'
    | 'supervisor'
    | 'guest'
    | 'call';
export type Values = Readonly<Record<string, string | number>>;

export const languages = ['en', 'es'] as const;
export type Language = (typeof languages)[number];

/** In their own tongue, for the person who cannot read the present one. */
export const languageNames: Readonly<Record<Language, string>> = { en: 'English', es: 'Español' };

/** As written; or, in the shipped client, parsed already (build/words.ts). */
type Message = ConstructorParameters<typeof IntlMessageFormat>[0];
type AreaWords = Readonly<Record<string, Message>>;

const loaders = import.meta.glob<AreaWords>('./*/*.json', { import: 'default' });
const rightToLeft = new Set(['ar', 'fa', 'he', 'ur']);

let current = $state.raw<Language>('en');
let messages = $state.raw<ReadonlyMap<string, Message>>(new Map());
let formats = new Map<string, IntlMessageFormat>();
const areas = new Set<Area>();

/** The first of the person's languages that there are words for; English if none. */
export function bestLanguage(wanted: readonly string[]): Language {
    for (const tag of wanted) {
        const found = languages.find((language) => language === tag.toLowerCase().split('-')[0]);
        if (found) return found;
    }
    return 'en';
}

async function load(language: Language, area: Area): Promise<AreaWords> {
    return (await loaders[`./${language}/${area}.json`]?.()) ?? {};
}

/** Load the words of an area in the present language. Call it before a view of that area is shown. */
export async function useWords(area: Area): Promise<void> {
    if (areas.has(area)) return;
    const words = await load(current, area);
    areas.add(area);
    messages = new Map([...messages, ...Object.entries(words)]);
}

/** Speak another language from now on, in all areas that are in use. */
export async function speak(language: Language): Promise<void> {
    const all = await Promise.all([...areas].map((area) => load(language, area)));
    current = language;
    formats = new Map();
    messages = new Map(all.flatMap((words) => Object.entries(words)));
}

export function language(): Language {
    return current;
}

export function direction(): 'ltr' | 'rtl' {
    return rightToLeft.has(current) ? 'rtl' : 'ltr';
}

/** The words for a key. Never throws: a screen with a key on it is better than no screen. */
export function t(key: Key, values?: Values): string {
    const message = messages.get(key);
    if (message === undefined) return key;
    if (typeof message === 'string' && !message.includes('{')) return message;
    try {
        let format = formats.get(key);
        if (!format) {
            format = new IntlMessageFormat(message, current, undefined, { ignoreTag: true });
            formats.set(key, format);
        }
        return String(format.format(values));
    } catch {
        return key;
    }
}
