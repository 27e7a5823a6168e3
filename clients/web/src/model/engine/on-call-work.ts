/** On call, paging and the consult: each command handed to what holds its noun (spec 08). */
import type { OnCallApi } from '~/link/on-call-api';
import type { ChannelId, ConsultId, LadderId, MemberId, MessageId, PageId, RotaId } from '~/protocol/ids';
import type { Consult } from '~/protocol/oncall';

import type {
    ConsultAction,
    ConsultRequest,
    DutyView,
    FiguresView,
    GuestInvite,
    GuestRole,
    GuestView,
    LadderDraft,
    LadderView,
    OnCallCommands,
    OnCallView,
    PagePath,
    Phone,
    RotaDraft,
    RotaView,
    Skills,
    Span,
} from '../on-call';
import { ConsultTalk } from './consult-talk';
import { EngineFailure } from './errors';
import { cutsOf } from './figures';
import type { Work } from './work';

/** Consults that figures are counted from at most, in pages of a hundred. */
const FIGURE_PAGES = 50;

export class OnCallWork implements OnCallCommands {
    private readonly talk: ConsultTalk;

    constructor(private readonly work: Work) {
        this.talk = new ConsultTalk(work);
    }

    private get api(): OnCallApi {
        return this.work.consults.api;
    }

    // ---- consults

    requestConsult(request: ConsultRequest): Promise<ConsultId> {
        return this.work.consults.request(request);
    }

    sendAgain(consult: ConsultId): Promise<void> {
        return this.work.consults.asks.again(consult);
    }

    actOnConsult(consult: ConsultId, action: ConsultAction): Promise<void> {
        return this.work.consults.act(consult, action);
    }

    sawConsult(consult: ConsultId): Promise<void> {
        return this.work.consults.seen(consult);
    }

    recommend(channel: ChannelId, text: string): Promise<MessageId> {
        return this.talk.recommend(channel, text);
    }

    readBack(channel: ChannelId, recommendation: MessageId, text: string): Promise<void> {
        return this.talk.readBack(channel, recommendation, text);
    }

    openSide(consult: ConsultId, ground: 'consent' | 'break_glass', record: string): Promise<ChannelId> {
        return this.talk.openSide(consult, ground, record);
    }

    // ---- guests

    inviteGuest(consult: ConsultId, role: GuestRole): Promise<GuestInvite> {
        return this.work.consults.guests.invite(consult, role);
    }

    guests(consult: ConsultId): Promise<readonly GuestView[]> {
        return this.work.consults.guests.of(consult);
    }

    letGuestIn(consult: ConsultId, guest: MemberId): Promise<void> {
        return this.work.consults.guests.letIn(consult, guest);
    }

    endGuest(consult: ConsultId, guest: MemberId): Promise<void> {
        return this.work.consults.guests.end(consult, guest);
    }

    // ---- on call

    onCall(): Promise<OnCallView> {
        return this.work.duty.onCall();
    }

    phoneTree(): Promise<readonly Phone[]> {
        return Promise.resolve(this.work.consults.tree.phones);
    }

    duty(): Promise<DutyView> {
        return this.work.duty.duty();
    }

    setDuty(on: boolean, sound: boolean): Promise<DutyView> {
        return this.work.duty.set(on, sound);
    }

    testPage(): Promise<PageId> {
        return this.work.duty.testPage();
    }

    pagePaths(page: PageId): Promise<readonly PagePath[]> {
        return this.work.duty.paths(page);
    }

    // ---- rotas and ladders

    async rotas(): Promise<readonly RotaView[]> {
        return (await this.api.rotas()).filter(({ endedMs }) => endedMs === 0);
    }

    async schedule(rota: RotaId, fromMs: number, untilMs: number): Promise<readonly Span[]> {
        return (await this.api.schedule(rota, fromMs, untilMs)).spans;
    }

    async createRota(draft: RotaDraft): Promise<RotaId> {
        return (await this.api.createRota(draft)).id;
    }

    async changeRota(rota: RotaId, revision: number, change: Partial<RotaDraft>): Promise<void> {
        const { fallback, ...rest } = change;
        const falling = fallback === undefined ? {} : fallback === null ? { noFallback: true } : { fallback };
        await this.api.changeRota(rota, { revision, ...rest, ...falling });
    }

    async endRota(rota: RotaId, revision: number): Promise<void> {
        await this.api.changeRota(rota, { revision, ended: true });
    }

    async importCalendar(
        rota: RotaId,
        revision: number,
        ics: string,
        members: Readonly<Record<string, MemberId>>,
    ): Promise<void> {
        await this.api.importCalendar(rota, revision, ics, members);
    }

    async createFeed(rota: RotaId, mine: boolean): Promise<string> {
        return (await this.api.createFeed(rota, mine)).path;
    }

    async endFeeds(rota: RotaId): Promise<void> {
        await this.api.endFeeds(rota);
    }

    async ladders(): Promise<readonly LadderView[]> {
        return (await this.api.ladders()).filter(({ endedMs }) => endedMs === 0);
    }

    async createLadder(draft: LadderDraft): Promise<LadderId> {
        return (await this.api.createLadder(draft)).id;
    }

    async changeLadder(ladder: LadderId, revision: number, change: Partial<LadderDraft>): Promise<void> {
        await this.api.changeLadder(ladder, { revision, ...change });
    }

    async skills(member: MemberId): Promise<Skills> {
        const { languages, specialties, licences, phone, revision } = await this.work.home.api.member(member);
        return { languages, specialties, licences, phone, revision };
    }

    async setSkills(member: MemberId, skills: Skills): Promise<void> {
        await this.work.home.api.changeMember(member, skills);
    }

    // ---- figures

    async figures(fromMs: number, untilMs: number, zone: string): Promise<FiguresView> {
        if (untilMs <= fromMs) throw new EngineFailure('failed');
        const clear = await this.api.figures(fromMs, untilMs, zone);
        const within = (await this.consultsOf('active'))
            .concat(await this.consultsOf('ended'))
            .filter(({ requestedMs }) => requestedMs >= fromMs && requestedMs < untilMs);
        // One may have ended between the two listings.
        const rows = [...new Map(within.map((row) => [row.id, row])).values()];
        return { ...clear, ...cutsOf(rows, (id) => this.work.incidents.detailsOf(id)) };
    }

    figuresCsv(fromMs: number, untilMs: number, zone: string): Promise<string> {
        return this.api.figuresCsv(fromMs, untilMs, zone);
    }

    private async consultsOf(state: 'active' | 'ended'): Promise<Consult[]> {
        const found: Consult[] = [];
        for (let after = '', pages = 0; pages < FIGURE_PAGES; pages++) {
            const page = await this.api.consults(state, after);
            found.push(...page.items);
            if (page.next === '' || page.next === after) return found;
            after = page.next;
        }
        // A part would look like the whole.
        throw new EngineFailure('too_large');
    }
}
