/**
 * A server for tests, in memory: it stores and passes on what real clients sign and seal, and checks next to nothing.
 *
 * It keeps the rules that clients build on: one order a log, the first copy of a message stands, an id before an epoch, a
 * commit by compare-and-set. And it can do what a bad or unlucky server does: forget, lie, replay, and close.
 */
import {
    type Clock,
    type Dialer,
    type Http,
    type HttpAnswer,
    HttpFailed,
    type HttpRequest,
} from '~/link/ports';
import { type Bytes, fromBase64, NO_BYTES, toHex } from '~/protocol/bytes';
import { decodeClient, encode } from '~/protocol/codec';
import { WireError } from '~/protocol/errors';
import {
    address,
    type AgencyId,
    type ChannelAddress,
    type ChannelId,
    type DeviceId,
    idOf,
} from '~/protocol/ids';
import type { MemberId, MessageId, PageId } from '~/protocol/ids';
import { NO_KEY, SERVER_DEVICE } from '~/protocol/ids';
import type { Batch, ClientMessage, Entry, Publish, ServerMessage } from '~/protocol/messages';
import { unpack } from '~/protocol/pack';
import * as r from '~/protocol/resources';
import { Lane, type Role } from '~/protocol/words';
import { AuthorityKey } from '~/sealing/opening/authority';
import { SigningKey } from '~/sealing/opening/signing-key';
import { Directory } from '~/sealing/public/directory';
import {
    authorityIdOf,
    decodeSignedEntry,
    encodeSignedEntry,
    type Operation,
    parseEntry,
} from '~/sealing/public/entries';
import { parseFrame } from '~/sealing/public/frame';
import { certificateFor } from '~/model/engine/certificates';

import { bytes, type Device, json, msgpack, none, parsed, Refusal, signerOf } from './relay-answers';
import { type Channel, inRoster, RelayChannels } from './relay-channels';
import { RelayGuests } from './relay-guests';
import { RelaySessions } from './relay-sessions';
import { RelayOnCall } from './relay-on-call';

const DAY_MS = 86_400_000;
/** A JSON body: what is not text in it, nothing here reads. */
type Given = Readonly<Record<string, string>>;

interface Socket {
    readonly device: DeviceId;
    readonly subscribed: Set<ChannelAddress>;
    say(message: ServerMessage): void;
    close(code: number): void;
}

export class RelayDouble {
    generation = 1;
    /** Nouns of listings that the roles of this town may not see. */
    readonly forbidden = new Set<string>();
    /** No request and no socket comes through. */
    down = false;
    /** How often a socket was opened with a proof of its token. */
    hellos = 0;
    /** Called with each publish before it is stored; an error number refuses it, `lost` stores it and says nothing. */
    meddle: ((publish: Publish, device: DeviceId) => number | 'lost' | null) | null = null;
    /** Called with each new entry for each device that follows its log: what that device is told instead. */
    deceive: ((batch: Batch, device: DeviceId) => readonly Batch[]) | null = null;
    readonly published: Publish[] = [];
    readonly devices = new Map<DeviceId, Device>();
    readonly channels = new Map<ChannelId, Channel>();
    readonly rooms = new RelayChannels(this);
    readonly onCall = new RelayOnCall(this);
    readonly guests = new RelayGuests(this);
    readonly sessions = new RelaySessions(this);
    readonly units: Record<string, unknown>[] = [];
    readonly incidents = new Map<string, Record<string, unknown>>();
    readonly blobs = new Map<string, { sizeBytes: number; chunks: Map<number, Bytes> }>();
    private readonly members = new Map<MemberId, { roles: readonly Role[] }>();
    private readonly codes = new Map<string, MemberId>();
    private readonly logs = new Map<ChannelAddress, Entry[]>();
    private readonly heads = new Map<ChannelAddress, number>();
    private readonly sockets = new Set<Socket>();
    private counter = 0;

