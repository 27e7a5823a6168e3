/** What is said in a consult besides ordinary messages: recommendations, their read-back, and the clinicians' own channel. */
import type { ChannelId, ConsultId, MessageId } from '~/protocol/ids';
import { REPEAT_S } from '~/protocol/bodies';
import { Compartment, Urgency } from '~/protocol/words';

import { EngineFailure } from './errors';
import { recordGround } from './grounds';
import { Openings } from './openings';
import type { Work } from './work';

export class ConsultTalk {
    private readonly openings: Openings;

    constructor(private readonly work: Work) {
        this.openings = new Openings(work.home, work.rooms);
    }

    async recommend(channel: ChannelId, text: string): Promise<MessageId> {
        this.work.checkOpen(channel);
        const content = { type: 'recommendation', text, repeatS: REPEAT_S } as const;
        return await this.work.compose(channel, content, { urgency: Urgency.urgent });
    }

    async readBack(channel: ChannelId, message: MessageId, readBack: string): Promise<void> {
        this.work.checkOpen(channel);
        // A read-back without words says only that it was seen.
        if (readBack.trim() === '') throw new EngineFailure('failed');
        await this.work.compose(channel, { type: 'acknowledged', message, readBack });
        await this.work.rooms.get(channel).hush(message, readBack);
    }

    /**
     * The clinicians' channel, with its ground: what is recorded about it is sealed in the consult's channel first, and the
     * hash of that frame stands signed in the genesis (spec 04, "Commit", `auth`). Of two opened at once the one that the
     * server named counts, and the other is put away.
     */
    async openSide(id: ConsultId, ground: 'consent' | 'break_glass', record: string): Promise<ChannelId> {
        const { consults, rooms, people } = this.work;
        const row = consults.row(id);
        if (row.side !== null) return row.side;
        const auth = [await recordGround(this.work, rooms.get(row.channel).id, ground, record)];
        const unit = row.unit === null ? [] : (people.unit(row.unit)?.members ?? []);
        const members = [row.member, ...unit, ...(row.acceptedBy === null ? [] : [row.acceptedBy])];
        const { incident } = row;
        const room = await this.openings.open(
            {
                purpose: 'consult',
                subject: incident,
                incident,
                compartment: Compartment.clinical,
                auth,
            },
            this.openings.devicesOf(members, Compartment.clinical),
        );
        const side = await consults.nameSide(id, room.id);
        if (side !== room.id) await this.work.home.api.archiveChannel(room.id);
        return side;
    }
}
