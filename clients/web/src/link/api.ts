/**
 * The operations of a Leeside server over HTTP, typed: one method for each that this client uses (spec 02, "HTTP").
 *
 * What goes wrong is always an `ApiError` with a number of spec 90; a server that cannot be reached is `Unreachable`,
 * which is one too.
 *
 * Trying again: a request that never left this machine is tried again whatever it is. One that may have arrived is tried
 * again only when it is idempotent *and* the error says that the same request may succeed later, with full jitter,
 * and never sooner than the server asked. `refresh` is never repeated here: a refresh secret used twice ends the
 * session.
 */

import type { Clock, Http, HttpAnswer, HttpRequest, Random } from '~/link/ports';
import { HttpFailed } from '~/link/ports';
import { ApiError, Unreachable } from '~/link/errors';
import { type Bytes, utf8 } from '~/protocol/bytes';
import { readBatch } from '~/protocol/codec';
import { WireError } from '~/protocol/errors';
import type { Field } from '~/protocol/fields';
import type {
    BlobId,
    ChannelAddress,
    ChannelId,
    DeviceId,
    IncidentId,
    MemberId,
    PasskeyId,
    UnitId,
} from '~/protocol/ids';
import { jsonText, type Reads } from '~/protocol/json';
import type { Batch } from '~/protocol/messages';
import { Misfit, pack, unpack } from '~/protocol/pack';
import * as r from '~/protocol/resources';
import type { Discipline, IncidentState, PersonBy, Role } from '~/protocol/words';

/** How long one attempt may take, in all. */
export const DEADLINE_MS = 30_000;
export const ATTEMPTS = 4;
const BACKOFF_BASE_MS = 500;
const BACKOFF_CAP_MS = 8_000;
/** Largest answer that is read: 500 epochs with their box hashes for 200 devices stay well below. */
const ANSWER_BYTES = 16 * 1024 * 1024;
/** Pages that `every` follows before it gives up a server that never ends a listing. */
const PAGES = 2_000;

/** Where session tokens come from. */
export interface TokenSource {
    /** A token that should still be good; signs in or refreshes when there is none. Rejects with `ApiError`. */
    token(): Promise<string>;
    /** A newer token, because the server refused `stale` as expired. */
    renew(stale: string): Promise<string>;
}

/** A device's signature over a nonce. */
export interface SignIn {
    readonly device: DeviceId;
    readonly nonce: Bytes;
    readonly signature: Bytes;
}

type Format<T> =
    | { readonly as: 'json'; readonly reads: Reads<T> }
    | { readonly as: 'msgpack'; readonly reads: Reads<T> }
    | { readonly as: 'bytes'; readonly reads: (data: Bytes) => T };

/** One operation, ready to be carried out. */
export interface Call<T> {
    readonly method: HttpRequest['method'];
    readonly path: string;
    readonly query?: Readonly<Record<string, string | number>>;
    readonly body?: { readonly media: string; readonly data: Bytes };
    readonly answer: Format<T>;
    /** The status of success. */
    readonly status?: number;
    /** Nobody is asked who this is. */
    readonly open?: true;
    /** A POST that a server recognises when it comes twice: it carries its own ids or hashes, or changes nothing. */
    readonly repeatable?: true;
    readonly signal?: AbortSignal;
}

export const inJson = <T>(reads: Reads<T>): Format<T> => ({ as: 'json', reads });
export const inMsgpack = <T>(reads: Reads<T>): Format<T> => ({ as: 'msgpack', reads });
export const nothing: Format<undefined> = { as: 'bytes', reads: () => undefined };
export const jsonBody = (value: object) => ({ media: 'application/json', data: utf8(jsonText(value)) });
export const packedBody = <T>(of: Field<T>, value: T) => ({
    media: 'application/msgpack',
    data: pack(of.write(value)),
});

const raw: Format<Bytes> = { as: 'bytes', reads: (data) => data };
const paged = (after: string, limit: number) => (after === '' ? { limit } : { after, limit });

/** A server's HTTP half. `tokens` is null before there is a session: then only open operations work. */
export class Api {
    readonly #http: Http;
    readonly #clock: Clock;
    readonly #random: Random;
    readonly #tokens: TokenSource | null;

    constructor(http: Http, clock: Clock, random: Random, tokens: TokenSource | null = null) {
        this.#http = http;
        this.#clock = clock;
        this.#random = random;
        this.#tokens = tokens;
    }

