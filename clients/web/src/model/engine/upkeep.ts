/**
 * What a device does without being asked: new keys for itself and its channels, and the end of ended incidents.
 *
 * Nothing here is needed for sending: whoever sends commits first what is due. It keeps quiet channels fresh, lets a revoked
 * device out soon, and leaves nothing on a device that is over.
 */
import { ApiError, Offline } from '~/link/errors';
import type { DeviceId } from '~/protocol/ids';
import { encodeSigned, type Signed } from '~/sealing/public/signed';

import type { ChannelId } from '../engine';
import { Closing } from './closing';
import { EngineFailure, isExpected } from './errors';
import { keepKeys } from './identity';
import type { Room } from './room';
import type { Work } from './work';

const KEEP_HOUSE_MS = 60_000;
const REKEY_JITTER_MS = 300;

export class Upkeep {
    private readonly closing: Closing;
    private readonly busy = new Set<ChannelId>();
    /** Ended ones for which this device has waited its turn. */
    private readonly tended = new Set<ChannelId>();
    private published: string | null = null;

    constructor(private readonly work: Work) {
        this.closing = new Closing(work.home, work.parts.stores.outbox, work.uploads);
    }

    /** Once a minute. */
    async run(): Promise<void> {
        for (;;) {
            await this.look();
            await this.work.home.life.sleep(KEEP_HOUSE_MS);
        }
    }

    /** The lists and the directory are fresh: someone may have been revoked, some channel archived. */
    afterRefresh(): void {
        const { rooms, home } = this.work;
        const revoked = new Set(home.directories.revoked);
        home.directories.revoked.clear();
        for (const room of rooms.all()) {
            if (room.chain.roster.some((device) => revoked.has(device)))
                this.begin(room, () => this.rekey(room));
            if (room.info.archived && !this.tended.has(room.id)) this.begin(room, () => this.close(room));
        }
    }

    /** Publish this device's key, once a session stands: others seal to what they find there. */
    async renewKeys(): Promise<void> {
        const { keys, nowMs, api } = this.work.home;
        const { vault } = this.work.parts.stores;
        const underPin = this.work.parts.identity.pin;
        if (keys.rotationDue(nowMs())) await keys.rotate(nowMs(), underPin);
        const { newest } = keys;
        if (this.published !== nameOf(newest)) {
            await keepKeys(vault, keys);
            try {
                await api.putDeviceKey(encodeSigned(newest));
            } catch (error) {
                // A newer one is out, made before this store was brought back: get beyond it.
                if (error instanceof ApiError && error.sealingCode === 'E_DEVKEY') {
                    await keys.rotate(nowMs(), underPin);
                }
                throw error;
            }
            this.published = nameOf(newest);
        }
        if (keys.prune(nowMs(), this.work.allCaughtUp) > 0) await keepKeys(vault, keys);
    }

    private async look(): Promise<void> {
        const { rooms, home, isOnline, parts } = this.work;
        for (const room of rooms.all()) room.chain.sealed.forgetShortLived(home.nowMs());
        if (!isOnline) return;
        // Only by the server's time: this device's clock may be days ahead.
        await parts.stores.outbox.forget(home.nowMs());
        await this.renewKeys().catch(unlessExpected);
        for (const room of rooms.all()) {
            if (room.info.archived) this.begin(room, () => this.close(room));
            else if (room.chain.rekeyDue() !== null) this.begin(room, () => this.rekey(room));
        }
    }

    private async close(room: Room): Promise<void> {
        if (!this.tended.has(room.id)) {
            this.tended.add(room.id);
            // Not all at once: who is first in rank archives, and the others find it done.
            if (room.chain.epoch >= 0) await this.waitTurn(room, new Set(room.chain.roster));
        }
        if (await this.closing.tend(room)) this.work.rooms.forgotten(room.id);
    }

    /** Any online member commits; who is first in rank is first in time. */
    private async rekey(room: Room): Promise<void> {
        await this.turn(room);
        await room.chain.sync();
        await room.chain.rekeyIfDue();
    }

    /** Wait for this device's turn among the members that are online. */
    async turn(room: Room): Promise<void> {
        let online: readonly DeviceId[] = [];
        try {
            online = (await this.work.who(room.id)).devices;
        } catch (error) {
            if (!(error instanceof Offline) && !(error instanceof EngineFailure)) throw error;
        }
        await this.waitTurn(room, new Set(online));
    }

    private async waitTurn({ chain, life }: Room, among: ReadonlySet<DeviceId>): Promise<void> {
        const jitterMs = Math.floor(this.work.home.random.uniform(0, REKEY_JITTER_MS));
        await life.sleep(chain.sealed.rekeyDelayMs(among, jitterMs));
    }

    private begin(room: Room, act: () => Promise<void>): void {
        if (this.busy.has(room.id)) return;
        this.busy.add(room.id);
        room.life.begin(async () => {
            try {
                // Whoever sends next commits before sending, and the next minute looks again.
                await act().catch(unlessExpected);
            } finally {
                this.busy.delete(room.id);
            }
        });
    }
}

function nameOf({ payload }: Signed): string {
    return payload.join();
}

function unlessExpected(error: unknown): void {
    if (!isExpected(error)) throw error;
}
