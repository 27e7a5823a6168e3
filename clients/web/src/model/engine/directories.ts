/**
 * The agency's directory as this device has verified it, and the DeviceKeys of its devices.
 *
 * The whole signed chain is replicated and kept, and checked from the first entry on. The root was pinned at enrolment and
 * never comes from the server. Whatever is wrong becomes an alarm.
 */
import { type Api, every } from '~/link/api';
import { ApiError } from '~/link/errors';
import type { Bytes } from '~/protocol/bytes';
import type { AgencyId, DeviceId, MemberId } from '~/protocol/ids';
import { SealingError } from '~/sealing/errors';
import { DeviceKeyBook } from '~/sealing/public/device-key';
import { type Certificate, Directory } from '~/sealing/public/directory';
import { decodeSignedEntry, type SignedEntry } from '~/sealing/public/entries';
import { decodeSigned } from '~/sealing/public/signed';

import type { History } from '../ports';
import type { Alarm } from './home';
import { noteOfIds, readIds } from './notes';
import { Queue } from './queue';

const PAGE = 500;
const MINE = 'devices of mine';
/** The other branch's entry, signed: with the one that stands at its place it is the evidence. */
const FORK = 'directory fork';

export class Directories {
    readonly byAgency: ReadonlyMap<AgencyId, Directory>;
    readonly book = new DeviceKeyBook();
    /** Devices certified under this person's name that they did not enrol. */
    readonly ghosts = new Set<DeviceId>();
    /** Devices whose removal arrived since somebody last took them from here. */
    readonly revoked = new Set<DeviceId>();
    private known = new Set<DeviceId>();
    private readonly queue = new Queue();

    private constructor(
        readonly own: Directory,
        readonly member: MemberId,
        private readonly device: DeviceId,
        private readonly api: Api,
        private readonly history: History,
        private readonly report: (alarm: Alarm) => void,
        private isForked: boolean,
    ) {
        this.byAgency = new Map([[own.agencyId, own]]);
    }

    static async restore(parts: {
        readonly rootPublic: Bytes;
        readonly agency: AgencyId;
        readonly member: MemberId;
        readonly device: DeviceId;
        readonly api: Api;
        readonly history: History;
        readonly report: (alarm: Alarm) => void;
    }): Promise<Directories> {
        const { rootPublic, agency, member, device, api, history, report } = parts;
        const own = await Directory.replay(rootPublic, await history.directory(agency));
        const forked = (await history.note(FORK)) !== null;
        const found = new Directories(own, member, device, api, history, report, forked);
        await found.restoreKnown();
        return found;
    }

    get agency(): AgencyId {
        return this.own.agencyId;
    }

    /** Two signed branches of the directory were seen. */
    get forked(): boolean {
        return this.isForked;
    }

    /** A device's certificate, revoked or not. */
    certificate(device: DeviceId): Certificate | null {
        return this.own.device(device);
    }

    /** Whose device this is. */
    readonly memberOf = (device: DeviceId): MemberId | null => this.own.device(device)?.memberId ?? null;

    /** The devices of a member that stand now. */
    devicesOf(member: MemberId): DeviceId[] {
        return this.own
            .devicesOf(member)
            .filter(({ revokedSeq }) => revokedSeq === null)
            .map(({ deviceId }) => deviceId);
    }

    /** Fetch what the server has beyond our head; how many entries were new. Rejects with `ApiError`. */
    async sync(): Promise<number> {
        return await this.queue.run(async () => {
            for (let grown = 0; ;) {
                const page = await this.api.directory(this.own.seq, PAGE);
                const more = await this.apply(page);
                grown += more;
                // A page that brought nothing brings nothing the next time either.
                if (page.length < PAGE || more === 0 || this.isForked) return grown;
            }
        });
    }