    /** The same server, asked with these tokens. */
    with(tokens: TokenSource): Api {
        return new Api(this.#http, this.#clock, this.#random, tokens);
    }

    // ---- the server, enrolment, sessions

    server(): Promise<r.ServerInfo> {
        return this.call({ method: 'GET', path: '/v1/server', answer: inJson(r.serverInfo), open: true });
    }

    redeem(body: { code: string; publicKey: Bytes; proof: Bytes; deviceKey: Bytes }): Promise<r.Enrolled> {
        return this.#post('/v1/enrolments', body, r.enrolled, { open: true });
    }

    /** A code for a new device, for whom the agency's own sign-in knows. */
    enrolmentByTicket(ticket: string): Promise<r.EnrolmentCode> {
        return this.#post('/v1/oidc/enrolments', { ticket }, r.enrolmentCode, { open: true });
    }

    challenge(device: DeviceId): Promise<{ readonly nonce: Bytes }> {
        return this.#post('/v1/challenges', { device }, r.challengeAnswer, { open: true, repeatable: true });
    }

    /** `unauthenticated` with `person` where the device's key is not enough: then with a proof. */
    signIn(body: SignIn & { readonly person?: r.PersonProof }): Promise<r.SessionTokens> {
        return this.#post('/v1/sessions', body, r.sessionTokens, { open: true });
    }

    /** What shows the person, for this device and this nonce. */
    personOptions(body: SignIn): Promise<r.PersonOptions> {
        return this.call({
            method: 'POST',
            path: '/v1/sessions/options',
            body: jsonBody(body),
            answer: inJson(r.personOptions),
            open: true,
        });
    }

    refresh(refresh: string): Promise<r.SessionTokens> {
        return this.#post('/v1/sessions/refresh', { refresh }, r.sessionTokens, { open: true });
    }

    signOut(): Promise<undefined> {
        return this.call({ method: 'DELETE', path: '/v1/sessions/current', answer: nothing, status: 204 });
    }

    agency(): Promise<r.Agency> {
        return this.#get('/v1/agency', r.agency);
    }

    changeAgency(body: { revision: number; person?: PersonBy; personHours?: number }): Promise<r.Agency> {
        return this.#patch('/v1/agency', body, r.agency);
    }

    me(): Promise<r.Member> {
        return this.#get('/v1/me', r.member);
    }

    // ---- members and devices

    members(after = '', limit = 100): Promise<r.Page<r.Member>> {
        return this.#get('/v1/members', r.page(r.member), paged(after, limit));
    }

    member(id: MemberId): Promise<r.Member> {
        return this.#get(`/v1/members/${id}`, r.member);
    }

    createMember(body: { roles: readonly Role[]; discipline: Discipline | null }): Promise<r.Member> {
        return this.#post('/v1/members', body, r.member);
    }

    changeMember(
        id: MemberId,
        body: {
            revision: number;
            roles?: readonly Role[];
            discipline?: Discipline;
            ended?: boolean;
            languages?: readonly string[];
            specialties?: readonly string[];
            licences?: readonly string[];
            phone?: string;
        },
    ): Promise<r.Member> {
        return this.#patch(`/v1/members/${id}`, body, r.member);
    }

    /** `shiftUntilMs` above 0: for a shared device, which ends then. */
    createEnrolment(member: MemberId, label: string, shiftUntilMs = 0): Promise<r.EnrolmentCode> {
        const shift = shiftUntilMs > 0 ? { shift: true, untilMs: shiftUntilMs } : {};
        return this.#post(`/v1/members/${member}/enrolments`, { label, ...shift }, r.enrolmentCode);
    }

    /** Begin to register another passkey of one's own; the JSON that the browser is asked with. */
    async passkeyOptions(): Promise<string> {
        const { options } = await this.call({
            method: 'POST',
            path: '/v1/passkeys/options',
            answer: inJson(r.passkeyOptions),
        });
        return options;
    }

    /** `credential`: what the browser answered, as JSON. */
    addPasskey(credential: string): Promise<undefined> {
        return this.call({
            method: 'POST',
            path: '/v1/passkeys',
            body: jsonBody({ credential }),
            answer: nothing,
            status: 201,
        });
    }

    /** One's own. */
    async passkeys(): Promise<readonly r.Passkey[]> {
        return (await this.#get('/v1/passkeys', r.passkeys)).items;
    }

    /** `forbidden` where the agency asks for a passkey and this is the last. */
    deletePasskey(id: PasskeyId): Promise<undefined> {
        return this.call({ method: 'DELETE', path: `/v1/passkeys/${id}`, answer: nothing, status: 204 });
    }

    // ---- push

    /** What a subscription is bound to; empty: this server sends none. */
    async pushKey(): Promise<Bytes> {
        return (await this.#get('/v1/push/key', r.pushKey)).public;
    }

    putPush(body: { endpoint: string; p256dh: Bytes; auth: Bytes }): Promise<undefined> {
        return this.call({
            method: 'PUT',
            path: '/v1/push/subscription',
            body: jsonBody(body),
            answer: nothing,
            status: 204,
        });
    }

    deletePush(): Promise<undefined> {
        return this.call({ method: 'DELETE', path: '/v1/push/subscription', answer: nothing, status: 204 });
    }

    devices(after = '', limit = 100, state = ''): Promise<r.Page<r.DeviceInfo>> {
        const query = { ...paged(after, limit), ...(state === '' ? {} : { state }) };
        return this.#get('/v1/devices', r.page(r.deviceInfo), query);
    }

    device(id: DeviceId): Promise<r.DeviceInfo> {
        return this.#get(`/v1/devices/${id}`, r.deviceInfo);
    }

    revokeDevice(id: DeviceId): Promise<r.DeviceInfo> {
        return this.call({
            method: 'POST',
            path: `/v1/devices/${id}/revoke`,
            answer: inJson(r.deviceInfo),
            repeatable: true,
        });
    }

    putDeviceKey(deviceKey: Bytes): Promise<r.DeviceInfo> {
        return this.call({
            method: 'PUT',
            path: '/v1/devices/me/key',
            body: jsonBody({ deviceKey }),
            answer: inJson(r.deviceInfo),
        });
    }

    // ---- the directory

    /** Signed entries with a seq above `after`, in order, byte for byte; empty when there are none. */
    directory(after = 0, limit = 500): Promise<readonly Bytes[]> {
        return this.#packed('/v1/directory', r.listing(r.directoryEntry), { after, limit });
    }

    postDirectory(entries: readonly Bytes[]): Promise<undefined> {
        return this.#store('/v1/directory', packedBody(r.directoryPost, { entries }));
    }

    // ---- units and incidents

    units(after = '', limit = 100): Promise<r.Page<r.Unit>> {
        return this.#get('/v1/units', r.page(r.unit), paged(after, limit));
    }

    unit(id: UnitId): Promise<r.Unit> {
        return this.#get(`/v1/units/${id}`, r.unit);
    }

    createUnit(members: readonly MemberId[], lead: MemberId | null): Promise<r.Unit> {
        return this.#post('/v1/units', { members, lead }, r.unit);
    }

    changeUnit(
        id: UnitId,
        body: { revision: number; members?: readonly MemberId[]; lead?: MemberId; ended?: boolean },
    ): Promise<r.Unit> {
        return this.#patch(`/v1/units/${id}`, body, r.unit);
    }

    incidents(after = '', limit = 100): Promise<r.Page<r.Incident>> {
        return this.#get('/v1/incidents', r.page(r.incident), paged(after, limit));
    }

    incident(id: IncidentId): Promise<r.Incident> {
        return this.#get(`/v1/incidents/${id}`, r.incident);
    }

    openIncident(post: r.IncidentPost): Promise<r.CommitAnswer> {
        return this.#commit('/v1/incidents', packedBody(r.incidentPost, post));
    }

    changeIncident(
        id: IncidentId,
        body: { revision: number; priority?: number; state?: IncidentState; units?: readonly UnitId[] },
    ): Promise<r.Incident> {
        return this.#patch(`/v1/incidents/${id}`, body, r.incident);
    }

    // ---- channels and logs

    channels(after = '', limit = 100): Promise<r.Page<r.ChannelInfo>> {
        return this.#get('/v1/channels', r.page(r.channelInfo), paged(after, limit));
    }

    channel(id: ChannelId): Promise<r.ChannelInfo> {
        return this.#get(`/v1/channels/${id}`, r.channelInfo);
    }

    createChannel(post: r.ChannelPost): Promise<r.CommitAnswer> {
        return this.#commit('/v1/channels', packedBody(r.channelPost, post));
    }

    archiveChannel(id: ChannelId): Promise<r.ChannelInfo> {
        return this.call({
            method: 'POST',
            path: `/v1/channels/${id}/archive`,
            answer: inJson(r.channelInfo),
            repeatable: true,
        });
    }

    /** `conflict` (with the head epoch) when another commit won; `sealing_refused` when a rule is broken. */
    postCommit(channel: ChannelId, post: r.CommitPost): Promise<r.CommitAnswer> {
        return this.#commit(`/v1/channels/${channel}/commits`, packedBody(r.commitPost, post));
    }

    /** This device's boxes of epochs at or above `fromEpoch`. */
    boxes(channel: ChannelId, fromEpoch = 0, limit = 500): Promise<readonly r.EpochBoxes[]> {
        const query = { from_epoch: fromEpoch, limit };
        return this.#packed(`/v1/channels/${channel}/boxes`, r.listing(r.epochBoxes), query);
    }

    postGrant(channel: ChannelId, post: r.GrantPost): Promise<undefined> {
        return this.#store(`/v1/channels/${channel}/grants`, packedBody(r.grantPost, post));
    }

    postArchive(channel: ChannelId, post: r.ArchivePost): Promise<undefined> {
        return this.#store(`/v1/channels/${channel}/archives`, packedBody(r.archivePost, post));
    }

    /** A page of a log behind offset `after`; `to` of the batch is where the next page starts. */
    log(address: ChannelAddress, after = 0, limit = 500): Promise<Batch> {
        return this.call({
            method: 'GET',
            path: `/v1/logs/${address}`,
            query: { after, limit },
            answer: { as: 'bytes', reads: readBatch },
        });
    }

    // ---- attachments

    createBlob(channel: ChannelId, sizeBytes: number): Promise<r.Blob> {
        return this.#post(`/v1/channels/${channel}/blobs`, { sizeBytes }, r.blob);
    }

    blob(id: BlobId): Promise<r.Blob> {
        return this.#get(`/v1/blobs/${id}`, r.blob);
    }

    putChunk(id: BlobId, index: number, data: Bytes, signal?: AbortSignal): Promise<undefined> {
        return this.call({
            method: 'PUT',
            path: `/v1/blobs/${id}/chunks/${index}`,
            body: { media: 'application/octet-stream', data },
            answer: nothing,
            status: 204,
            ...(signal === undefined ? {} : { signal }),
        });
    }

    chunk(id: BlobId, index: number, signal?: AbortSignal): Promise<Bytes> {
        return this.call({
            method: 'GET',
            path: `/v1/blobs/${id}/chunks/${index}`,
            answer: raw,
            ...(signal === undefined ? {} : { signal }),
        });
    }

    // ---- how a call is made

    /** Carry one operation out; see the head of this file for what is tried again. */
    async call<T>(call: Call<T>): Promise<T> {
        const repeatable = call.repeatable === true || ['GET', 'PUT', 'DELETE'].includes(call.method);
        let token = await this.#token(call);
        let renewed = false;
        for (let attempt = 1; ;) {
            try {
                return await this.#attempt(call, token);
            } catch (error) {
                if (!(error instanceof ApiError)) throw error;
                if (error.number === WireError.token_expired && this.#tokens !== null && !renewed) {
                    // Refused before anything was done, so that even a POST may go again.
                    renewed = true;
                    token = await this.#tokens.renew(token);
                    continue;
                }
                const neverSent = error instanceof Unreachable && !error.sent;
                const may = neverSent || (repeatable && error.mayRetry);
                if (!may || attempt >= ATTEMPTS || error.retryMs > BACKOFF_CAP_MS) throw error;
                if (call.signal?.aborted === true) throw error;
                const mostMs = Math.min(BACKOFF_CAP_MS, BACKOFF_BASE_MS * 2 ** attempt);
                const waitMs = Math.max(this.#random.uniform(0, mostMs), error.retryMs);
                await new Promise<void>((resolve) => this.#clock.after(waitMs, resolve));
                attempt += 1;
            }
        }
    }

    #get<T>(
        path: string,
        reads: Reads<T>,
        query: Readonly<Record<string, string | number>> = {},
    ): Promise<T> {
        return this.call({ method: 'GET', path, query, answer: inJson(reads) });
    }

    #packed<T>(path: string, reads: Reads<T>, query: Readonly<Record<string, number>>): Promise<T> {
        return this.call({ method: 'GET', path, query, answer: inMsgpack(reads) });
    }

    #post<T>(
        path: string,
        body: object,
        reads: Reads<T>,
        how: { readonly open?: true; readonly repeatable?: true } = {},
    ): Promise<T> {
        return this.call({
            method: 'POST',
            path,
            body: jsonBody(body),
            answer: inJson(reads),
            status: 201,
            ...how,
        });
    }

    #patch<T>(path: string, body: object, reads: Reads<T>): Promise<T> {
        return this.call({ method: 'PATCH', path, body: jsonBody(body), answer: inJson(reads) });
    }

    #commit(path: string, body: NonNullable<Call<unknown>['body']>): Promise<r.CommitAnswer> {
        return this.call({
            method: 'POST',
            path,
            body,
            answer: inMsgpack(r.commitAnswer),
            status: 201,
            repeatable: true,
        });
    }

