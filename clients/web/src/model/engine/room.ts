/**
 * One channel at work on this device: its chain and logs followed, and what they bring made into what screens show.
 *
 * The local store is written before anything is told. What is told is whole: a row, a status, a view. Of a row only what
 * changed is told again, so a channel of ten thousand rows costs what its newest ones do.
 */
import type { Bytes } from '~/protocol/bytes';
import { type ChannelAddress, type DeviceId, type MessageId, splitKey, type UnitId } from '~/protocol/ids';
import type { Live } from '~/protocol/messages';
import { Lane, type Mark, type Urgency } from '~/protocol/words';
import { SealingError } from '~/sealing/errors';

import { BodyError, type Content, type ContentOf, placeOf, readContent } from '~/protocol/bodies';
import type { ChannelId, ChannelView, EngineEvent, IncidentId, MemberId, Row } from '../engine';
import { type Draft, type Outbox, StoreFull, Verdict } from '../ports';
import { Answers, type Settles } from './answers';
import { NOBODY, straysOf } from './belonging';
import { Chain } from './chain';
import { ChannelFollow, type FollowListener, type Subscribe } from './follow';
import type { Home } from './home';
import type { Incidents } from './incidents';
import type { Life } from './life';
import { Pages } from './pages';
import { type People, same } from './people';
import { Present } from './present';
import type { RoomInfo } from './rooms';
import { contentOf, pressingS } from './telling';
import type { Uploads } from './uploads';
import { type Reading, readAgain } from './reading';
import type { SaidBook } from './said';
import type { ConsentBook } from './consents';
import type { SendingChannel } from './sending';
import { ReadMarks } from './read-marks';
import type { Repeats } from './urgent';
import { viewOf } from './channel-view';

/** An urgent message received later than this is shown, and does not sound. */
const URGENT_AGE_MS = 86_400_000;
/** Rows that come with a change of the incident's row at the server. */
const STIRRING: ReadonlySet<Row['kind']> = new Set(['assignment', 'timeline']);
const TOUCH_DELAY_MS = 200;
const TOUCHED_ROWS = 100;

/** What a room is given by the device that it is in. */
export interface Host {
    readonly home: Home;
    readonly outbox: Outbox;
    readonly people: People;
    readonly incidents: Incidents;
    readonly repeats: Repeats;
    readonly uploads: Uploads;
    readonly me: MemberId;
    readonly put: (event: EngineEvent) => void;
    readonly subscribe: Subscribe;
    readonly compose: Compose;
    /** A message may go out here now. */
    readonly nudge: (log: ChannelAddress) => void;
    /** The list of channels, or the directory, may have changed. */
    readonly chore: () => void;
    /** Something sounds from now on, or no longer. */
    readonly soundsChanged: () => void;
    /** A channel was caught up, or fell behind. */
    readonly freshChanged: () => void;
    /** The server's row of an incident may have moved. */
    readonly incidentStirred: (id: IncidentId) => void;
    /** What is asked in each consult's channel. */
    readonly said: SaidBook;
    /** What was agreed to in each consult's channel. */
    readonly consents: ConsentBook;
    /** A channel has a new epoch. */
    readonly committed: (id: ChannelId) => void;
    /** Who is in a channel, or what is said in it, changed. */
    readonly roomChanged: (id: ChannelId, subject: RoomInfo['subject']) => void;
}

/** Put a content into the outbox: on disk when it resolves. */
export type Compose = (channel: ChannelId, content: Content, how?: Composed) => Promise<MessageId>;
export interface Composed {
    readonly urgency?: Urgency;
    readonly mark?: Mark;
    readonly id?: MessageId;
}

