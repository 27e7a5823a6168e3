import { parse } from '@formatjs/icu-messageformat-parser';
import type { Plugin } from 'vite';

const WORDS = /\/src\/words\/[a-z]+\/[a-z]+\.json$/;

/**
 * Parses the messages of src/words while building, so that the parser (10 kB of the first route, compressed) is not
 * shipped. Plain words stay words; what takes values becomes the tree that intl-messageformat works on.
 */
export function parsedWords(): Plugin {
    return {
        name: 'leeside:words',
        apply: 'build',
        enforce: 'pre',
        config: () => ({
            resolve: {
                alias: {
                    '@formatjs/icu-messageformat-parser': '@formatjs/icu-messageformat-parser/no-parser.js',
                },
            },
        }),
        transform(code, id) {
            if (!WORDS.test(id)) return null;
            const words = JSON.parse(code) as Record<string, string>;
            const parsed = Object.entries(words).map(([key, message]) => [
                key,
                message.includes('{') ? parse(message, { ignoreTag: true }) : message,
            ]);
            return { code: JSON.stringify(Object.fromEntries(parsed)), map: null };
        },
    };
}
