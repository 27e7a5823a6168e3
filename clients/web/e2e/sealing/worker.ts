/** All checks, one group after the other, in a module worker. */

import type { SealingVectors } from '~/sealing/conformance/vectors';
import { checkHpke } from './hpke';
import { type Interop, checkInterop } from './interop';
import { checkOwn } from './own';
import { type Bent, checkParsers } from './parsers';
import { type Rfc9180Vector, type Wycheproof, checkPublished } from './published';
import { Checks } from './report';

/** What `e2e/sealing.mjs` gives. Null stands for a file that is not there. */
interface Given {
    readonly own: SealingVectors;
    readonly published: Wycheproof;
    readonly rfc9180: readonly Rfc9180Vector[] | null;
    readonly interop: Interop | null;
    readonly parsers: Bent | null;
}

const checks = new Checks();
const response = await fetch('/given');
const given = (await response.json()) as Given;
await checkOwn(checks, given.own);
await checkPublished(checks, given.published);
await checkHpke(checks, given.rfc9180);
await checkParsers(checks, given.parsers);
const made = await checkInterop(checks, given.interop);
postMessage(checks.report(made));
