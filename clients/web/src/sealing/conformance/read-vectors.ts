/** The vector file, for the unit tests in node; in a browser the page fetches it. */

import { readFileSync } from 'node:fs';
import type { SealingVectors } from './vectors';

const PATH = new URL('../../../../../protocol/vectors/sealing.json', import.meta.url);

export const VECTORS = JSON.parse(readFileSync(PATH, 'utf8')) as SealingVectors;
