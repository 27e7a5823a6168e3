/**
 * One enrolled device at work: link, directory, channels and outbox, joined.
 *
 * The link calls in from below, channels call in from what they read, sending from what became of a message. None of them
 * may wait, so what needs the network is a *chore* of `Lists`, worked off when someone says that the lists changed.
 * Everything ends with the life; what counts is on disk before.
 */
import type { Api, TokenSource } from '~/link/api';
import { Connection, type LinkStatus, type Push, type Sink, type VideoRefused } from '~/link/connection';
import { ApiError, Offline, Stopped } from '~/link/errors';
import type { Bytes } from '~/protocol/bytes';
import { placeOf, type Content, writeContent } from '~/protocol/bodies';
import { NOWHERE, type Position } from '~/protocol/follow';
import { address, type ChannelAddress, type ConsultId, idOf } from '~/protocol/ids';
import type { Batch, Online, Refused, Subscribed, VideoTold } from '~/protocol/messages';
import { Compartment, Lane, Mark, Urgency } from '~/protocol/words';
import { WireError } from '~/protocol/errors';
import { encodeBody } from '~/sealing/opening/body';
import type { DeviceKeys } from '~/sealing/opening/keys';
import { EPHEMERAL } from '~/sealing/public/entries';

import type {
    ChannelId,
    EngineEvent,
    Link,
    MessageId,
    PendingDevice,
    PrimaryStatus,
    Row,
    SecondaryStatus,
    UnitId,
} from '../engine';
import { type Clock, type Dialer, type Draft, type Random, Step, type Stores } from '../ports';
import { Alarms } from './alarms';
import { ConsentBook } from './consents';
import { Consults } from './consults';
import { Directories } from './directories';
import { Duty } from './duty';
import { ChannelAlarmed, EngineFailure, isExpected } from './errors';
import type { Home } from './home';
import type { Identity } from './identity';
import { Incidents } from './incidents';
import { Lists } from './lists';
import type { Life } from './life';
import { People } from './people';
import { readNotice } from './notices';
import { readAgain } from './reading';
import type { Composed, Host } from './room';
import { Rooms } from './rooms';
import { SaidBook } from './said';
import { Sending } from './sending';
import { Sounds } from './sounds';
import { pressingS } from './telling';
import { Uploads } from './uploads';
import { Upkeep } from './upkeep';
import { VideoWork } from './video';

const STALE_LOOK_MS = 10_000;
const SENT_WAIT_MS = 30_000;
const SENT_LOOK_MS = 100;
const SHOWN_URGENT = 500;

export interface Parts {
    readonly identity: Identity;
    readonly keys: DeviceKeys;
    readonly stores: Stores;
    readonly api: Api;
    readonly tokens: TokenSource;
    readonly dialer: Dialer;
    readonly clock: Clock;
    readonly random: Random;
    /** Of the page, and so of the server. */
    readonly origin: string;
    readonly life: Life;
    readonly put: (event: EngineEvent) => void;
    /** The server says not to come back. */
    readonly stopped: (code: number) => void;
    /** What this device may do, or who it is, may have changed. */
    readonly meChanged: () => void;
}

export class Work {
    readonly rooms: Rooms;
    readonly sending: Sending;
    readonly sounds: Sounds;
    readonly uploads: Uploads;
    readonly upkeep: Upkeep;
    readonly consults: Consults;
    readonly duty: Duty;
    readonly video: VideoWork;
    private readonly connection: Connection;
    private readonly lists: Lists;
    private link: Link;
    private fresh = false;
    private freshMs = 0;