    private constructor(
        readonly clock: Clock,
        readonly rootPublic: Bytes,
        private readonly directory: Directory,
        private readonly authority: AuthorityKey,
    ) {}

    static async create(clock: Clock): Promise<RelayDouble> {
        const rootKey = await SigningKey.fromSeed(new Uint8Array(32).fill(1));
        const key = await SigningKey.fromSeed(new Uint8Array(32).fill(2));
        const directory = await Directory.of(rootKey.public);
        const root = await AuthorityKey.root(rootKey);
        const relay = new RelayDouble(clock, rootKey.public, directory, await AuthorityKey.of(key));
        const added: Operation = {
            op: 'ea+',
            authorityId: await authorityIdOf(key.public),
            public: key.public,
            notAfterMs: clock.nowMs() + 365 * DAY_MS,
            limits: null,
        };
        await relay.enter(root, added);
        return relay;
    }

    get nowMs(): number {
        return this.clock.nowMs();
    }

    rolesOf(member: MemberId): readonly Role[] {
        return this.members.get(member)?.roles ?? [];
    }

    get agency(): AgencyId {
        return this.directory.agencyId;
    }

    // ---- people

    /** A member and a one-time code for a device of theirs. */
    invite(roles: readonly Role[], member: MemberId = this.id()): { member: MemberId; code: string } {
        this.members.set(member, { roles });
        const code = `CODE-${++this.counter}-0000`;
        this.codes.set(code, member);
        return { member, code };
    }

    /** Sign a waiting device into the directory. */
    async approve(device: DeviceId): Promise<void> {
        const found = this.device(device);
        const roles = this.members.get(found.member)?.roles ?? [];
        const nowMs = this.clock.nowMs();
        const subject = { public: found.publicKey, member: found.member };
        await this.enter(this.authority, await certificateFor(subject, { roles, discipline: null }, nowMs));
    }

    /** Certify keys that no engine made, under a member's name. */
    async certifyStranger(member: MemberId): Promise<DeviceId> {
        const key = await SigningKey.create();
        const roles = this.members.get(member)?.roles ?? [];
        const added = await certificateFor(
            { public: key.public, member },
            { roles, discipline: null },
            this.clock.nowMs(),
        );
        await this.enter(this.authority, added);
        return added.deviceId;
    }

    async revoke(device: DeviceId): Promise<void> {
        this.device(device).state = 'revoked';
        const tsMs = this.clock.nowMs();
        await this.enter(this.authority, { op: 'dev-', deviceId: device, reason: 'lost', tsMs });
        this.closeAll(4200, device);
    }

    private async enter(by: AuthorityKey, operation: Operation): Promise<void> {
        const entry = await by.signEntry(this.directory, operation, this.clock.nowMs());
        await this.directory.apply(entry);
        this.append(address('directory', this.agency), encodeSignedEntry(entry));
        if (operation.op !== 'dev+') return;
        const device = this.devices.get(operation.deviceId);
        if (device !== undefined) device.state = 'active';
    }

    // ---- what a bad or unlucky server does

    head(log: ChannelAddress): number {
        return this.heads.get(log) ?? 0;
    }

    log(log: ChannelAddress): readonly Entry[] {
        return this.logs.get(log) ?? [];
    }

    /** Close sockets, of one device or all. */
    closeAll(code: number, device?: DeviceId): void {
        for (const socket of [...this.sockets]) {
            if (device === undefined || socket.device === device) socket.close(code);
        }
    }

    /** A restored backup: another generation, and what was behind `keep` of each log is lost. */
    restoreBackup(keep: (log: ChannelAddress, entry: Entry) => boolean): void {
        this.closeAll(4000);
        this.generation += 1;
        for (const [log, entries] of this.logs) {
            const kept = entries.filter((entry) => keep(log, entry));
            this.logs.set(log, kept);
            this.heads.set(log, kept.at(-1)?.offset ?? 0);
        }
    }

