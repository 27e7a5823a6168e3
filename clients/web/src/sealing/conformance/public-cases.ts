/** The sections of the vector file that an observer without keys can check: `directory`, `commits`, `seen`. */

import { fromHex } from '~/protocol/bytes';
import { Directory } from '../public/directory';
import { decodeSignedEntry } from '../public/entries';
import { type SealingVectors, type VectorCase, codeOf } from './vectors';

export interface DirectoryCase extends VectorCase {
    readonly root: string;
    readonly before: readonly number[];
    readonly entry: string;
    readonly now_ms: number | null;
}

export interface PublicVectors extends SealingVectors {
    readonly directory: readonly DirectoryCase[];
}

/** The code that an entry brings; fails besides when a refused entry left a trace. */
export async function directoryOutcome(vectors: PublicVectors, given: DirectoryCase): Promise<string | null> {
    const before = given.before.map((index) => pooled(vectors, index));
    const directory = await Directory.replay(fromHex(given.root), before);
    const held = contents(directory);
    const code = await codeOf(async () => {
        await directory.apply(decodeSignedEntry(fromHex(given.entry)), given.now_ms);
    });
    const same = contents(directory) === held;
    if (same === (code === null)) throw new Error('an entry changes the directory exactly when it holds');
    return code;
}

/** All that a directory shows, as text to compare. */
export function contents(directory: Directory): string {
    const hashes = Array.from({ length: directory.seq + 1 }, (_, seq) => directory.hashAt(seq));
    const { seq, head, tsMs } = directory;
    const lists = [directory.devices(), directory.authorities(), directory.recordsKeys()];
    const members = directory.devices().map((device) => directory.devicesOf(device.memberId));
    return JSON.stringify([seq, head, tsMs, hashes, lists, members]);
}

export function pooled(vectors: SealingVectors, index: number): Uint8Array {
    return fromHex(vectors.pool[index] ?? '');
}
