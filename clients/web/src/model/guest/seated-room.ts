/**
 * The one room that a guest may be in, as far as it may see it: its signed roster, and the keys of its calls (spec 04, "Acceptance").
 *
 * Every commit is verified under the agency's directory, from the first; then the own box is opened. Whatever does not hold ends
 * the visit: a guest has nobody to ask.
 */
import type { Api } from '~/link/api';
import { every } from '~/link/api';
import { ApiError } from '~/link/errors';
import { WireError } from '~/protocol/errors';
import { address, type ChannelAddress, type ChannelId, type ConsultId, type MemberId } from '~/protocol/ids';
import type { GuestTaken } from '~/protocol/oncall';
import { refuse, SealingError } from '~/sealing/errors';
import { SealedChannel } from '~/sealing/opening/channel';
import type { Delivery } from '~/sealing/opening/delivery';
import type { DeviceKeys } from '~/sealing/opening/keys';
import { mediaEpoch } from '~/sealing/opening/media';
import type { KeyedEpoch } from '~/sealing/opening/media-frames';
import { rosterIndex } from '~/sealing/public/commit';
import { Directory } from '~/sealing/public/directory';
import { decodeSignedEntry, MEDIA } from '~/sealing/public/entries';
import { decodeSigned, type Signed } from '~/sealing/public/signed';

const DIRECTORY_PAGE = 500;
const NO_DELIVERY: Delivery = { box: null, boxList: null };

/** How many people of a role are in the room; other guests have none. Names are sealed from guests. */
export interface Present {
    readonly role: string;
    readonly people: number;
}

export class SeatedRoom {
    private readonly log: ChannelAddress;
    private readonly sealed: SealedChannel;
    /** This guest is, or was, in the roster. */
    private seated = false;

    private constructor(
        private readonly api: Api,
        private readonly id: ChannelId,
        private readonly keys: DeviceKeys,
        private readonly directory: Directory,
        private readonly nowMs: () => number,
    ) {
        this.log = address('epochs', id);
        this.sealed = new SealedChannel(id, keys.deviceId);
    }

    /** `E_DIR` where the root that came is not that of the agency that was named. */
    static async of(
        api: Api,
        { rootPub, agency, channel }: GuestTaken,
        keys: DeviceKeys,
        nowMs: () => number,
    ): Promise<SeatedRoom> {
        const directory = await Directory.of(rootPub);
        if (directory.agencyId !== agency) refuse('E_DIR', 'another agency');
        return new SeatedRoom(api, channel, keys, directory, nowMs);
    }

    get isIn(): boolean {
        return this.seated;
    }

    /** Until when the roster has this guest. */
    get untilMs(): number {
        return this.sealed.entry?.guest?.notAfterMs ?? Number.POSITIVE_INFINITY;
    }

    /** Who can hear, by the newest roster: everybody but this guest, the most first. */
    get present(): readonly Present[] {
        const members = new Map<string, Set<MemberId | string>>();
        for (const { deviceId, guest } of this.sealed.head.roster) {
            if (deviceId === this.keys.deviceId) continue;
            const certificate = guest === null ? this.directory.device(deviceId) : null;
            const role = certificate?.role ?? 'guest';
            const known = members.get(role) ?? new Set();
            members.set(role, known.add(certificate?.memberId ?? deviceId));
        }
        return [...members]
            .map(([role, { size: people }]) => ({ role, people }))
            .sort((a, b) => b.people - a.people || (a.role < b.role ? -1 : 1));
    }

    /** The keys of a call in the newest epoch, for whoever seals and opens its frames; null: this guest has none. */
    async callKeys(consult: ConsultId): Promise<KeyedEpoch | null> {
        const { head } = this.sealed.line;
        const secret = head === null ? undefined : this.sealed.secrets(head.epoch).get(MEDIA);
        if (head === null || secret === undefined) return null;
        const media = await mediaEpoch(secret, head, consult);
        return { media, index: rosterIndex(head, this.keys.deviceId) };
    }

    /** Take in what is new. Rejects with `ApiError`; with `SealingError` where something does not hold. */
    async look(): Promise<'outside' | 'in' | 'removed'> {
        if (!this.seated && !(await this.isListed())) return 'outside';
        try {
            await this.fetch();
        } catch (error) {
            // Whoever is not in the roster is told that there is no such log.
            if (!(error instanceof ApiError) || !error.told || error.number !== WireError.not_found)
                throw error;
            return this.seated ? 'removed' : 'outside';
        }
        if (this.sealed.line.head === null) return 'outside';
        if (this.sealed.entry !== null) this.seated = true;
        else return this.seated ? 'removed' : 'outside';
        return 'in';
    }

    private async isListed(): Promise<boolean> {
        const channels = await every((after) => this.api.channels(after));
        return channels.some(({ id }) => id === this.id);
    }

    private async fetch(): Promise<void> {
        for (;;) {
            const { epoch } = this.sealed.line;
            const batch = await this.api.log(this.log, epoch + 1);
            const commits = batch.entries.filter(({ payload }) => payload.length > 0);
            if (commits.length === 0) return;
            const boxes = await this.boxes(epoch + 1, commits.length);
            for (const { offset, payload } of commits) {
                const at = offset - 1;
                if (at > this.sealed.line.epoch)
                    await this.install(decodeSigned(payload), boxes.get(at) ?? NO_DELIVERY);
            }
            if (this.sealed.line.epoch === epoch) return;
        }
    }

    private async boxes(from: number, count: number): Promise<ReadonlyMap<number, Delivery>> {
        const page = await this.api.boxes(this.id, from, count);
        return new Map(
            page.map(({ epoch, box, boxHashes, boxListSignature }) => [
                epoch,
                { box, boxList: { hashes: boxHashes, signature: boxListSignature } },
            ]),
        );
    }

    private async install(signed: Signed, delivery: Delivery): Promise<void> {
        for (let synced = false; ; synced = true) {
            try {
                const directories = new Map([[this.directory.agencyId, this.directory]]);
                const now = { nowMs: this.nowMs() };
                const { alarm } = await this.sealed.processCommit(
                    signed,
                    delivery,
                    this.keys,
                    directories,
                    now,
                );
                if (alarm !== null) throw new SealingError(alarm.code, 'the own box');
                return;
            } catch (error) {
                const behind = error instanceof SealingError && error.code === 'E_DIR_BEHIND';
                if (!behind || synced) throw error;
                await this.syncDirectory();
            }
        }
    }

    private async syncDirectory(): Promise<void> {
        for (;;) {
            const page = await this.api.directory(this.directory.seq, DIRECTORY_PAGE);
            for (const data of page) await this.directory.apply(decodeSignedEntry(data));
            if (page.length < DIRECTORY_PAGE) return;
        }
    }
}
