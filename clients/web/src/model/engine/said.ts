/**
 * What was asked in each consult's channel: the sealed request, its first message (spec 08, "Bodies").
 *
 * Who asked, and to whom context is given without a person's decision, follow from it. So it counts from the device that
 * created the channel alone, the first time. It stays when this device is taken out of the channel: those who were paged
 * keep the line that they were paged with.
 *
 * Notes written: `said <channel>`.
 */
import type { ContentOf } from '~/protocol/bodies';
import type { Role } from '~/protocol/words';

import type { ChannelId, ConsultId, MemberId } from '~/protocol/ids';
import type { History } from '../ports';
import { noteOf, readNote } from './notes';

export interface Said {
    readonly consult: ConsultId;
    readonly member: MemberId;
    readonly summary: string;
    readonly grantTo: readonly Role[];
}

const PREFIX = 'said ';

export class SaidBook {
    private readonly unwritten = new Set<ChannelId>();

    private constructor(
        private readonly history: History,
        private readonly byChannel: Map<ChannelId, Said>,
    ) {}

    static async restore(history: History): Promise<SaidBook> {
        const found = new Map<ChannelId, Said>();
        for (const [name, note] of await history.notes(PREFIX)) {
            const said = readNote(note) as Said | null;
            if (said !== null) found.set(name.slice(PREFIX.length) as ChannelId, said);
        }
        return new SaidBook(history, found);
    }

    of(channel: ChannelId): Said | null {
        return this.byChannel.get(channel) ?? null;
    }

    /** The channel's creator said what is asked. False: that is known. */
    async take(
        channel: ChannelId,
        content: Pick<ContentOf<'consult'>, 'consult' | 'summary' | 'grantTo'>,
        member: MemberId,
    ): Promise<boolean> {
        let said = this.byChannel.get(channel);
        if (said !== undefined && !this.unwritten.has(channel)) return false;
        if (said === undefined) {
            const { consult, summary, grantTo } = content;
            said = { consult, member, summary, grantTo };
            // Known from now on, also where it cannot be written yet: a person is about to answer.
            this.byChannel.set(channel, said);
            this.unwritten.add(channel);
        }
        await this.history.keepNotes(new Map([[PREFIX + channel, noteOf(said)]]));
        this.unwritten.delete(channel);
        return true;
    }

    async forget(channel: ChannelId): Promise<void> {
        if (!this.byChannel.delete(channel)) return;
        await this.history.keepNotes(new Map([[PREFIX + channel, null]]));
    }
}
