/**
 * The channels that this device is in, as the server lists them and as they were opened here.
 *
 * A list is a hint: it says what to follow, and what is no longer ours. Who is in a channel its own signed chain says.
 * Note written: `channels`.
 */
import type { ChannelAddress, IncidentId, UnitId } from '~/protocol/ids';
import type { ChannelInfo } from '~/protocol/resources';
import { Compartment } from '~/protocol/words';

import type { ChannelId } from '../engine';
import { isForgotten } from './closing';
import { EngineFailure } from './errors';
import { noteOf, readNote } from './notes';
import { Queue } from './queue';
import { type Host, Room } from './room';

/** What a room must know of its channel: the server's word, none of it secret. */
export type RoomInfo = Pick<ChannelInfo, 'id' | 'purpose' | 'compartment' | 'subject' | 'archived'>;

const CHANNELS = 'channels';

export class Rooms {
    private readonly rooms = new Map<ChannelId, Room>();
    /** Opened here, and in no list yet. */
    private readonly opened = new Set<ChannelId>();
    private readonly queue = new Queue();
    private online = false;

    constructor(private readonly host: Host) {}

    /** Take up what an earlier run knew, to be read without a link. */
    async restore(): Promise<void> {
        const infos = readNote(await this.host.home.history.note(CHANNELS)) ?? [];
        for (const info of infos as readonly RoomInfo[]) {
            if (!(await isForgotten(this.host.home.history, info.id))) await this.enter(info);
        }
    }

    all(): readonly Room[] {
        return [...this.rooms.values()];
    }

    find(id: ChannelId): Room | null {
        return this.rooms.get(id) ?? null;
    }

    /** A channel that this device is in; fails with `not_found` else. */
    get(id: ChannelId): Room {
        const room = this.rooms.get(id);
        if (room === undefined) throw new EngineFailure('not_found');
        return room;
    }

    /** A unit's channel in service. Of several from an earlier server (spec 03, "Places") everybody takes the same. */
    ofUnit(unit: UnitId): Room | undefined {
        const all = this.all().filter(
            ({ info }) => info.purpose === 'unit' && info.subject === unit && !info.archived,
        );
        return all.sort((a, b) => (a.id < b.id ? -1 : 1))[0];
    }

    /** The channel whose log this is; null for whatever else a server may name. */
    byLog(log: ChannelAddress): Room | null {
        const room = this.rooms.get(log.slice(2) as ChannelId);
        return room?.follow.logs.includes(log) === true ? room : null;
    }

    setOnline(online: boolean): void {
        this.online = online;
        for (const room of this.rooms.values()) {
            if (online) room.follow.up();
            else room.follow.down();
        }
    }

    /** A heartbeat named these logs: what it did not name is not followed there. */
    beaten(named: ReadonlySet<ChannelAddress>): void {
        for (const { follow } of this.rooms.values()) {
            for (const log of follow.logs) if (!named.has(log)) follow.push(log, { kind: 'unnamed' });
        }
    }

    /** What the server lists now. */
    async set(infos: readonly ChannelInfo[]): Promise<void> {
        await this.queue.run(async () => {
            const kept = infos.map(roomInfo);
            await this.host.home.history.keepNotes(new Map([[CHANNELS, noteOf(kept)]]));
            const listed = new Set(infos.map((info) => info.id));
            for (const id of listed) this.opened.delete(id);
            for (const id of this.rooms.keys()) {
                if (!listed.has(id) && !this.opened.has(id)) this.leave(id, 'left');
            }
            for (const info of kept) {
                const room = this.rooms.get(info.id);
                if (room !== undefined) {
                    room.setInfo(info);
                    this.place(info);
                } else if (!(await isForgotten(this.host.home.history, info.id))) await this.enter(info);
            }
        });
    }

    /** Follow a channel that this device has just opened: a list on its way may not hold it yet. */
    async open(info: RoomInfo): Promise<Room> {
        this.opened.add(info.id);
        return await this.queue.run(() => this.enter(info));
    }

    /** An ended incident's channel is no longer here. */
    forgotten(id: ChannelId): void {
        this.leave(id, 'forgotten');
    }

    private async enter(info: RoomInfo): Promise<Room> {
        const known = this.rooms.get(info.id);
        if (known !== undefined) return known;
        const room = await Room.restore(info, this.host);
        this.rooms.set(info.id, room);
        this.place(info);
        room.start();
        if (this.online) room.follow.up();
        room.tellView();
        this.host.nudge(room.chain.contentLog);
        return room;
    }

    private leave(id: ChannelId, why: 'left' | 'forgotten'): void {
        const room = this.rooms.get(id);
        if (room === undefined) return;
        this.rooms.delete(id);
        room.leave();
        this.place(room.info);
        this.host.put({ kind: 'channel_gone', channel: id, why });
        this.host.soundsChanged();
    }

    /** Its unit or incident shows it, or no longer. */
    private place({ id, purpose, compartment, subject }: RoomInfo): void {
        const { people, incidents } = this.host;
        if (purpose === 'unit') {
            const unit = subject as UnitId;
            people.setUnitChannel(unit, this.ofUnit(unit)?.id ?? null);
        }
        if (purpose !== 'incident') return;
        const channel = this.rooms.has(id) ? id : null;
        const incident = subject as IncidentId;
        if (compartment === Compartment.operations) incidents.setChannel(incident, 'operations', channel);
        if (compartment === Compartment.clinical) incidents.setChannel(incident, 'clinical', channel);
    }
}

function roomInfo({ id, purpose, compartment, subject, archived }: ChannelInfo): RoomInfo {
    return { id, purpose, compartment, subject, archived };
}
