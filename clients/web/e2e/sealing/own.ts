/** The project's own vectors, as the unit tests take them in node. */

import { fromHex } from '~/protocol/bytes';
import {
    type PublicVectors,
    commitOutcome,
    directoryOutcome,
    seenHolds,
} from '~/sealing/conformance/public-cases';
import {
    archiveOutcome,
    attachmentOutcome,
    boxesHold,
    frameOutcome,
    grantOutcome,
    mediaHolds,
    recordsBoxesHold,
} from '~/sealing/conformance/opening-cases';
import { openingVectors } from '~/sealing/conformance/opening-vectors';
import type { SealingVectors } from '~/sealing/conformance/vectors';
import { digest, hex, pae } from '~/sealing/public/encoding';
import { type Checks, same } from './report';

/** The sections that take keys. */
async function checkOpening(checks: Checks, all: SealingVectors): Promise<void> {
    const vectors = openingVectors(all);
    for (const name of ['dispatcher', 'unit', 'clinician']) {
        await checks.check('own: boxes', name, () => boxesHold(vectors, name));
    }
    await checks.check('own: boxes', 'records key', () => recordsBoxesHold(vectors));
    for (const given of vectors.frames) {
        await checks.check('own: frames', given.name, async () =>
            same(await frameOutcome(vectors, given), given.code),
        );
    }
    for (const given of vectors.grants) {
        await checks.check('own: grants', given.name, async () =>
            same(await grantOutcome(vectors, given), given.code),
        );
    }
    for (const given of vectors.archives) {
        await checks.check('own: archives', given.name, async () =>
            same(await archiveOutcome(vectors, given), given.code),
        );
    }
    for (const given of vectors.attachments) {
        await checks.check('own: attachments', given.name, async () =>
            same(await attachmentOutcome(given), given.code),
        );
    }
    await checks.check('own: media', 'keys and frames', () => mediaHolds(vectors));
}

export async function checkOwn(checks: Checks, all: SealingVectors): Promise<void> {
    const vectors = all as PublicVectors;
    for (const { parts, result } of vectors.encoding.pae) {
        await checks.check('own: encoding', 'pae', () => same(hex(pae(...parts.map(fromHex))), result));
    }
    await checks.check('own: encoding', 'digest', async () => {
        const { label, parts, result } = vectors.encoding.digest;
        same(await digest(label, ...parts.map(fromHex)), result);
    });
    for (const given of vectors.directory) {
        await checks.check('own: directory', given.name, async () =>
            same(await directoryOutcome(vectors, given), given.code),
        );
    }
    for (const given of vectors.commits) {
        await checks.check('own: commits', given.name, async () =>
            same(await commitOutcome(vectors, given), given.code),
        );
    }
    await checks.check('own: seen', 'the running hash', async () => same(await seenHolds(vectors), true));
    await checkOpening(checks, all);
}