    private constructor(
        readonly parts: Parts,
        readonly home: Home,
        readonly people: People,
        readonly incidents: Incidents,
        readonly alarms: Alarms,
        readonly said: SaidBook,
        readonly consents: ConsentBook,
        connect: (work: () => Work) => Connection,
    ) {
        const { life, stores, random, put, clock } = parts;
        this.connection = connect(() => this);
        this.lists = new Lists(this);
        this.sounds = new Sounds(life, put);
        this.uploads = new Uploads(
            home,
            put,
            (channel, content, how) => this.compose(channel, content, how),
            (channel) => this.rooms.find(channel)?.pages.teller ?? null,
        );
        this.link = { state: 'offline', sinceMs: clock.nowMs(), clockOffsetMs: 0, freshMs: 0 };
        const host: Host = {
            home,
            outbox: stores.outbox,
            people,
            incidents,
            repeats: this.sounds.repeats,
            uploads: this.uploads,
            me: parts.identity.member,
            put,
            subscribe: (log, position) => this.subscribe(log, position),
            compose: (channel, content, how) => this.compose(channel, content, how),
            nudge: (log) => this.sending.nudge(log),
            chore: () => this.chore(),
            soundsChanged: () => this.sounds.changed(),
            freshChanged: () => this.tellFresh(),
            incidentStirred: (id) => this.lists.incidentStirred(id),
            said,
            consents,
            committed: (id) => this.video.committed(id),
            roomChanged: (id, subject) => this.consults.roomChanged(id, subject),
        };
        this.rooms = new Rooms(host);
        this.upkeep = new Upkeep(this);
        this.consults = new Consults(this);
        this.duty = new Duty(this);
        this.video = new VideoWork(this);
        this.sending = new Sending(
            life,
            stores.outbox,
            (build) => this.connection.request(build),
            (log) => this.rooms.byLog(log),
            {
                accepted: async (draft, _generation, offset) => {
                    await this.rooms.byLog(draft.channel)?.pages.accepted(draft, offset);
                },
                refused: (draft) => this.tellDraft(draft),
                blocked: (log, why) => this.rooms.byLog(log)?.setBlocked(why),
            },
            random,
        );
    }

    /** From the local copy: everything can be read when this resolves; `start` begins what needs the network. */
    static async restore(parts: Parts): Promise<Work> {
        const { identity, keys, stores, api, clock, random, life, put } = parts;
        const { history } = stores;
        let connection: Connection | null = null as Connection | null;
        const nowMs = (): number => connection?.serverNowMs() ?? clock.nowMs();
        const alarms = await Alarms.restore(life, history, put, nowMs);
        const directories = await Directories.restore({
            rootPublic: identity.rootPublic,
            agency: identity.agency,
            member: identity.member,
            device: keys.deviceId,
            api,
            history,
            report: (alarm) => alarms.report(alarm),
        });
        const home: Home = {
            api,
            history,
            keys,
            directories,
            random,
            life,
            nowMs,
            report: (alarm) => {
                alarms.report(alarm);
                if (alarm.kind === 'ghost_device') work.chore();
            },
        };
        const people = await People.restore(history, put);
        const incidents = await Incidents.restore(history, put);
        const said = await SaidBook.restore(history);
        const consents = await ConsentBook.restore(history, (channel) => work.video.consentChanged(channel));
        const work = new Work(parts, home, people, incidents, alarms, said, consents, (late) => {
            const sink: Sink = {
                onOnline: () => late().online(),
                onOffline: () => late().offline(),
                onPush: (push) => late().push(push),
                onVideo: (told) => late().videoTold(told),
                onStatus: (status) => late().status(status),
            };
            const sign = (message: Bytes): Promise<Bytes> => keys.identity.signRaw(message);
            connection = new Connection(parts.dialer, parts.tokens, sign, sink, clock, random);
            return connection;
        });
        await work.rooms.restore();
        for (const { log, id } of await history.pressing()) {
            const room = work.rooms.byLog(log);
            const entry = room === null ? null : await history.message(log, id);
            // Nobody could acknowledge what stands in a channel that this device has left, or that is over.
            if (room === null || entry === null || room.info.archived) continue;
            const content = readAgain(entry).content;
            const everyS = content === null || content.type === 'unsupported' ? null : pressingS(content);
            work.sounds.repeats.press(room.id, id, clock.monotonicMs(), everyS ?? 0);
        }
        await work.uploads.restore();
        await work.consults.restore();
        return work;
    }

    start(): void {
        const { life } = this.parts;
        life.begin(() => this.stayConnected());
        life.begin(() => this.sounds.run());
        life.begin(() => this.lookForStale());
        this.lists.start();
        life.begin(() => this.upkeep.run());
        this.consults.start();
        this.uploads.start();
        this.sending.nudgeAll();
        life.onEnd(() => this.connection.stop());
        for (const channel of this.consents.channels()) this.video.consentChanged(channel);
    }

    // ---- looking

    get isOnline(): boolean {
        return this.link.state === 'online';
    }

    linkView(): Link {
        return this.link;
    }

    /** Rows that ask for an acknowledgement and have none, or sound here. */
    async urgentRows(): Promise<Row[]> {
        const rows: Row[] = [];
        for (const room of this.rooms.all()) rows.push(...(await room.urgentRows()));
        return rows.sort((a, b) => a.atMs - b.atMs).slice(-SHOWN_URGENT);
    }

    /** Every channel is caught up: nothing is missing here. */
    get allCaughtUp(): boolean {
        return this.rooms.all().every((room) => room.follow.caughtUp);
    }

