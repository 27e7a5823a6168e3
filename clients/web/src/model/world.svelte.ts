/**
 * All that screens show, as signals: the engine's snapshot with its events applied. No screen keeps a copy.
 *
 * Fine-grained: each thing is replaced whole under its key, so that one position among a thousand repaints one line.
 * Events are gathered and applied together, once a frame, in the order in which they came; a burst of ten thousand
 * costs one repaint. Sounds do not wait for a frame: a hidden page has none.
 */

import { SvelteMap } from 'svelte/reactivity';
import { Clock } from './clock.svelte';
import type {
    AlarmView,
    ChannelId,
    ChannelView,
    DeviceId,
    Engine,
    EngineEvent,
    IncidentId,
    IncidentView,
    Link,
    MemberId,
    MemberView,
    MessageId,
    Me,
    PendingDevice,
    PositionView,
    Row,
    Snapshot,
    Standing,
    StatusView,
    StoreTrouble,
    UnitId,
    UnitView,
} from './engine';
import type { ConsentView } from './call/call';
import type { VideoWord } from './call/commands';
import type { ConsultId, ConsultView, DutyView, GuestView, OnCallEvent, OnCallView } from './on-call';
import { RowWindow } from './row-window.svelte';
import { OVER_MS } from './typing';

/** Runs `work` when the page paints next (or soon, while it is hidden). */
export type Frame = (work: () => void) => void;

/** A sound that is due: whoever plays it looks the row up. */
export interface Sound {
    readonly channel: ChannelId;
    readonly id: MessageId;
    readonly times: number;
}

/** What the bridge of a call says, or that a signal did not reach it. */

/** A consult rings, or its alarm is up: make a noise now. */
export type Ring = Extract<OnCallEvent, { readonly kind: 'ring' }>;

export type UrgentRow = Extract<
    Row,
    { readonly kind: 'text' | 'assignment' | 'check_in' | 'duress' | 'recommendation' }
>;

/** Rows that wait for an acknowledgement, kept at most; the oldest routine ones would go first, and there are none. */
const MOST_URGENT = 500;

/** Asks for an acknowledgement by what it is, whether or not it has one. */
export function isUrgent(row: Row): row is UrgentRow {
    switch (row.kind) {
        case 'text':
            return row.urgency === 'urgent';
        case 'assignment':
        case 'check_in':
        case 'duress':
        case 'recommendation':
            return true;
        default:
            return false;
    }
}

type Reading = Pick<Engine, 'history'>;

export class World {
    standing = $state.raw<Standing>({ kind: 'new' });
    link = $state.raw<Link>({ state: 'connecting', sinceMs: 0, clockOffsetMs: 0, freshMs: 0 });
    store = $state.raw<StoreTrouble>('none');
    /** A snapshot was applied: before it, nothing may be said about what there is. */
    ready = $state.raw(false);
    pending = $state.raw<readonly PendingDevice[]>([]);

    readonly members = new SvelteMap<MemberId, MemberView>();
    readonly units = new SvelteMap<UnitId, UnitView>();
    readonly channels = new SvelteMap<ChannelId, ChannelView>();
    readonly incidents = new SvelteMap<IncidentId, IncidentView>();
    readonly statuses = new SvelteMap<UnitId, StatusView>();
    /** One a device: the newest of all channels. */
    readonly positions = new SvelteMap<DeviceId, PositionView>();
    readonly alarms = new SvelteMap<number, AlarmView>();
    readonly consults = new SvelteMap<ConsultId, ConsultView>();
    /** The newest consent of consults' channels. */
    readonly consents = new SvelteMap<ChannelId, ConsentView>();
    /** Of consults whose guests somebody asked for. */
    readonly guests = new SvelteMap<ConsultId, readonly GuestView[]>();
    /** Who is on call now; null: not asked for yet. */
    onCall = $state.raw<OnCallView | null>(null);
    duty = $state.raw<DutyView | null>(null);
    /** When devices last said that somebody writes there, by channel. See `writers`. */
    readonly typing = new SvelteMap<ChannelId, ReadonlyMap<DeviceId, number>>();
    /** Urgent rows without any acknowledgement, of all channels. */
    readonly urgent = new SvelteMap<MessageId, UrgentRow>();
    /** Urgent rows that sound here, since nobody of this member acknowledged, whoever else did. */
    readonly sounding = new SvelteMap<MessageId, UrgentRow>();
    /** When a member was last heard of, by anything that they wrote, set or shared. */
    readonly heard = new SvelteMap<MemberId, number>();

