/** What the vector file says of boxes, frames, grants, archives, attachments and media. */

import { describe, expect, it } from 'vitest';
import {
    archiveOutcome,
    attachmentOutcome,
    boxesHold,
    frameOutcome,
    grantOutcome,
    mediaHolds,
    recordsBoxesHold,
    sealedFrameOutcomes,
} from '../conformance/opening-cases';
import { openingVectors } from '../conformance/opening-vectors';
import { VECTORS } from '../conformance/read-vectors';

const vectors = openingVectors(VECTORS);

describe('boxes', () => {
    it.each(['dispatcher', 'unit', 'clinician'])('of the %s open to the secrets written down', (name) =>
        boxesHold(vectors, name),
    );

    it('of the records key open to the durable secrets alone', () => recordsBoxesHold(vectors));
});

it.each(vectors.frames)('frame: $name', async (given) => {
    expect(await frameOutcome(vectors, given)).toBe(given.code);
});

it.each(vectors.grants)('grant: $name', async (given) => {
    expect(await grantOutcome(vectors, given)).toBe(given.code);
});

it.each(vectors.archives)('archive: $name', async (given) => {
    expect(await archiveOutcome(vectors, given)).toBe(given.code);
});

it.each(vectors.attachments)('attachment: $name', async (given) => {
    expect(await attachmentOutcome(given)).toBe(given.code);
});

it('media', () => mediaHolds(vectors));

it('sealed frames', async () => {
    const frames = vectors.media.sealed_frames;
    const outcomes = await sealedFrameOutcomes(vectors);
    expect(frames.map(({ name }, at) => [name, outcomes[at]])).toEqual(
        frames.map(({ name, code }) => [name, code]),
    );
});