    /** Put an entry into a log by the server's hand, and push it. */
    append(log: ChannelAddress, payload: Bytes, change: Partial<Entry> = {}): Entry {
        const offset = (this.heads.get(log) ?? 0) + 1;
        const entry: Entry = {
            offset,
            lane: Lane.log,
            key: NO_KEY,
            device: SERVER_DEVICE,
            id: this.id(),
            atMs: this.clock.nowMs(),
            payload,
            urgency: 0,
            mark: 0,
            hash: NO_BYTES,
            ...change,
        };
        const entries = this.logs.get(log) ?? [];
        const standing = entry.lane === Lane.state ? entries.filter((one) => one.key !== entry.key) : entries;
        this.logs.set(log, [...standing, entry]);
        this.heads.set(log, offset);
        for (const socket of this.sockets) {
            if (!socket.subscribed.has(log)) continue;
            const batch: Batch = {
                kind: 'batch',
                channel: log,
                after: offset - 1,
                to: offset,
                entries: [entry],
            };
            for (const said of this.deceive?.(batch, socket.device) ?? [batch]) socket.say(said);
        }
        return entry;
    }

    // ---- the socket

    dialer(): Dialer {
        return {
            dial: (ears) => {
                let open = true;
                let socket: Socket | null = null;
                const close = (code: number): void => {
                    if (!open) return;
                    open = false;
                    if (socket !== null) this.sockets.delete(socket);
                    queueMicrotask(() => ears.closed(code));
                };
                const say = (message: ServerMessage): void => {
                    const data = encode(message);
                    queueMicrotask(() => open && ears.frame(data));
                };
                if (this.down) queueMicrotask(() => close(1006));
                else say({ kind: 'challenge', nonce: new Uint8Array(16), serverMs: this.clock.nowMs() });
                return {
                    unsentBytes: 0,
                    close: () => {
                        open = false;
                        if (socket !== null) this.sockets.delete(socket);
                    },
                    send: (data) => {
                        if (!open) return;
                        if (this.down) {
                            close(1006);
                            return;
                        }
                        const message = decodeClient(data);
                        if (message === null) return;
                        if (message.kind !== 'hello') {
                            if (socket !== null) this.hear(socket, message);
                            return;
                        }
                        const device = message.token.slice(2) as DeviceId;
                        if (this.devices.get(device)?.state !== 'active') {
                            close(4200);
                            return;
                        }
                        this.hellos += 1;
                        socket = { device, subscribed: new Set(), say, close };
                        this.sockets.add(socket);
                        say({
                            kind: 'welcome',
                            serverMs: this.clock.nowMs(),
                            tokenUntilMs: this.clock.nowMs() + 300_000,
                            beatS: 10,
                            generation: this.generation,
                            inFlightMessages: 64,
                            inFlightBytes: 262_144,
                        });
                    },
                };
            },
        };
    }

    /** A heartbeat to every socket, with the heads of its logs. */
    beat(): void {
        for (const socket of this.sockets) {
            const heads = [...socket.subscribed].map((log) => ({ log, offset: this.heads.get(log) ?? 0 }));
            socket.say({ kind: 'beat', serverMs: this.clock.nowMs(), heads, degraded: false });
        }
    }

    private hear(socket: Socket, message: ClientMessage): void {
        switch (message.kind) {
            case 'subscribe':
                this.subscribe(socket, message);
                break;
            case 'publish':
                this.publish(socket, message);
                break;
            case 'who': {
                const { req, channel } = message;
                const devices = [...this.sockets].map((one) => one.device);
                socket.say({
                    kind: 'online',
                    req,
                    channel,
                    asOfMs: this.clock.nowMs(),
                    stale: false,
                    devices,
                });
                break;
            }
            case 'renew':
                socket.say({ kind: 'renewed', req: message.req, tokenUntilMs: this.clock.nowMs() + 300_000 });
                break;
            default:
        }
    }