    readonly clock: Clock;
    readonly #engine: Reading;
    readonly #frame: Frame;
    readonly #windows = new Map<ChannelId, { readonly window: RowWindow; users: number }>();
    readonly #listeners = new Set<(sound: Sound) => void>();
    readonly #ringers = new Set<(ring: Ring) => void>();
    readonly #callers = new Set<(word: VideoWord) => void>();
    #queue: EngineEvent[] = [];

    constructor(engine: Reading, frame: Frame = (work) => queueMicrotask(work), clock = new Clock()) {
        this.#engine = engine;
        this.#frame = frame;
        this.clock = clock;
    }

    /** Who this device is, once it is active. */
    get me(): Me | null {
        return this.standing.kind === 'active' ? this.standing.me : null;
    }

    /** Begin from here, whatever was shown before. */
    load(snapshot: Snapshot): void {
        this.standing = snapshot.standing;
        this.store = snapshot.store;
        this.pending = snapshot.pending;
        this.#linked(snapshot.link);
        refill(this.members, snapshot.members, (x) => x.id);
        refill(this.units, snapshot.units, (x) => x.id);
        refill(this.channels, snapshot.channels, (x) => x.id);
        refill(this.incidents, snapshot.incidents, (x) => x.id);
        refill(this.alarms, snapshot.alarms, (x) => x.seq);
        refill(this.consults, snapshot.consults, (x) => x.id);
        const urgent = snapshot.urgent.filter(isUrgent).filter((row) => !this.#isOver(row.channel));
        const unanswered = urgent.filter((x) => x.progress.acknowledged.length === 0);
        refill(this.urgent, unanswered, (x) => x.id);
        const sounding = urgent.filter((x) => x.progress.sounding);
        refill(this.sounding, sounding, (x) => x.id);
        this.statuses.clear();
        this.positions.clear();
        this.heard.clear();
        this.typing.clear();
        for (const status of snapshot.statuses) this.#status(status);
        for (const position of snapshot.positions) this.#position(position);
        for (const row of urgent) this.#hear(row.member, row.atMs);
        for (const { window } of this.#windows.values()) {
            window.reset();
            void window.older();
        }
        this.ready = true;
    }

    /** What `Engine.start` calls with every batch. */
    receive(events: readonly EngineEvent[]): void {
        for (const event of events) {
            if (event.kind === 'sound') {
                for (const listen of this.#listeners) listen(event);
            } else if (event.kind === 'ring') {
                for (const listen of this.#ringers) listen(event);
            } else if (event.kind === 'video' || event.kind === 'video_refused') {
                for (const listen of this.#callers) listen(event);
            }
        }
        if (this.#queue.length === 0) this.#frame(() => this.#flush());
        this.#queue.push(...events);
    }

    /** Hear of sounds at once; gives what stops it. */
    onSound(listen: (sound: Sound) => void): () => void {
        this.#listeners.add(listen);
        return () => this.#listeners.delete(listen);
    }

    /** Hear of rings at once, as of sounds. */
    onRing(listen: (ring: Ring) => void): () => void {
        this.#ringers.add(listen);
        return () => this.#ringers.delete(listen);
    }

    /** Hear of calls at once, as of sounds: a path does not wait for a frame. */
    onVideo(listen: (word: VideoWord) => void): () => void {
        this.#callers.add(listen);
        return () => this.#callers.delete(listen);
    }

    /** The rows of a channel, shared by all who look at it; `closeChannel` once for each call. */
    openChannel(id: ChannelId): RowWindow {
        const open = this.#windows.get(id);
        if (open !== undefined) {
            open.users += 1;
            return open.window;
        }
        const window = new RowWindow(id, (...asked) => this.#engine.history(...asked));
        this.#windows.set(id, { window, users: 1 });
        void window.older();
        return window;
    }

    closeChannel(id: ChannelId): void {
        const open = this.#windows.get(id);
        if (open === undefined) return;
        open.users -= 1;
        if (open.users <= 0) this.#windows.delete(id);
    }

    memberName(id: MemberId | null): string {
        if (id === null) return '';
        return this.members.get(id)?.name ?? id.slice(0, 8);
    }

    unitName(id: UnitId): string {
        return this.units.get(id)?.name ?? id.slice(0, 8);
    }

    #flush(): void {
        const events = this.#queue;
        this.#queue = [];
        const rows = new Map<ChannelId, Row[]>();
        /** A reset or a removal stands in order with rows: what came before it is applied first. */
        const settle = (channel: ChannelId): void => {
            const waiting = rows.get(channel);
            rows.delete(channel);
            if (waiting !== undefined) this.#windows.get(channel)?.window.apply(waiting);
        };
        for (const event of events) {
            switch (event.kind) {
                case 'row': {
                    const { row } = event;
                    this.#row(row);
                    const waiting = rows.get(row.channel);
                    if (waiting === undefined) rows.set(row.channel, [row]);
                    else waiting.push(row);
                    break;
                }
                case 'row_gone':
                    settle(event.channel);
                    this.urgent.delete(event.id);
                    this.sounding.delete(event.id);
                    this.#windows.get(event.channel)?.window.remove(event.id);
                    break;
                case 'reset':
                    settle(event.channel);
                    this.#reset(event.channel);
                    break;
                case 'channel_gone':
                    settle(event.channel);
                    this.#gone(event.channel);
                    break;
                default:
                    this.#apply(event);
            }
        }
        for (const channel of [...rows.keys()]) settle(channel);
    }

    #apply(
        event: Exclude<EngineEvent, { readonly kind: 'row' | 'row_gone' | 'reset' | 'channel_gone' }>,
    ): void {
        switch (event.kind) {
            case 'standing':
                this.standing = event.standing;
                if (event.standing.kind === 'ended') this.#forget();
                break;
            case 'link':
                this.#linked(event.link);
                break;
            case 'store':
                this.store = event.store;
                break;
            case 'member':
                this.members.set(event.member.id, event.member);
                break;
            case 'unit':
                this.units.set(event.unit.id, event.unit);
                break;
            case 'channel':
                this.channels.set(event.channel.id, event.channel);
                // Nobody can answer there any more.
                if (event.channel.archived) this.#calm(event.channel.id);
                break;
            case 'status':
                this.#status(event.status);
                break;
            case 'status_gone':
                if (this.statuses.get(event.unit)?.channel === event.channel)
                    this.statuses.delete(event.unit);
                break;
            case 'position':
                this.#position(event.position);
                break;
            case 'position_gone':
                if (this.positions.get(event.device)?.channel === event.channel) {
                    this.positions.delete(event.device);
                }
                break;
            case 'typing':
                this.#typing(event.channel, event.device, event.on);
                break;
            case 'incident':
                this.incidents.set(event.incident.id, event.incident);
                break;
            case 'alarm':
                this.alarms.set(event.alarm.seq, event.alarm);
                break;
            case 'pending':
                this.pending = event.pending;
                break;
            case 'consult':
                this.consults.set(event.consult.id, event.consult);
                break;
            case 'consult_gone':
                this.consults.delete(event.consult);
                this.guests.delete(event.consult);
                break;
            case 'guests':
                this.guests.set(event.consult, event.guests);
                break;
            case 'on_call':
                this.onCall = event.onCall;
                break;
            case 'duty':
                this.duty = event.duty;
                break;
            case 'consent':
                if (event.consent === null) this.consents.delete(event.channel);
                else this.consents.set(event.channel, event.consent);
                break;
            case 'ring':
            case 'sound':
            case 'video':
            case 'video_refused':
                break;
            default:
                event satisfies never;
        }
    }

    #linked(link: Link): void {
        this.link = link;
        this.clock.correct(link.clockOffsetMs);
    }

    #row(row: Row): void {
        this.#hear(row.member, row.atMs);
        if (!isUrgent(row) || this.#isOver(row.channel)) return;
        if (row.progress.sounding) this.sounding.set(row.id, row);
        else this.sounding.delete(row.id);
        if (row.progress.acknowledged.length > 0) {
            this.urgent.delete(row.id);
            return;
        }
        this.urgent.set(row.id, row);
        if (this.urgent.size > MOST_URGENT) {
            const oldest = [...this.urgent.values()].find((x) => x.kind !== 'duress');
            if (oldest !== undefined) this.urgent.delete(oldest.id);
        }
    }

    #status(status: StatusView): void {
        const known = this.statuses.get(status.unit);
        if (known !== undefined && known.atMs > status.atMs) return;
        this.statuses.set(status.unit, status);
        const member = this.#memberOf(status.device, status.channel);
        this.#hear(member, status.atMs);
    }

    #position(position: PositionView): void {
        const known = this.positions.get(position.device);
        // A device may share in its unit's channel and in an incident's: the newest place counts, wherever it stands.
        if (known !== undefined && known.channel !== position.channel && known.atMs > position.atMs) return;
        this.positions.set(position.device, position);
        if (position.live) this.#hear(position.member, position.atMs);
    }

    /** Who writes in a channel now. */
    writers(channel: ChannelId): readonly DeviceId[] {
        const saidMs = this.typing.get(channel) ?? new Map<DeviceId, number>();
        return [...saidMs].filter(([, ms]) => this.clock.nowMs - ms < OVER_MS).map(([device]) => device);
    }

    #typing(channel: ChannelId, device: DeviceId, on: boolean): void {
        const now = new Map(this.typing.get(channel));
        if (on) now.set(device, this.clock.nowMs);
        else now.delete(device);
        if (now.size > 0) this.typing.set(channel, now);
        else this.typing.delete(channel);
    }

