/** What a browser may show of a file by itself, and sizes as people say them. */
import { language } from '~/words/words.svelte';

/** Pictures that cannot carry a script. Everything else is only ever saved. */
const pictures: ReadonlySet<string> = new Set(['image/jpeg', 'image/png', 'image/webp', 'image/gif']);

export function isPicture(mediaType: string): boolean {
    return pictures.has(mediaType);
}

/** `640 kB`, `2.5 MB`. */
export function sizeWords(bytes: number): string {
    const large = bytes >= 1_000_000;
    return new Intl.NumberFormat(language(), {
        style: 'unit',
        unit: large ? 'megabyte' : 'kilobyte',
        maximumFractionDigits: large ? 1 : 0,
    }).format(large ? bytes / 1_000_000 : Math.max(1, Math.round(bytes / 1_000)));
}
