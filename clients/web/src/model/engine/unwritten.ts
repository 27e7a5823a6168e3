/**
 * What must be said although nothing can be written any more: that somebody heard, that somebody is in danger.
 *
 * The rule is that a message is on disk before its command resolves. Where the disk is full, and only for these, the server's
 * disk counts as well: the command resolves when the server has it. Without a link it fails with `store_full`, as ever.
 */
import type { Content } from '~/protocol/bodies';

import type { ChannelId, MessageId } from '../engine';
import { StoreFull } from '../ports';
import type { Composed } from './room';
import type { Work } from './work';

type Word = readonly [ChannelId, Content, Composed?];

/** Several words at once: all are written down, or, where nothing can be, said now. One that was said is enough. */
export async function sayAll(work: Work, words: readonly Word[]): Promise<void> {
    try {
        await work.composeAll(words);
    } catch (error) {
        if (!(error instanceof StoreFull)) throw error;
        const { life } = work.parts;
        life.begin(() => life.untilSpace());
        const said = await Promise.allSettled(words.map((word) => work.sayNow(...word)));
        if (!said.some(({ status }) => status === 'fulfilled')) throw error;
    }
}

/** A person here heard it: the sender is told, and the noise ends. */
export async function acknowledge(work: Work, channel: ChannelId, id: MessageId): Promise<void> {
    const room = work.rooms.get(channel);
    // Where an alarm stopped sending, people talk by voice: the noise ends here, and nobody is told.
    if (room.chain.stopped === '')
        await sayAll(work, [[channel, { type: 'acknowledged', message: id, readBack: '' }]]);
    await room.hush(id);
}