    #store(path: string, body: NonNullable<Call<unknown>['body']>): Promise<undefined> {
        return this.call({ method: 'POST', path, body, answer: nothing, status: 204 });
    }

    async #token(call: Call<unknown>): Promise<string> {
        if (call.open === true) return '';
        if (this.#tokens === null) throw new ApiError({ number: WireError.unauthenticated, told: false });
        return this.#tokens.token();
    }

    async #attempt<T>(call: Call<T>, token: string): Promise<T> {
        const query = new URLSearchParams(
            Object.entries(call.query ?? {}).map(([name, value]) => [name, String(value)]),
        ).toString();
        let answer: HttpAnswer;
        try {
            answer = await this.#http.exchange({
                method: call.method,
                path: query === '' ? call.path : `${call.path}?${query}`,
                headers: {
                    accept: call.answer.as === 'msgpack' ? 'application/msgpack' : 'application/json',
                    ...(call.body === undefined ? {} : { 'content-type': call.body.media }),
                    ...(token === '' ? {} : { authorization: `Bearer ${token}` }),
                },
                ...(call.body === undefined ? {} : { body: call.body.data }),
                timeoutMs: DEADLINE_MS,
                maxBytes: ANSWER_BYTES,
                ...(call.signal === undefined ? {} : { signal: call.signal }),
            });
        } catch (error) {
            throw error instanceof HttpFailed ? new Unreachable(error.sent) : error;
        }
        if (answer.status !== (call.status ?? 200)) throw refusal(answer);
        try {
            return read(call.answer, answer.body);
        } catch {
            // The parser's own words repeat input. Whatever it was: this version cannot read the answer.
            throw new ApiError({ number: WireError.unsupported, told: false });
        }
    }
}

