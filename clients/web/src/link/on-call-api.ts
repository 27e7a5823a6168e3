/** The operations of a server about who is on call, paging and consults (spec 08); everything of `Api` holds here too. */
import { type Api, every, inJson, inMsgpack, jsonBody, nothing } from '~/link/api';
import type { Bytes } from '~/protocol/bytes';
import type { ChannelId, ConsultId, LadderId, MemberId, PageId, RotaId } from '~/protocol/ids';
import type { Reads } from '~/protocol/json';
import * as o from '~/protocol/oncall';
import { commitAnswer, type CommitAnswer, type Page } from '~/protocol/resources';
import type { ConsultAction } from '~/protocol/words';

type Json<R> = R extends Reads<infer T> ? T : never;
export type GuestRole = o.Guest['role'];
/** What a guest presents: see `guestPost` of sealing. */
export interface GuestPost {
    readonly code: string;
    readonly publicKey: Bytes;
    readonly hpkePublic: Bytes;
    readonly proof: Bytes;
    readonly mac: Bytes;
}
type Query = Readonly<Record<string, string | number>>;
/** A body in JSON: plain data by name. */
type Body = object;

const PAGE = 100;
const MEDIA = 'application/msgpack';

export class OnCallApi {
    constructor(private readonly api: Api) {}

    // ---- consults

    /** These very bytes, as often as it takes: the server knows its genesis again. */
    postConsult(data: Bytes, signal: AbortSignal): Promise<CommitAnswer> {
        return this.api.call({
            method: 'POST',
            path: '/v1/consults',
            body: { media: MEDIA, data },
            answer: inMsgpack(commitAnswer),
            status: 201,
            repeatable: true,
            signal,
        });
    }

    consult(id: ConsultId): Promise<o.Consult> {
        return this.get(`/v1/consults/${id}`, o.consult);
    }

    consults(state: 'active' | 'ended', after = ''): Promise<Page<o.Consult>> {
        return this.get('/v1/consults', o.consults, { state, ...paged(after) });
    }

    /** `already_accepted` to all but the first. A repeat of the winner gets the same answer. */
    act(id: ConsultId, kind: ConsultAction, side: ChannelId | null = null): Promise<o.Consult> {
        return this.api.call({
            method: 'POST',
            path: `/v1/consults/${id}/actions`,
            body: jsonBody(side === null ? { kind } : { kind, side }),
            answer: inJson(o.consult),
            repeatable: true,
        });
    }

    figures(fromMs: number, untilMs: number, zone: string): Promise<Json<typeof o.figures>> {
        return this.get('/v1/consults/figures', o.figures, { from_ms: fromMs, until_ms: untilMs, zone });
    }

    figuresCsv(fromMs: number, untilMs: number, zone: string): Promise<string> {
        return this.api.call({
            method: 'GET',
            path: '/v1/consults/figures.csv',
            query: { from_ms: fromMs, until_ms: untilMs, zone },
            answer: { as: 'bytes', reads: (data) => new TextDecoder('utf-8', { fatal: true }).decode(data) },
        });
    }

    // ---- guests

    createGuest(consult: ConsultId, role: GuestRole): Promise<Json<typeof o.guestLink>> {
        return this.write('POST', `/v1/consults/${consult}/guests`, { role }, o.guestLink, 201);
    }

    async guests(consult: ConsultId): Promise<readonly o.Guest[]> {
        return (await this.get(`/v1/consults/${consult}/guests`, o.guests)).items;
    }

    guest(id: MemberId): Promise<o.Guest> {
        return this.get(`/v1/guests/${id}`, o.guest);
    }

    /** Its link serves no more, and its device is refused at once. */
    endGuest(id: MemberId): Promise<undefined> {
        return this.api.call({ method: 'DELETE', path: `/v1/guests/${id}`, answer: nothing, status: 204 });
    }

    /** Come by a link with new keys; the very same request may be repeated. Nobody is asked who this is. */
    takeGuestLink(post: GuestPost): Promise<o.GuestTaken> {
        return this.api.call({
            method: 'POST',
            path: '/v1/guests',
            body: jsonBody(post),
            answer: inJson(o.guestTaken),
            status: 201,
            open: true,
            repeatable: true,
        });
    }

