/**
 * The project's own test vectors, `protocol/vectors/sealing.json`, as the checks of this folder take them.
 *
 * The checks know no file system and no page: the unit tests run them in node, and `e2e/sealing.mjs` in browsers.
 */

import { SealingError } from '../errors';

export { fromHex as un } from '~/protocol/bytes';

/** One case of a section: what it is called, and the code that must come of it; null where all is well. */
export interface VectorCase {
    readonly name: string;
    readonly code: string | null;
}

export interface EncodingVectors {
    readonly pae: readonly { readonly parts: readonly string[]; readonly result: string }[];
    readonly digest: { readonly label: string; readonly parts: readonly string[]; readonly result: string };
}

export interface SealingVectors {
    readonly now_ms: number;
    readonly encoding: EncodingVectors;
    /** Entries, commits and keys that many cases share, by index. */
    readonly pool: readonly string[];
}

/** The code in which an attempt ended; null when it did not fail. Anything but a `SealingError` goes on. */
export async function codeOf(attempt: () => unknown): Promise<string | null> {
    try {
        await attempt();
        return null;
    } catch (error) {
        if (error instanceof SealingError) return error.code;
        throw error;
    }
}