    private subscribe(socket: Socket, message: Extract<ClientMessage, { kind: 'subscribe' }>): void {
        const { req, channel: log, generation, offset } = message;
        if (!this.mayRead(socket.device, log)) {
            socket.say({ kind: 'refused', req, error: WireError.not_found, head: 0, retryMs: 0, detail: '' });
            return;
        }
        socket.subscribed.add(log);
        const head = this.heads.get(log) ?? 0;
        const reset = (generation !== 0 && generation !== this.generation) || offset > head;
        const status = reset ? 2 : 0;
        const floor = 0;
        socket.say({
            kind: 'subscribed',
            req,
            channel: log,
            status,
            generation: this.generation,
            head,
            floor,
        });
        const after = reset ? 0 : offset;
        const entries = (this.logs.get(log) ?? []).filter((entry) => entry.offset > after);
        if (head > after) socket.say({ kind: 'batch', channel: log, after, to: head, entries });
    }

    private publish(socket: Socket, message: Publish): void {
        const { req, channel: log, id, payload, lane, key, urgency, mark } = message;
        const refuse = (error: number, head = 0): void =>
            socket.say({ kind: 'refused', req, error, head, retryMs: 0, detail: '' });
        const { device } = socket;
        const channel = this.channels.get(log.slice(2) as ChannelId);
        if (lane === Lane.stream) {
            for (const other of this.sockets) {
                if (!other.subscribed.has(log)) continue;
                other.say({ kind: 'live', channel: log, key, device, atMs: this.clock.nowMs(), payload });
            }
            return;
        }
        this.published.push(message);
        if (channel === undefined || channel.archived) {
            refuse(WireError.not_found);
            return;
        }
        const { generation } = this;
        const standing = this.log(log).find((entry) => entry.id === id && entry.device === device);
        if (standing !== undefined) {
            const same = toHex(standing.payload) === toHex(payload);
            const repeat = same ? 1 : 2;
            socket.say({ kind: 'accepted', req, offset: standing.offset, generation, repeat });
            return;
        }
        const epoch = channel.commits.length - 1;
        if (parseFrame(payload).epoch !== epoch) {
            refuse(WireError.stale, epoch);
            return;
        }
        const meddled = this.meddle?.(message, device) ?? null;
        if (typeof meddled === 'number') {
            refuse(meddled);
            return;
        }
        const { offset } = this.append(log, payload, { lane, key, id, device, urgency, mark });
        if (meddled !== 'lost') socket.say({ kind: 'accepted', req, offset, generation, repeat: 0 });
    }

    /** Who is in a roster no more hears nothing of its logs from here on (spec 03, "Losing the right to a log"). */
    recheck(): void {
        for (const socket of this.sockets) {
            for (const log of socket.subscribed) {
                if (this.mayRead(socket.device, log)) continue;
                socket.subscribed.delete(log);
                const error = WireError.not_found;
                socket.say({ kind: 'refused', req: 0, error, head: 0, retryMs: 0, detail: '' });
            }
        }
    }

    private mayRead(device: DeviceId, log: ChannelAddress): boolean {
        const channel = this.channels.get(log.slice(2) as ChannelId);
        return channel === undefined || inRoster(channel, device);
    }

    // ---- HTTP

    http(): Http {
        return { exchange: (request) => this.exchange(request) };
    }

    private async exchange(request: HttpRequest): Promise<HttpAnswer> {
        if (this.down) throw new HttpFailed(false);
        try {
            return await this.answer(request);
        } catch (error) {
            if (!(error instanceof Refusal)) throw error;
            return error.answer();
        }
    }

