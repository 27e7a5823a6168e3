/** A town with a responder who asks and two psychiatrists who are on call, for the tests of consults. */
import { expect } from 'vitest';

import type { ConsultId, ChannelId } from '~/protocol/ids';
import type { ConsultRequest, ConsultView } from '~/model/on-call';

import { type Person, Town } from './people';

export const REQUEST: ConsultRequest = {
    incident: null,
    unit: null,
    urgency: 'urgent',
    language: 'es',
    interpreter: true,
    specialty: '',
    summary: 'He says that he hears his brother.',
};

export class ConsultTown {
    private constructor(
        readonly town: Town,
        readonly rosa: Person,
        readonly dr: Person,
        readonly second: Person,
    ) {}

    /** The first of the ladder is `dr`, the next `second`. */
    static async create(): Promise<ConsultTown> {
        const town = await Town.create();
        const rosa = await town.person('responder');
        const dr = await town.person('psychiatrist');
        const second = await town.person('psychiatrist');
        town.relay.onCall.ladder = [[dr.member], [second.member]];
        await town.rest(1);
        return new ConsultTown(town, rosa, dr, second);
    }

    get onCall() {
        return this.town.relay.onCall;
    }

    async stop(): Promise<void> {
        for (const person of [this.rosa, this.dr, this.second]) await person.engine.stop();
    }

    /** Rosa asked, and it rings at the first of the ladder, who can read it. */
    async asked(request: ConsultRequest = REQUEST): Promise<ConsultId> {
        const id = await this.rosa.engine.requestConsult(request);
        const ringing = () => viewOf(this.dr, id)?.ringing === true && viewOf(this.dr, id)?.opened === true;
        await this.town.until(ringing, 'the ring');
        return id;
    }

    /** The first of the ladder accepted, and nobody else of it is in the channel. */
    async accepted(request: ConsultRequest = REQUEST): Promise<{ id: ConsultId; channel: ChannelId }> {
        const id = await this.asked(request);
        await this.dr.engine.actOnConsult(id, 'accept');
        await this.town.until(() => viewOf(this.rosa, id)?.state === 'accepted', 'the news of it');
        await this.town.until(() => !this.rosterOf(id).includes(this.second.device), 'the others to leave');
        const channel = viewOf(this.rosa, id)?.channel;
        expect(channel).toBeTruthy();
        return { id, channel: channel as ChannelId };
    }

    /** Who can read it, by its newest signed roster. */
    rosterOf(id: ConsultId) {
        const channel = this.town.relay.channels.get(this.onCall.get(id).channel);
        return channel?.commits.at(-1)?.commit.roster.map(({ deviceId }) => deviceId) ?? [];
    }

    /** No request and no socket comes through any more. */
    cutOff(): void {
        this.town.relay.down = true;
        this.town.relay.closeAll(1006);
    }
}

export function viewOf(person: Person, id: ConsultId): ConsultView | undefined {
    return (
        person.of('consult').findLast(({ consult }) => consult.id === id)?.consult ??
        person.snapshot?.consults.find((one) => one.id === id)
    );
}

export function ringsOf(person: Person, id: string) {
    return person.of('ring').filter(({ consult }) => (consult as string) === id);
}