    /** Devices that wait for approval, as far as this person may know. */
    get pending(): readonly PendingDevice[] {
        return this.lists.pending;
    }

    // ---- composing

    /** Put a content into the outbox: on disk when it resolves. */
    async compose(channel: ChannelId, content: Content, how: Composed = {}): Promise<MessageId> {
        const draft = this.draft(this.rooms.get(channel).chain.contentLog, content, how);
        await this.post([draft]);
        return draft.id;
    }

    /** Several at once: all are written down, or none. */
    async composeAll(all: readonly (readonly [ChannelId, Content, Composed?])[]): Promise<void> {
        await this.post(
            all.map(([channel, content, how]) =>
                this.draft(this.rooms.get(channel).chain.contentLog, content, how),
            ),
        );
    }

    /** Say something that nothing writes down, now or never: see `unwritten`. Rejects with why it could not be said. */
    async sayNow(channel: ChannelId, content: Content, how: Composed = {}): Promise<void> {
        await this.sending.now(this.draft(this.rooms.get(channel).chain.contentLog, content, how));
    }

    private async post(drafts: readonly Draft[]): Promise<void> {
        await this.parts.stores.outbox.add(drafts);
        for (const draft of drafts) {
            this.tellDraft(draft);
            this.sending.nudge(draft.channel);
        }
    }

    draft(log: ChannelAddress, content: Content, how: Composed = {}): Draft {
        const { keys, nowMs, random } = this.home;
        const id = how.id ?? idOf<MessageId>(random.bytes(16));
        const { type, data } = writeContent(content);
        const { lane, key } = placeOf(content, keys.deviceId);
        const madeMs = nowMs();
        const body = encodeBody({ type, tsMs: madeMs, msgId: id, seen: null, data });
        const urgency = how.urgency ?? Urgency.routine;
        return { channel: log, id, lane, key, body, madeMs, urgency, mark: how.mark ?? Mark.none };
    }

    /** Pass a value of the stream lane on, now or never. */
    async stream(channel: ChannelId, content: Content): Promise<void> {
        const room = this.rooms.get(channel);
        if (!this.isOnline) return;
        const draft = this.draft(room.chain.contentLog, content);
        try {
            const { frame } = await room.chain.sealNow(draft, EPHEMERAL);
            this.connection.send((req) => ({
                kind: 'publish',
                req,
                channel: draft.channel,
                lane: Lane.stream,
                key: draft.key,
                id: draft.id,
                payload: frame,
                urgency: Urgency.routine,
                mark: Mark.none,
            }));
        } catch (error) {
            if (!isExpected(error)) throw error;
        }
    }

    /** Which devices of a channel are connected. Rejects with `Offline`. */
    async who(channel: ChannelId): Promise<Online> {
        const log = this.rooms.get(channel).chain.contentLog;
        const reply = await this.connection.request((req) => ({ kind: 'who', req, channel: log }));
        if (reply.kind === 'online') return reply;
        throw new EngineFailure('not_found');
    }

    /** Fails with `blocked` where an alarm stops sending, with `not_permitted` where this device is not a member. */
    checkOpen(channel: ChannelId): void {
        const { stopped } = this.rooms.get(channel).chain;
        if (stopped !== '') throw new ChannelAlarmed(stopped);
    }

    /** Take back a message that waits or was refused. False: it may have been sent already. */
    async cancel(id: MessageId): Promise<boolean> {
        if (await this.uploads.cancel(id)) return true;
        const { outbox } = this.parts.stores;
        const waiting = await outbox.get(id);
        if (waiting === null || !(await outbox.cancel(id))) return false;
        const room = this.rooms.byLog(waiting.draft.channel);
        if (room !== null) this.parts.put({ kind: 'row_gone', channel: room.id, id });
        return true;
    }

    /** Say what a unit does, wherever this device can say it: in the unit's channel, or else in the desk's. */
    async setStatus(
        unit: UnitId,
        primary: PrimaryStatus,
        secondary: SecondaryStatus | null,
        note: string,
        mark: Mark,
    ): Promise<void> {
        const room = this.rooms.ofUnit(unit) ?? this.rooms.all().find(({ info }) => info.purpose === 'desk');
        if (room === undefined) throw new EngineFailure('not_found');
        const sinceMs = this.home.nowMs();
        const destination = '';
        const content = {
            type: 'status',
            unit,
            primary,
            secondary,
            sinceMs,
            note,
            destination,
            mark,
        } as const;
        await this.compose(room.id, content, { mark });
    }