function read<T>(format: Format<T>, body: Bytes): T {
    if (format.as === 'bytes') return format.reads(body);
    if (format.as === 'msgpack') return format.reads.read(unpack(body));
    return format.reads.read(JSON.parse(fromUtf8(body)));
}

function fromUtf8(data: Bytes): string {
    try {
        return new TextDecoder('utf-8', { fatal: true }).decode(data);
    } catch {
        throw new Misfit();
    }
}

/** All items of a listing, page after page: `every((after) => api.members(after))`. */
export async function every<T>(fetch: (after: string) => Promise<r.Page<T>>): Promise<readonly T[]> {
    const items: T[] = [];
    let after = '';
    for (let pages = 0; pages < PAGES; pages++) {
        const page = await fetch(after);
        items.push(...page.items);
        if (page.next === '' || page.next === after) return items;
        after = page.next;
    }
    throw new ApiError({ number: WireError.too_large, told: false });
}

/** The error that an answer tells of. A proxy's own page is judged by its status alone. */
function refusal(answer: HttpAnswer): ApiError {
    try {
        return new ApiError(r.errorAnswer.read(JSON.parse(fromUtf8(answer.body))));
    } catch {
        return new ApiError({
            number: numberOfStatus(answer.status),
            retryMs: retryAfterMs(answer.header('retry-after')),
            told: false,
        });
    }
}

const BY_STATUS = new Map<number, WireError>([
    [401, WireError.unauthenticated],
    [403, WireError.forbidden],
    [404, WireError.not_found],
    [413, WireError.too_large],
    [415, WireError.unsupported],
    [429, WireError.rate_limited],
    [507, WireError.storage_full],
]);

function numberOfStatus(status: number): number {
    return BY_STATUS.get(status) ?? (status >= 500 ? WireError.unavailable : WireError.unsupported);
}

function retryAfterMs(text: string | null): number {
    return text !== null && /^\d{1,6}$/.test(text) ? Number(text) * 1000 : 0;
}
