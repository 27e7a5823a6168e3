import { expect, test } from 'vitest';

import type { ChannelId } from './engine';
import * as a from './sample';
import { type Said, soundingBy } from './said-once';

const UNIT = a.channelId(1);
const OPERATIONS = a.channelId(2);
const ids = (all: readonly Said[]): string[][] => all.map((said) => said.map((row) => row.id));
const here = (channel: ChannelId | null) =>
    soundingBy(
        [
            a.duress(1, { channel: UNIT, writtenMs: 1_000, atMs: 1 }),
            a.text(3, { channel: OPERATIONS, urgency: 'urgent', atMs: 3 }),
            a.duress(2, { channel: OPERATIONS, writtenMs: 1_003, atMs: 2 }),
            a.text(4, { channel: UNIT, urgency: 'urgent', writtenMs: 1_000, atMs: 4 }),
        ],
        channel,
    );

test('a call for help that sounds in two channels is one, wherever a person looks', () => {
    const both = [a.messageId(1), a.messageId(2)];
    expect(ids(here(null).elsewhere)).toEqual([both, [a.messageId(3)], [a.messageId(4)]]);
    for (const [channel, own, other] of [
        [UNIT, 4, 3],
        [OPERATIONS, 3, 4],
    ] as const) {
        expect(ids(here(channel).here)).toEqual([both, [a.messageId(own)]]);
        expect(ids(here(channel).elsewhere)).toEqual([[a.messageId(other)]]);
    }
});