export class Room implements FollowListener, SendingChannel {
    readonly pages: Pages;
    readonly present: Present;
    readonly answers: Answers;
    readonly marks: ReadMarks;
    blocked = '';
    /** Who is missing here, or too many, since the lists or the roster changed last. */
    strays = NOBODY;
    private last: Row | null = null;
    private touched: { after: number; upTo: number } | null = null;
    private telling = false;
    /** What cannot be written and must sound all the same, as it was told. */
    private readonly unwrittenNow = new Map<MessageId, Reading>();
    /** What a person here acknowledged and the log does not say yet. */
    private readonly hushed = new Set<MessageId>();

    private constructor(
        readonly id: ChannelId,
        public info: RoomInfo,
        private readonly host: Host,
        readonly life: Life,
        readonly chain: Chain,
        answers: Answers,
        marks: ReadMarks,
    ) {
        const { memberOf } = host.home.directories;
        this.present = new Present(id, memberOf);
        this.answers = answers;
        this.marks = marks;
        this.pages = new Pages(this, host);
    }

    /** From the local copy: read without a link, and followed from where it left off. */
    static async restore(info: RoomInfo, host: Host): Promise<Room> {
        const { home } = host;
        const life = home.life.child();
        let room: Room | null = null as Room | null;
        const chain = await Chain.restore(info.id, home, ({ commit }) => room?.committed(commit.hash));
        const answers = await Answers.restore(info.id, home);
        const marks = await ReadMarks.restore(info.id, () => held(room), host);
        room = new Room(info.id, info, host, life, chain, answers, marks);
        room.following = await ChannelFollow.restore(life, chain, home.history, host.subscribe, room);
        await room.recall();
        room.strays = straysOf(room, host);
        return room;
    }

    private following!: ChannelFollow;

    get follow(): ChannelFollow {
        return this.following;
    }

    /** Begin to follow. */
    start(): void {
        this.life.begin(() => this.follow.run());
    }

    /** This device is no longer in it. */
    leave(): void {
        this.life.end();
        this.host.repeats.relieveChannel(this.id);
    }

    // ---- for sending

    get epoch(): number {
        return this.chain.epoch;
    }

    get isNewest(): boolean {
        return this.follow.newest;
    }

    async sync(): Promise<void> {
        await this.chain.sync();
    }

    async sealNow(draft: Draft): Promise<{ readonly frame: Bytes; readonly epoch: number }> {
        return await this.chain.sealNow(draft);
    }

    /** Nothing goes out here for now; empty: it goes again. */
    setBlocked(why: string): void {
        if (this.blocked === why) return;
        this.blocked = why;
        this.tellView();
    }

    // ---- looking

    view(): ChannelView {
        return viewOf(this, this.last, this.host);
    }

    /** Tell the channel's view again; many changes of one moment are told once. */
    tellView(): void {
        this.host.put({ kind: 'channel', channel: this.view() });
        this.host.roomChanged(this.id, this.info.subject);
    }

    /** The lists or the directory changed: who is missing here may have, too. */
    listsChanged(): void {
        const before = this.strays;
        this.strays = straysOf(this, this.host);
        if (!same(before, this.strays)) this.tellView();
    }

    /** The server's word about this channel changed. */
    setInfo(info: RoomInfo): void {
        const changed = info.archived !== this.info.archived;
        this.info = info;
        if (!changed) return;
        this.tellView();
        if (info.archived) this.life.begin(() => this.calm());
    }

    /** What asks for an acknowledgement and has none, or sounds here. Nothing does where nobody can answer any more. */
    async urgentRows(): Promise<Row[]> {
        const rows: Row[] = [];
        for (const id of this.info.archived ? [] : this.urgentIds()) {
            const entry = await this.host.home.history.message(this.chain.contentLog, id);
            const row = entry === null ? null : this.pages.tell(readAgain(entry));
            if (row !== null) rows.push(row);
        }
        return rows;
    }

    private urgentIds(): ReadonlySet<MessageId> {
        return new Set([...this.answers.waiting, ...this.host.repeats.of(this.id)]);
    }