    private async answer(request: HttpRequest): Promise<HttpAnswer> {
        const [path = '', query = ''] = request.path.split('?');
        const parameters = new URLSearchParams(query);
        const parts = path.split('/').slice(2);
        const body = request.body ?? NO_BYTES;
        const isJson = request.headers['content-type'] === 'application/json';
        const given = (isJson ? parsed(body) : {}) as Given;
        const device = (request.headers.authorization ?? '').slice('Bearer t:'.length) as DeviceId;
        switch (`${request.method} ${parts[0] ?? ''}`) {
            case 'GET server':
                return json({ version: '1', subprotocols: [], generation: 1, serverMs: this.clock.nowMs() });
            case 'POST enrolments':
                return this.redeem(given);
            case 'POST challenges':
                return json({ nonce: new Uint8Array(16), expiresMs: this.clock.nowMs() + 60_000 }, 201);
            case 'POST sessions':
                return this.sessions.answer(parts[1], given);
            case 'DELETE sessions':
                return none();
            case 'POST guests':
                return await this.guests.take(given);
        }
        const caller = this.device(device);
        if (caller.state !== 'active') throw new Refusal(WireError.revoked);
        return await this.managed(request.method, parts, given, body, parameters, caller);
    }

    private async managed(
        method: string,
        [noun = '', id = '', verb = '', index = '']: readonly string[],
        given: Given,
        body: Bytes,
        parameters: URLSearchParams,
        caller: Device,
    ): Promise<HttpAnswer> {
        if (method === 'GET' && this.forbidden.has(noun)) throw new Refusal(WireError.forbidden);
        switch (`${method} ${noun}${verb === '' ? '' : ` ${verb}`}`) {
            case 'GET agency':
                return this.sessions.agency();
            case 'PATCH agency':
                return this.sessions.changeAgency(given);
            case 'GET passkeys':
                return json({ items: this.sessions.passkeys });
            case 'DELETE passkeys':
                return this.sessions.deletePasskey(id);
            case 'GET me':
                return json(this.memberInfo(caller.member));
            case 'GET members':
                return json({ items: [...this.members.keys()].map((m) => this.memberInfo(m)), next: '' });
            case 'GET units':
                return json({ items: this.units, next: '' });
            case 'POST units': {
                const row = { ...given, id: this.id(), createdMs: 1, endedMs: 0, revision: 1 };
                this.units.push(row);
                return json(row, 201);
            }
            case 'GET incidents':
                if (id !== '') return json(this.incidents.get(id) ?? {});
                return json({ items: [...this.incidents.values()], next: '' });
            case 'PATCH incidents': {
                const row = { ...this.incidents.get(id), ...given };
                this.incidents.set(id, row);
                return json(row);
            }
            case 'POST incidents':
                return await this.openIncident(r.incidentPost.read(unpack(body)));
            case 'GET devices':
                if (id !== '') return json(this.info(this.device(id as DeviceId)));
                return json({ items: this.deviceInfos(parameters.get('state')), next: '' });
            case 'PUT devices key':
                caller.deviceKey = fromBase64(given.device_key ?? '');
                return json(this.info(caller));
            case 'GET directory': {
                const after = Number(parameters.get('after'));
                const entries = this.log(address('directory', this.agency)).slice(after);
                return msgpack(entries.map((entry) => entry.payload));
            }
            case 'POST directory':
                for (const data of r.directoryPost.read(unpack(body)).entries) await this.takeEntry(data);
                return none();
            case 'GET channels':
                return this.rooms.list(caller.id);
            case 'POST channels':
                return await this.rooms.create(r.channelPost.read(unpack(body)));
            case 'POST channels commits':
                return await this.rooms.commit(id as ChannelId, r.commitPost.read(unpack(body)));
            case 'GET channels boxes':
                return await this.rooms.boxes(id as ChannelId, parameters, caller.id);
            case 'POST channels grants':
                return this.rooms.grant(id as ChannelId, body);
            case 'POST channels blobs':
                return this.createBlob(given);
            case 'GET blobs':
                return json(this.blobInfo(id));
            case 'PUT blobs chunks':
                this.blobs.get(id)?.chunks.set(Number(index), body);
                return none();
            case 'GET blobs chunks':
                return bytes(this.blobs.get(id)?.chunks.get(Number(index)) ?? NO_BYTES);
            case 'GET logs':
                return this.page(id as ChannelAddress, Number(parameters.get('after')));
            case 'POST consults guests':
            case 'GET consults guests':
            case 'GET guests':
            case 'DELETE guests':
                return this.guests.answer(method, [noun, id], given, caller);
            default: {
                const parts = [noun, id, verb];
                const answer = await this.onCall.answer(method, parts, body, parameters, caller);
                if (answer === null) throw new Refusal(WireError.not_found);
                return answer;
            }
        }
    }