    /** The server was restored from a backup: give back the entries it lost, if this member may. */
    async restoreServer(serverHead: number): Promise<void> {
        const lost = (await this.history.directory(this.agency)).slice(serverHead);
        if (lost.length === 0) return;
        try {
            await this.api.postDirectory(lost);
        } catch (error) {
            // Someone with the right to, or someone faster, does it.
            if (!(error instanceof ApiError) || error.mayRetry) throw error;
        }
    }

    /** Fetch the newest DeviceKeys of the agency; needed before sealing to anyone. Rejects with `ApiError`. */
    async learnKeys(): Promise<void> {
        for (const info of await every((after) => this.api.devices(after, PAGE, 'active'))) {
            const certificate = this.own.device(info.id);
            if (certificate === null || info.deviceKey.length === 0) continue;
            try {
                await this.book.add(decodeSigned(info.deviceKey), certificate);
            } catch (error) {
                // One device with a bad key must not keep the others from being sealed to: it stays dormant.
                if (!(error instanceof SealingError)) throw error;
            }
        }
    }

    /** The person says that this device under their name is theirs. */
    async confirm(device: DeviceId): Promise<void> {
        this.known.add(device);
        await this.keepKnown();
        this.ghosts.delete(device);
    }

    /** Put entries that this device signed or fetched into the copy. */
    async take(entries: readonly Bytes[]): Promise<void> {
        await this.queue.run(() => this.apply(entries));
    }

    private async apply(entries: readonly Bytes[]): Promise<number> {
        const grown: { seq: number; value: Bytes }[] = [];
        try {
            for (const value of entries) {
                try {
                    if (await this.applyOne(decodeSignedEntry(value)))
                        grown.push({ seq: this.own.seq, value });
                } catch (error) {
                    if (!(error instanceof SealingError)) throw error;
                    // An older page came late, or a hole: the next request asks from our head.
                    if (error.code !== 'E_DIR_CHAIN') await this.refuse(error, value);
                    break;
                }
            }
        } finally {
            // What stands before an error is kept.
            if (grown.length > 0) await this.history.keepDirectory(this.agency, grown);
        }
        return grown.length;
    }

    private async refuse(error: SealingError, entry: Bytes): Promise<void> {
        if (error.code === 'E_DIR_FORK' && !this.isForked) {
            this.isForked = true;
            await this.history.keepNotes(new Map([[FORK, entry]]));
        }
        const kind = this.isForked ? 'directory_fork' : 'withheld';
        this.report({ channel: null, kind, code: error.code, stopsSending: this.isForked });
    }

    private async applyOne(signed: SignedEntry): Promise<boolean> {
        let checked;
        try {
            checked = await this.own.apply(signed);
        } catch (error) {
            if (error instanceof SealingError && error.code === 'E_DUPLICATE') return false;
            throw error;
        }
        const { operation } = checked.entry;
        if (operation.op === 'dev+' && operation.memberId === this.member) {
            await this.meet(operation.deviceId);
        } else if (operation.op === 'dev-') {
            this.revoked.add(operation.deviceId);
            this.ghosts.delete(operation.deviceId);
        }
        return true;
    }

    /** A device under this person's own name: known, or a ghost until they say otherwise. */
    private async meet(device: DeviceId): Promise<void> {
        if (this.known.has(device) && device !== this.device) return;
        if (device === this.device || this.own.device(this.device) === null) {
            // What was certified before this device came is what its person enrolled from. Written down with the own
            // device at the latest: from then on a stranger is a ghost on every later start too.
            this.known.add(device);
            await this.keepKnown();
            return;
        }
        this.ghosts.add(device);
        this.report({ channel: null, kind: 'ghost_device', code: 'ghost', stopsSending: false, device });
    }

    private async restoreKnown(): Promise<void> {
        const note = await this.history.note(MINE);
        this.known = new Set([this.device, ...readIds<DeviceId>(note)]);
        if (note === null) return;
        for (const device of this.devicesOf(this.member)) {
            if (!this.known.has(device)) this.ghosts.add(device);
        }
    }

    private async keepKnown(): Promise<void> {
        await this.history.keepNotes(new Map([[MINE, noteOfIds([...this.known])]]));
    }
}
