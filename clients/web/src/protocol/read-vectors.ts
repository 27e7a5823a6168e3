/** The project's vector files, `protocol/vectors`, for unit tests in node. */

import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Bytes, fromHex } from '~/protocol/bytes';

const PROTOCOL = join(dirname(fileURLToPath(import.meta.url)), '../../../../protocol');

/** A file of `protocol/`, as text. */
export function protocolFile(path: string): string {
    return readFileSync(join(PROTOCOL, path), 'utf8');
}

export interface Vector {
    readonly name: string;
    readonly hex?: string;
    /** Hexadecimal in front, a number of zero bytes, hexadecimal behind. */
    readonly parts?: readonly [string, number, string];
}

export interface Vectors<Valid, Refused> {
    readonly valid: readonly (Vector & Valid)[];
    readonly invalid: readonly (Vector & Refused)[];
}

/** The cases of one chapter. */
export function readVectors(name: string): unknown {
    return JSON.parse(protocolFile(`vectors/${name}.json`));
}

export function vectorBytes(vector: Vector): Bytes {
    if (vector.parts === undefined) return fromHex(vector.hex ?? '');
    const [front, zeros, behind] = vector.parts;
    return fromHex(front + '00'.repeat(zeros) + behind);
}