    /**
     * Where this person's word of safety goes: their units' channels, and the operations of those units' incidents. Who is in no
     * unit is heard wherever people work: in every unit's, desk's and incident's channel that this device is in.
     */
    safetyChannels(): { readonly unit: UnitId | null; readonly channels: readonly ChannelId[] } {
        const units = this.people.unitsOf(this.parts.identity.member);
        const channels = new Set<ChannelId>();
        for (const unit of units) {
            const room = this.rooms.ofUnit(unit.id);
            if (room !== undefined) channels.add(room.id);
            for (const incident of this.incidents.ofUnit(unit.id)) {
                const { operations } = this.incidents.channelsOf(incident.id);
                if (operations !== null && this.rooms.find(operations) !== null) channels.add(operations);
            }
        }
        if (channels.size === 0) {
            for (const room of this.rooms.all()) {
                const { purpose, compartment, archived } = room.info;
                const works = purpose === 'unit' || purpose === 'desk' || purpose === 'incident';
                if (works && compartment === Compartment.operations && !archived) channels.add(room.id);
            }
        }
        return { unit: units[0]?.id ?? null, channels: [...channels] };
    }

    /** A person saw an alarm and decided to go on. Two signed branches stay a reason to stop. */
    async settleAlarm(seq: number): Promise<void> {
        const alarm = this.alarms.settle(seq);
        if (alarm === null) throw new EngineFailure('not_found');
        if (alarm.kind === 'ghost_device' && alarm.device !== null) {
            await this.home.directories.confirm(alarm.device);
        }
        for (const room of this.rooms.all()) {
            if (room.chain.stopped !== '') room.follow.lookAgain();
            room.tellView();
        }
        this.hurry();
        this.sending.nudgeAll();
    }

    /** Until the server has a message, or will not have it. Rejects with `Offline` after half a minute: it goes on waiting. */
    async untilSent(id: MessageId): Promise<void> {
        const { clock, life, stores } = this.parts;
        const untilMs = clock.monotonicMs() + SENT_WAIT_MS;
        for (;;) {
            const waiting = await stores.outbox.get(id);
            if (waiting === null || waiting.step >= Step.accepted) return;
            if (clock.monotonicMs() >= untilMs) throw new Offline();
            await life.sleep(SENT_LOOK_MS);
        }
    }

    private tellDraft(draft: Draft): void {
        const room = this.rooms.byLog(draft.channel);
        if (room === null) return;
        this.parts.life.begin(() => room.pages.tellWaiting(draft));
    }

    // ---- from the link

    private async stayConnected(): Promise<void> {
        try {
            await this.connection.run();
        } catch (error) {
            if (!(error instanceof Stopped)) throw error;
            if (!this.parts.life.ended) this.parts.stopped(error.code);
        }
    }

    private status(status: LinkStatus): void {
        this.link = {
            state: status.state === 'stopped' ? 'offline' : status.state,
            sinceMs: status.sinceMs,
            clockOffsetMs: this.connection.clockOffsetMs,
            freshMs: this.freshMs,
        };
        this.parts.put({ kind: 'link', link: this.link });
    }

    private online(): void {
        const { life } = this.parts;
        for (const log of [this.inboxLog, this.directoryLog]) {
            life.begin(async () => {
                const place = await this.home.history.place(log);
                await this.subscribe(log, place?.position ?? NOWHERE).catch(unlessOffline);
            });
        }
        this.rooms.setOnline(true);
        this.sending.setOnline(true);
        this.consults.online();
        this.chore();
    }

    private offline(): void {
        this.sending.setOnline(false);
        this.rooms.setOnline(false);
        this.fresh = false;
    }

    private push(push: Push): void {
        switch (push.kind) {
            case 'batch':
            case 'subscribed':
                this.route(push.channel, push);
                break;
            case 'beat':
                for (const { log, offset } of push.heads) this.route(log, { kind: 'head', offset });
                this.rooms.beaten(new Set(push.heads.map(({ log }) => log)));
                this.tellFresh();
                break;
            case 'live': {
                const room = this.rooms.byLog(push.channel);
                if (room !== null) room.life.begin(() => room.live(push));
                break;
            }
            case 'refused':
                this.chore();
                break;
        }
    }

    private videoTold(told: VideoTold | VideoRefused): void {
        this.video.heard(told);
    }

    /** Say something to the bridge of a consult's call, now or never. Throws `Offline`. */
    signal(consult: ConsultId, body: Bytes): void {
        this.connection.signal(consult, body);
    }