    /** The incident ended: nothing can be said here, so nothing here sounds or asks to be answered. */
    private async calm(): Promise<void> {
        const ids = this.urgentIds();
        this.host.repeats.relieveChannel(this.id);
        this.host.soundsChanged();
        await this.answers.stopAsking();
        for (const id of ids) {
            await this.host.home.history.relieve(this.chain.contentLog, id);
            await this.tellAgain(id);
        }
    }

    /** The screen forgot this channel's rows: those that it must show before anybody opens the channel come again. */
    private async beginAgain(): Promise<void> {
        this.host.put({ kind: 'reset', channel: this.id });
        for (const row of await this.urgentRows()) this.host.put({ kind: 'row', row });
    }

    /** Take up what an earlier run knew: values, what sounds, the newest row. */
    private async recall(): Promise<void> {
        const { history } = this.host.home;
        for (const entry of await history.state(this.chain.contentLog)) {
            if (entry.verdict === Verdict.opened && entry.value.length > 0)
                await this.take(readAgain(entry), true);
        }
        const { readings, rows, unread } = await this.pages.recent(this.marks.read);
        // What was stored in the last moment of a run that was cut off, and not taken to heart any more.
        for (const reading of readings) {
            const content = contentOf(reading);
            if (content?.type === 'acknowledged') {
                await this.acknowledged(content, reading.entry.device, reading.entry.atMs);
            } else await this.asks(reading);
        }
        this.last = rows.at(-1) ?? null;
        this.marks.setUnread(unread);
    }

    // ---- from following

    pressing(readings: readonly Reading[]): { id: MessageId; sinceMs: number }[] {
        return readings
            .filter((reading) => this.presses(reading))
            .map(({ entry }) => ({ id: entry.id, sinceMs: entry.atMs }));
    }

    unwritten(readings: readonly Reading[]): void {
        for (const reading of readings) {
            const content = contentOf(reading);
            if (content?.type === 'consult') this.life.begin(() => this.asked(content, reading.entry.device));
            if (!this.presses(reading)) continue;
            this.unwrittenNow.set(reading.entry.id, reading);
            this.press(reading);
            this.tellRow(reading);
        }
    }

    async readings(readings: readonly Reading[]): Promise<void> {
        for (const { entry } of readings) this.unwrittenNow.delete(entry.id);
        for (const reading of readings) await this.take(reading, false);
        if (
            readings.some(
                ({ entry }) => entry.lane === Lane.log && entry.device !== this.host.home.keys.deviceId,
            )
        ) {
            this.marks.soon();
        }
        this.tellView();
    }

    /** The channel's members or keys changed. */
    private committed(hash: string): void {
        this.strays = straysOf(this, this.host);
        this.host.committed(this.id);
        this.tellView();
        if (!this.follow.caughtUp) return;
        const row = this.pages.memberRows().find((one) => hash.startsWith(one.id));
        if (row !== undefined) this.host.put({ kind: 'row', row });
    }

    chained(): void {
        this.tellView();
    }

    async granted(): Promise<void> {
        // Rows that stood closed are told as they are now, and so are those of epochs that hold nothing new.
        await this.beginAgain();
    }

    async trimmed(): Promise<void> {
        await this.beginAgain();
    }

    async dropping(generation: number): Promise<void> {
        const { home, outbox } = this.host;
        const log = this.chain.contentLog;
        const own = (await home.history.state(log)).filter((entry) => entry.device === home.keys.deviceId);
        await outbox.reopen(log, generation, new Set(own.map((entry) => entry.key)));
    }

    async dropped(): Promise<void> {
        this.host.repeats.relieveChannel(this.id);
        this.host.soundsChanged();
        this.present.clear();
        this.pages.clear();
        await this.answers.clear();
        // Offsets begin again: what was read of the old history says nothing of the new one.
        await this.marks.clear();
        await this.host.consents.forget(this.id);
        this.last = null;
        this.host.put({ kind: 'reset', channel: this.id });
        this.host.nudge(this.chain.contentLog);
        this.tellView();
    }

    caughtUp(): void {
        this.marks.soon();
        this.host.freshChanged();
        this.tellView();
    }