    private redeem(given: Given): HttpAnswer {
        const member = this.codes.get(given.code ?? '');
        if (member === undefined) throw new Refusal(WireError.not_found);
        this.codes.delete(given.code ?? '');
        const publicKey = fromBase64(given.public_key ?? '');
        const deviceKey = fromBase64(given.device_key ?? '');
        const id = toHex(signerOf(deviceKey)) as string as DeviceId;
        const createdMs = this.clock.nowMs();
        this.devices.set(id, { id, member, publicKey, deviceKey, state: 'pending', createdMs });
        const { agency, rootPublic: rootPub } = this;
        return json({ agency, member, device: id, shortCode: '', rootPub }, 201);
    }

    private async takeEntry(data: Bytes): Promise<void> {
        const entry = decodeSignedEntry(data);
        await this.directory.apply(entry);
        this.append(address('directory', this.agency), data);
        const { operation } = await parseEntry(entry.signed.payload);
        if (operation.op !== 'dev+') return;
        const device = this.devices.get(operation.deviceId);
        if (device !== undefined) device.state = 'active';
    }

    // ---- incidents and files

    private async openIncident(post: r.IncidentPost): Promise<HttpAnswer> {
        this.incidents.set(post.incident, {
            id: post.incident,
            priority: post.priority,
            state: 'open',
            units: post.units,
            createdMs: this.clock.nowMs(),
            closedMs: 0,
            revision: 1,
        });
        return await this.rooms.create(post.channel);
    }

    private page(log: ChannelAddress, after: number): HttpAnswer {
        const entries = this.log(log).filter((entry) => entry.offset > after);
        const to = Math.max(after, this.heads.get(log) ?? 0);
        return bytes(encode({ kind: 'batch', channel: log, after, to, entries }));
    }

    private createBlob(given: Given): HttpAnswer {
        const id = this.id<MessageId>();
        this.blobs.set(id, { sizeBytes: Number(given.size_bytes), chunks: new Map() });
        return json(this.blobInfo(id), 201);
    }

    private blobInfo(id: string): object {
        const blob = this.blobs.get(id);
        if (blob === undefined) throw new Refusal(WireError.not_found);
        const have = [...blob.chunks.keys()];
        const chunks = Math.ceil(blob.sizeBytes / 65_552);
        return { id, sizeBytes: blob.sizeBytes, chunkBytes: 65_552, chunks, have, complete: false };
    }

    private memberInfo(id: MemberId): object {
        const roles = this.members.get(id)?.roles ?? [];
        return { id, roles, discipline: null, login: '', createdMs: 0, endedMs: 0, revision: 1 };
    }

    private deviceInfos(state: string | null): object[] {
        return [...this.devices.values()]
            .filter((one) => state === null || one.state === state)
            .map((one) => this.info(one));
    }

    private info({ id, member, state, publicKey, deviceKey, createdMs }: Device): object {
        const rest = { label: 'browser', shortCode: '', createdMs, revokedMs: 0, revision: 1 };
        return { id, member, state, publicKey, deviceKey, ...rest };
    }

    device(id: DeviceId): Device {
        const device = this.devices.get(id);
        if (device === undefined) throw new Refusal(WireError.unauthenticated);
        return device;
    }

    /** A new id, of whatever kind. */
    // eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters -- the caller says whose id it is
    id<T extends MemberId | MessageId | PageId>(): T {
        const raw = new Uint8Array(16);
        new DataView(raw.buffer).setUint32(12, ++this.counter);
        return idOf<T>(raw);
    }
}