    private route(log: ChannelAddress, item: Batch | Subscribed | { kind: 'head'; offset: number }): void {
        const room = this.rooms.byLog(log);
        if (room !== null) room.follow.push(log, item);
        else if (log === this.directoryLog) this.parts.life.begin(() => this.takeDirectory(item));
        else if (log === this.inboxLog) this.parts.life.begin(() => this.takeNotice(item));
    }

    private async takeDirectory(item: Batch | Subscribed | { kind: 'head'; offset: number }): Promise<void> {
        const { history, directories } = this.home;
        if (item.kind === 'batch' && item.to > directories.own.seq) this.chore();
        if (item.kind === 'head' && item.offset > directories.own.seq) this.chore();
        if (item.kind !== 'subscribed') return;
        const generation = (await history.place(this.directoryLog))?.position.generation ?? 0;
        await this.keepPlace(this.directoryLog, { generation: item.generation, offset: item.head });
        if (item.generation !== generation && item.head < directories.own.seq) {
            await directories.restoreServer(item.head).catch(unlessApi);
        } else if (item.head > directories.own.seq) this.chore();
    }

    /** A notice only says that something changed; what, is read and verified at its own place. */
    private async takeNotice(item: Batch | Subscribed | { kind: 'head'; offset: number }): Promise<void> {
        if (item.kind === 'batch') {
            const generation = (await this.home.history.place(this.inboxLog))?.position.generation ?? 0;
            await this.keepPlace(this.inboxLog, { generation, offset: item.to });
            const notices = item.entries.map(({ payload, atMs }) => ({ notice: readNotice(payload), atMs }));
            for (const { notice, atMs } of notices) this.consults.noticed(notice, atMs);
            if (notices.some(({ notice }) => notice.kind === 'lists')) this.chore();
        } else if (item.kind === 'subscribed') {
            await this.keepPlace(this.inboxLog, { generation: item.generation, offset: item.head });
        }
    }

    private async keepPlace(log: ChannelAddress, position: Position): Promise<void> {
        await this.home.history.take(log, [], { position, floor: 0, seen: null });
    }

    private async subscribe(log: ChannelAddress, position: Position): Promise<Subscribed | Refused> {
        let reply;
        try {
            const { generation, offset } = position;
            reply = await this.connection.request((req) => ({
                kind: 'subscribe',
                req,
                channel: log,
                generation,
                offset,
            }));
        } catch (error) {
            if (!(error instanceof Offline) || !this.isOnline) throw error;
            // The link stands and nobody answered: no next session asks for us, so it is asked again on this one.
            return { kind: 'refused', req: 0, error: WireError.unavailable, head: 0, retryMs: 0, detail: '' };
        }
        if (reply.kind === 'subscribed' || reply.kind === 'refused') return reply;
        throw new Offline();
    }

    /** The network came back, or a person wants to go on. */
    hurry(): void {
        this.connection.hurry();
        this.chore();
    }

    /** Connect anew, since the token is another session's from now on. */
    again(): void {
        this.connection.again();
        this.chore();
    }

    // ---- what the server lists

    /** The directory or a list may have changed. */
    chore(): void {
        this.lists.chore();
    }

    /** Ask the server for the directory, the channels and the lists. Rejects with `ApiError`. */
    async refresh(): Promise<void> {
        await this.lists.refresh();
    }

    /** The directory and the lists are what the server has now. */
    refreshed(): void {
        this.fresh = true;
        this.parts.meChanged();
        this.tellFresh();
        this.upkeep.afterRefresh();
        this.sending.nudgeAll();
    }

    private tellFresh(): void {
        if (!this.fresh || !this.allCaughtUp || !this.isOnline) return;
        this.freshMs = this.parts.clock.nowMs();
        this.link = { ...this.link, freshMs: this.freshMs };
        this.parts.put({ kind: 'link', link: this.link });
    }

    private async lookForStale(): Promise<void> {
        for (;;) {
            await this.parts.life.sleep(STALE_LOOK_MS);
            const nowMs = this.home.nowMs();
            for (const room of this.rooms.all()) {
                for (const position of room.present.stale(nowMs))
                    this.parts.put({ kind: 'position', position });
            }
        }
    }

    private get directoryLog(): ChannelAddress {
        return address('directory', this.home.directories.agency);
    }

    private get inboxLog(): ChannelAddress {
        return address('inbox', this.home.keys.deviceId);
    }
}

function unlessOffline(error: unknown): void {
    if (!(error instanceof Offline)) throw error;
}

function unlessApi(error: unknown): void {
    if (!(error instanceof ApiError)) throw error;
}