    newest(): void {
        this.host.nudge(this.chain.contentLog);
    }

    lost(): void {
        this.host.chore();
    }

    /** A value of the stream lane; one that does not hold is dropped, the next will do. */
    async live(push: Live): Promise<void> {
        const { home } = this.host;
        if (push.device === home.keys.deviceId || push.payload.length === 0) return;
        let content;
        try {
            const body = await this.chain.openStream(push.device, push.payload);
            content = readContent(body.type, body.data);
        } catch (error) {
            if (error instanceof SealingError || error instanceof BodyError) return;
            throw error;
        }
        if (this.life.ended || content.type === 'unsupported') return;
        const place = placeOf(content, push.device);
        if (place.lane !== Lane.stream || place.key !== push.key) return;
        if (content.type === 'position') {
            const position = this.present.live(push.device, content.fix, push.atMs);
            if (position !== null) this.host.put({ kind: 'position', position });
        } else if (content.type === 'typing') {
            this.host.put({ kind: 'typing', channel: this.id, device: push.device, on: content.on });
        }
    }

    // ---- one entry

    private async take(reading: Reading, quiet: boolean): Promise<void> {
        const { entry } = reading;
        const content = contentOf(reading);
        if (content === null) {
            if (entry.lane === Lane.state && entry.verdict === Verdict.opened && entry.value.length === 0) {
                this.forgetValue(entry.key);
            }
            if (entry.lane === Lane.log && !quiet) await this.takeRow(reading);
            return;
        }
        switch (content.type) {
            case 'marks': {
                const change = this.answers.book.mark(entry.device, content);
                if (change !== null && !quiet) this.touch(change.after, change.upTo);
                break;
            }
            case 'acknowledged':
                await this.acknowledged(content, entry.device, entry.atMs);
                break;
            case 'status': {
                const status = this.present.status(content, entry.device, entry.atMs);
                if (!quiet) this.host.put({ kind: 'status', status });
                break;
            }
            case 'last_position': {
                const nowMs = this.host.home.nowMs();
                const position = this.present.kept(entry.device, content, entry.atMs, nowMs);
                if (!quiet) this.host.put({ kind: 'position', position });
                break;
            }
            case 'member_name':
                if (this.info.purpose === 'agency') this.host.people.named(content.member, content.name);
                break;
            case 'unit_name':
                if (this.info.purpose === 'agency') this.host.people.named(content.unit, content.name);
                break;
            case 'incident':
                // A description counts in the channel of its own incident alone.
                if (this.info.subject === (content.incident as string)) {
                    this.host.incidents.described(content.incident, content);
                }
                break;
            case 'consult':
                await this.asked(content, entry.device);
                await this.takeRow(reading);
                break;
            case 'consent':
            case 'consent_withdrawn':
                await this.consented(content, entry);
                await this.takeRow(reading);
                break;
            default:
                await this.takeRow(reading);
        }
    }

    private async consented(
        content: ContentOf<'consent'> | ContentOf<'consent_withdrawn'>,
        entry: Reading['entry'],
    ): Promise<void> {
        const { consents } = this.host;
        if (this.info.purpose !== 'consult') return;
        await this.life.untilWritten(() =>
            content.type === 'consent'
                ? consents.given(this.id, content, entry)
                : consents.withdrawn(this.id, content.consent, entry.atMs),
        );
    }

    /** What its creator asks for: nobody else's word, and no later one, counts as the request. */
    private async asked(content: ContentOf<'consult'>, device: DeviceId): Promise<void> {
        const { home, said } = this.host;
        const creator = this.chain.sealed.line.commits.get(0)?.committer;
        const member = home.directories.memberOf(device);
        if (this.info.purpose !== 'consult' || device !== creator || member === null) return;
        await this.life.untilWritten(
            () => said.take(this.id, content, member),
            () => this.tellView(),
        );
    }

