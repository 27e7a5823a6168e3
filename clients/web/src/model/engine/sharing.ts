/**
 * Where this device shares its position: off until a person turns it on, per channel, ended by them, by leaving the channel,
 * by the incident's end, and with this engine. Others are told before anything is shared. Spec chapter 06.
 */
import type { ContentOf } from '~/protocol/bodies';

import type { ChannelId, Fix } from '../engine';
import { EVERY_MS, Pacer } from './position';
import type { Room } from './room';
import type { Work } from './work';

export class Sharing {
    private readonly pacers = new Map<ChannelId, Pacer>();

    constructor(private readonly work: Work) {}

    async share(channel: ChannelId, on: boolean, coarseM: number): Promise<void> {
        const room = this.work.rooms.get(channel);
        const pacer = on ? new Pacer(coarseM) : this.pacers.get(channel);
        if (pacer === undefined) return;
        if (!on) this.pacers.delete(channel);
        await this.keep(room, pacer, on);
        if (on) this.pacers.set(channel, pacer);
    }

    /** The device is here. Sent live where it is shared and due; kept once a minute. */
    async move(fix: Fix): Promise<void> {
        const nowMs = this.work.home.life.clock.monotonicMs();
        for (const [channel, pacer] of [...this.pacers]) {
            const room = this.work.rooms.find(channel);
            if (room === null || !room.chain.member || room.info.archived) {
                this.pacers.delete(channel);
                continue;
            }
            const due = pacer.offer(fix, nowMs);
            if (pacer.keepDue(nowMs)) await this.keep(room, pacer, true);
            if (due !== null) await this.work.stream(channel, { type: 'position', fix: due });
        }
    }

    /** What is kept beside a call for help, and marked: in danger, exactness and haste count more than pace. */
    inDuress(channel: ChannelId, fix: Fix | null): ContentOf<'last_position'> | null {
        const pacer = this.pacers.get(channel);
        const newest = fix ?? pacer?.newest ?? null;
        if (newest === null) return null;
        return {
            type: 'last_position',
            sharing: pacer !== undefined,
            everyS: EVERY_MS / 1000,
            duress: true,
            fix: newest,
        };
    }

    private async keep(room: Room, pacer: Pacer, sharing: boolean): Promise<void> {
        const everyS = EVERY_MS / 1000;
        await this.work.compose(room.id, {
            type: 'last_position',
            sharing,
            everyS,
            duress: false,
            fix: pacer.newest,
        });
    }
}