    #reset(channel: ChannelId): void {
        this.#calm(channel);
        const window = this.#windows.get(channel)?.window;
        window?.reset();
        void window?.older();
    }

    #gone(channel: ChannelId): void {
        this.channels.delete(channel);
        this.typing.delete(channel);
        this.#calm(channel);
        for (const position of [...this.positions.values()]) {
            if (position.channel === channel) this.positions.delete(position.device);
        }
        this.#windows.get(channel)?.window.reset();
    }

    /** This device is no longer one: what was wiped from its store leaves the page as well. */
    #forget(): void {
        const { alarms, channels, heard, incidents, members } = this;
        const { positions, sounding, statuses, typing, units, urgent } = this;
        const all = [alarms, channels, heard, incidents, members, positions, sounding, statuses, typing];
        for (const map of [...all, units, urgent]) map.clear();
        for (const { window } of this.#windows.values()) window.reset();
        this.pending = [];
    }

    /** Its incident ended: nothing can be published there. */
    #isOver(channel: ChannelId): boolean {
        return this.channels.get(channel)?.archived === true;
    }

    /** Nothing of this channel asks for anything any more. */
    #calm(channel: ChannelId): void {
        for (const rows of [this.urgent, this.sounding]) {
            for (const row of [...rows.values()]) {
                if (row.channel === channel) rows.delete(row.id);
            }
        }
    }

    #memberOf(device: DeviceId, channel: ChannelId): MemberId | null {
        const readers = this.channels.get(channel)?.readers;
        return readers?.find((reader) => reader.device === device)?.member ?? null;
    }

    #hear(member: MemberId | null, atMs: number): void {
        if (member !== null && (this.heard.get(member) ?? 0) < atMs) this.heard.set(member, atMs);
    }
}

function refill<K, V>(map: SvelteMap<K, V>, values: readonly V[], key: (value: V) => K): void {
    map.clear();
    for (const value of values) map.set(key(value), value);
}
