/**
 * Sealing an epoch's secrets to each recipient, and opening one's own box. Spec 04, "Boxes".
 *
 * A box's content counts only once it matches the signed commitments.
 */

import { SealingError, refuse } from '../errors';
import type { Box } from '../public/boxes';
import type { Commit } from '../public/commit';
import {
    type Bytes,
    type Hex,
    PREFIX,
    type Value,
    asBytes,
    asList,
    asListOfAtMost,
    asUint,
    decode,
    encode,
    pae,
    unhex,
    utf8,
} from '../public/encoding';
import { CLASSES } from '../public/entries';
import { hpkeOpen, hpkeSeal } from './hpke';
import type { HeldKey } from './keys';
import { type ClassSecrets, SECRET_BYTES, checkCommitments, epochKeys } from './schedule';

const WHOLE_EPOCH = 1;
const SOME_CLASSES = 2;

/** Secrets that match the commit. `chain` is there only for a holder of the whole epoch. */
export interface OpenedBox {
    readonly classes: ClassSecrets;
    readonly chain: Bytes | null;
}

export function boxInfo(commitHash: Hex, recipient: Hex, kid: Hex): Bytes {
    return pae(utf8(`${PREFIX}box`), unhex(commitHash), unhex(recipient), unhex(kid));
}

/** The classes that a mask holds, rising. */
export function classesOf(classMask: number): readonly number[] {
    return CLASSES.filter((c) => (classMask >> c) & 1);
}

/** The plaintext for a full member: the epoch secret. */
export function wholeEpoch(secret: Bytes): Bytes {
    return encode([WHOLE_EPOCH, secret]);
}

/** The plaintext for records keys, masked devices and guests: only their classes; `E_NO_KEY` for one not held. */
export function someClasses(secrets: ClassSecrets, classMask: number): Bytes {
    return encode([SOME_CLASSES, classFields(secrets, classMask)]);
}

/** `[[class, secret]..]` of the masked classes, rising; `E_NO_KEY` when one is not held. */
export function classFields(secrets: ClassSecrets, classMask: number): readonly [number, Bytes][] {
    return classesOf(classMask).map((keyClass) => [
        keyClass,
        secrets.get(keyClass) ?? refuse('E_NO_KEY', 'a secret not held here'),
    ]);
}

export async function sealBox(
    commit: Commit,
    recipient: Hex,
    kid: Hex,
    to: Bytes,
    plaintext: Bytes,
): Promise<Box> {
    const info = boxInfo(commit.hash, recipient, kid);
    return { recipient, kid, suite: commit.suite, sealed: await hpkeSeal(commit.suite, to, info, plaintext) };
}

/**
 * The secrets in one's own box, checked against the commit.
 *
 * `due` is what the commit's roster or records entry says. `E_BOX`: does not open, is malformed, or holds another kind
 * than the entry calls for. `E_COMMITMENT`: the secrets are not those signed.
 */
export async function openBox(
    commit: Commit,
    box: Box,
    key: HeldKey,
    due: { readonly classMask: number; readonly whole: boolean },
): Promise<OpenedBox> {
    if (box.kid !== key.kid || box.suite !== commit.suite) refuse('E_BOX', 'box under another key');
    const info = boxInfo(commit.hash, box.recipient, box.kid);
    const opened = await parseContent(commit, await hpkeOpen(box.suite, key.pair, info, box.sealed));
    const classes = due.whole ? CLASSES : classesOf(due.classMask);
    if (due.whole !== (opened.chain !== null) || !holdsExactly(opened.classes, classes)) {
        refuse('E_BOX', 'other content than the roster calls for');
    }
    await checkCommitments(commit, opened.classes);
    return opened;
}

/** Whether these are the secrets of exactly those classes. */
export function holdsExactly(secrets: ClassSecrets, classes: readonly number[]): boolean {
    return secrets.size === classes.length && classes.every((c) => secrets.has(c));
}

async function parseContent(commit: Commit, plaintext: Bytes): Promise<OpenedBox> {
    try {
        const [kind, content] = asList(decode(plaintext), 2);
        switch (asUint(kind)) {
            case WHOLE_EPOCH: {
                const secret = asBytes(content, SECRET_BYTES);
                return await epochKeys(secret, commit.channelId, commit.epoch, commit.prevHash);
            }
            case SOME_CLASSES:
                return { classes: parseClassSecrets(content), chain: null };
        }
    } catch (error) {
        if (!(error instanceof SealingError)) throw error;
    }
    return refuse('E_BOX', 'malformed content');
}

/** `[[class, secret]..]`, classes rising; `E_ENCODING`. */
export function parseClassSecrets(value: Value | undefined): ClassSecrets {
    const secrets = new Map<number, Bytes>();
    let last = 0;
    for (const item of asListOfAtMost(value, CLASSES.length)) {
        const [number, secret] = asList(item, 2);
        const keyClass = asUint(number, CLASSES.length);
        if (keyClass <= last) refuse('E_ENCODING', 'classes not rising');
        secrets.set(keyClass, asBytes(secret, SECRET_BYTES));
        last = keyClass;
    }
    return secrets;
}