    // ---- paging

    /** A page came here over the socket, or was seen by a person. Its random id is the right to say so. */
    receipt(page: PageId, state: 'delivered' | 'seen'): Promise<undefined> {
        return this.api.call({
            method: 'POST',
            path: `/v1/pages/${page}/receipt`,
            body: jsonBody({ state, path: 'socket' }),
            answer: nothing,
            status: 204,
            repeatable: true,
        });
    }

    page(page: PageId): Promise<Json<typeof o.pageReceipts>> {
        return this.get(`/v1/pages/${page}`, o.pageReceipts);
    }

    duty(): Promise<Json<typeof o.duty>> {
        return this.get('/v1/oncall/me', o.duty);
    }

    putDuty(on: boolean, sound: boolean): Promise<Json<typeof o.duty>> {
        return this.write('PUT', '/v1/oncall/me', { on, sound }, o.duty, 200);
    }

    testPage(): Promise<Json<typeof o.testPage>> {
        return this.write('POST', '/v1/oncall/test', null, o.testPage, 201);
    }

    // ---- who is on call

    onCall(): Promise<Json<typeof o.onCall>> {
        return this.get('/v1/oncall', o.onCall);
    }

    rotas(): Promise<readonly o.Rota[]> {
        return every((after) => this.get('/v1/rotas', o.rotas, paged(after)));
    }

    createRota(draft: Body): Promise<o.Rota> {
        return this.write('POST', '/v1/rotas', draft, o.rota, 201);
    }

    changeRota(id: RotaId, change: Body): Promise<o.Rota> {
        return this.write('PATCH', `/v1/rotas/${id}`, change, o.rota, 200);
    }

    schedule(id: RotaId, fromMs: number, untilMs: number): Promise<Json<typeof o.schedule>> {
        return this.get(`/v1/rotas/${id}/schedule`, o.schedule, { from_ms: fromMs, until_ms: untilMs });
    }

    importCalendar(
        id: RotaId,
        revision: number,
        ics: string,
        members: Readonly<Record<string, MemberId>>,
    ): Promise<o.Rota> {
        // The names are the file's own words: they are no fields of ours, and stay as they are.
        const data = new TextEncoder().encode(JSON.stringify({ revision, ics, members }));
        return this.api.call({
            method: 'POST',
            path: `/v1/rotas/${id}/import`,
            body: { media: 'application/json', data },
            answer: inJson(o.rota),
        });
    }

    createFeed(id: RotaId, mine: boolean): Promise<Json<typeof o.feed>> {
        return this.write('POST', `/v1/rotas/${id}/feeds`, { mine }, o.feed, 201);
    }

    endFeeds(id: RotaId): Promise<undefined> {
        return this.api.call({
            method: 'DELETE',
            path: `/v1/rotas/${id}/feeds`,
            answer: nothing,
            status: 204,
        });
    }

    ladders(): Promise<readonly o.Ladder[]> {
        return every((after) => this.get('/v1/ladders', o.ladders, paged(after)));
    }

    createLadder(draft: Body): Promise<o.Ladder> {
        return this.write('POST', '/v1/ladders', draft, o.ladder, 201);
    }

    changeLadder(id: LadderId, change: Body): Promise<o.Ladder> {
        return this.write('PATCH', `/v1/ladders/${id}`, change, o.ladder, 200);
    }

    ladderRoster(id: LadderId = o.NO_LADDER): Promise<o.LadderRoster> {
        return this.get(`/v1/ladders/${id}/roster`, o.ladderRoster);
    }

    // ---- how

    private get<T>(path: string, reads: Reads<T>, query: Query = {}): Promise<T> {
        return this.api.call({ method: 'GET', path, query, answer: inJson(reads) });
    }

    private write<T>(
        method: 'POST' | 'PUT' | 'PATCH',
        path: string,
        body: Body | null,
        reads: Reads<T>,
        status: number,
    ): Promise<T> {
        return this.api.call({
            method,
            path,
            ...(body === null ? {} : { body: jsonBody(body) }),
            answer: inJson(reads),
            status,
        });
    }
}

const paged = (after: string): Query => (after === '' ? { limit: PAGE } : { after, limit: PAGE });