    private async takeRow(reading: Reading): Promise<void> {
        const { entry } = reading;
        this.pages.arrived(entry.id);
        await this.asks(reading);
        if (this.presses(reading)) this.press(reading);
        const row = this.pages.tell(reading);
        if (row === null) return;
        if (this.info.purpose === 'incident' && this.follow.caughtUp && STIRRING.has(row.kind)) {
            this.host.incidentStirred(this.info.subject as IncidentId);
        }
        if (!row.mine) this.marks.arrived(entry.offset);
        if (this.last === null || row.offset >= this.last.offset) this.last = row;
        this.host.put({ kind: 'row', row });
    }

    private press(reading: Reading): void {
        const content = contentOf(reading);
        const everyS = content === null ? 0 : (pressingS(content) ?? 0);
        this.host.repeats.press(this.id, reading.entry.id, this.life.clock.monotonicMs(), everyS);
        this.host.soundsChanged();
    }

    /** A message that asks for an acknowledgement waits for one, while there can be one. */
    private async asks(reading: Reading): Promise<void> {
        const { id, device } = reading.entry;
        const content = contentOf(reading);
        if (content === null || pressingS(content) === null || this.info.archived) return;
        await this.answers.ask(id, this.settling(content, this.host.home.directories.memberOf(device)));
    }

    /** Whether it sounds here: another person's, addressed to this one, and not of yesterday (spec 10, "What sounds"). */
    private presses(reading: Reading): boolean {
        const { entry } = reading;
        const content = contentOf(reading);
        if (content === null || pressingS(content) === null || this.info.archived) return false;
        const { home, people, me } = this.host;
        const sender = home.directories.memberOf(entry.device);
        if (sender === me || this.hushed.has(entry.id)) return false;
        // One that could be opened only after it was answered.
        const settled = this.answers.isSettled(entry.id, this.settling(content, sender));
        if (settled && (content.type === 'check_in' || content.type === 'recommendation')) return false;
        if (content.type === 'assignment' && !people.concerns(content.unit, me)) return false;
        if (
            content.type !== 'recommendation' &&
            this.answers.book
                .acknowledgements(entry.id)
                .some(({ device }) => home.directories.memberOf(device) === me)
        ) {
            return false;
        }
        return home.nowMs() - entry.atMs <= URGENT_AGE_MS;
    }

    private async acknowledged(
        { message, readBack }: ContentOf<'acknowledged'>,
        device: DeviceId,
        atMs: number,
    ): Promise<void> {
        const { home, me } = this.host;
        if (device === home.keys.deviceId) this.hushed.delete(message);
        const entry = await home.history.message(this.chain.contentLog, message);
        const sender = entry === null ? null : home.directories.memberOf(entry.device);
        const reading = entry === null ? null : readAgain(entry);
        const content = reading === null ? null : contentOf(reading);
        const settles = this.settling(content, sender);
        const said = readBack === '' ? { device, atMs } : { device, atMs, readBack };
        if (!(await this.answers.acknowledge(message, said, settles))) return;
        const mine = home.directories.memberOf(device) === me;
        // One person, several devices: what they answered on one stops sounding on all. A check-in needs one answer of
        // anybody's but the sender's, a recommendation a read-back by those who asked.
        const ends =
            content?.type === 'recommendation'
                ? settles(said)
                : mine || (content?.type === 'check_in' && settles(said));
        if (ends) await this.life.untilWritten(() => this.relieve(message));
        if (reading !== null) this.tellRow(reading);
    }

    /** What settles a message: somebody else's acknowledgement; a recommendation, a read-back by the asking unit. */
    private settling(content: Content | null, sender: MemberId | null): Settles {
        const { memberOf } = this.host.home.directories;
        return ({ device, readBack = '' }) => {
            const by = memberOf(device);
            if (by === sender) return false;
            return content?.type !== 'recommendation' || (readBack !== '' && this.isOfAsking(by));
        };
    }

