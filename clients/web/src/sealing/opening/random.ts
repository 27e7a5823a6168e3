/** Where random bytes come from. */

import type { Bytes } from '../public/encoding';

/** Gives that many bytes from a cryptographic source; tests give a seeded one. */
export type Random = (length: number) => Bytes;

export const secureRandom: Random = (length) => crypto.getRandomValues(new Uint8Array(length));
