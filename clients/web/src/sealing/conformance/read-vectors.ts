/** The vector file, for the unit tests in node; in a browser the page fetches it. */

import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { SealingVectors } from './vectors';

// Not `new URL('..', import.meta.url)`, which the bundler takes for an asset of its own.
const HERE = fileURLToPath(import.meta.url);
const PATH = resolve(HERE, '../../../../../../protocol/vectors/sealing.json');

export const VECTORS = JSON.parse(readFileSync(PATH, 'utf8')) as SealingVectors;