    /**
     * Whether a member is of the unit that asked for this channel's consult, and so reads back. Where the request cannot be
     * read here, anybody's counts: rather quiet too soon at one who only listens than a sound without end.
     */
    isOfAsking(member: MemberId | null): boolean {
        const { said, people } = this.host;
        const asker = said.of(this.id)?.member ?? null;
        if (member === null || asker === null || member === asker) return member !== null;
        return people.unitsOf(asker).some((unit) => unit.members.includes(member));
    }

    /** A message stops sounding here. */
    async relieve(message: MessageId): Promise<void> {
        this.host.repeats.relieve(message);
        this.host.soundsChanged();
        await this.host.home.history.relieve(this.chain.contentLog, message);
    }

    /** A person here acknowledged it: it is quiet from now on, also where that cannot be written yet. */
    async hush(message: MessageId, readBack = ''): Promise<void> {
        const entry = await this.host.home.history.message(this.chain.contentLog, message);
        const reading = entry === null ? this.unwrittenNow.get(message) : readAgain(entry);
        const content = reading === undefined ? null : contentOf(reading);
        // Only a read-back of those who asked ends a recommendation.
        if (content?.type === 'recommendation' && (readBack === '' || !this.isOfAsking(this.host.me))) {
            await this.tellAgain(message);
            return;
        }
        this.hushed.add(message);
        try {
            await this.relieve(message);
        } catch (error) {
            if (!(error instanceof StoreFull)) throw error;
            this.life.begin(() => this.life.untilWritten(() => this.relieve(message)));
        }
        await this.tellAgain(message);
    }

    /** Tell a row of the log again, by its id. */
    async tellAgain(message: MessageId): Promise<void> {
        const entry = await this.host.home.history.message(this.chain.contentLog, message);
        const reading = entry === null ? this.unwrittenNow.get(message) : readAgain(entry);
        if (reading !== undefined) this.tellRow(reading);
    }

    private tellRow(reading: Reading): void {
        const row = this.pages.tell(reading);
        if (row !== null) this.host.put({ kind: 'row', row });
    }

    /** The server deleted a value: what it said is on no screen any more. */
    private forgetValue(key: Reading['entry']['key']): void {
        const { people, incidents } = this.host;
        const name = splitKey(key);
        switch (name?.kind) {
            case 'position': {
                const device = name.owner as DeviceId;
                if (this.present.forgetPlace(device)) {
                    this.host.put({ kind: 'position_gone', channel: this.id, device });
                }
                break;
            }
            case 'status': {
                const unit = name.owner as UnitId;
                if (this.present.statuses.delete(unit)) {
                    this.host.put({ kind: 'status_gone', channel: this.id, unit });
                }
                break;
            }
            case 'name':
                if (this.info.purpose === 'agency') people.named(name.owner, null);
                break;
            case 'incident':
                if (this.info.subject === (name.owner as string)) {
                    incidents.described(name.owner as IncidentId, null);
                }
                break;
            default:
        }
    }

    // ---- rows whose progress moved

    /** Own rows of these offsets are told again, soon: marks come in bursts. */
    private touch(after: number, upTo: number): void {
        const { touched } = this;
        this.touched = {
            after: Math.min(after, touched?.after ?? after),
            upTo: Math.max(upTo, touched?.upTo ?? upTo),
        };
        if (this.telling) return;
        this.telling = true;
        this.life.later(() => this.life.begin(() => this.tellTouched()), TOUCH_DELAY_MS);
    }

    private async tellTouched(): Promise<void> {
        const { touched } = this;
        this.touched = null;
        this.telling = false;
        if (touched === null) return;
        const { home, me } = this.host;
        const log = this.chain.contentLog;
        for (const entry of await home.history.before(log, touched.upTo + 1, TOUCHED_ROWS)) {
            if (entry.offset <= touched.after || home.directories.memberOf(entry.device) !== me) continue;
            this.tellRow(readAgain(entry));
        }
    }
}

function held(room: Room | null): Room {
    if (room === null) throw new Error('the room is not whole yet');
    return room;
}
