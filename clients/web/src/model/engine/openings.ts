/** Opening channels: their genesis, the policy that reads along, and the server's transaction. Spec chapter 04, "Commit". */
import type { AgencyId, DeviceId, IncidentId, MemberId, UnitId } from '~/protocol/ids';
import type { CommitPost } from '~/protocol/resources';
import { commitPost as commitPostField } from '~/protocol/resources';
import { pack } from '~/protocol/pack';
import { Compartment } from '~/protocol/words';
import type { MadeCommit } from '~/sealing/opening/committer';
import { type AuthRecord, NO_INCIDENT } from '~/sealing/public/commit';
import { usableRecordsKey } from '~/sealing/public/directory';
import type { RecordsId } from '~/sealing/public/entries';

import type { ChannelId, Purpose } from '../engine';
import { commitPost, committer, sealingError } from './chain';
import { NotPermitted } from './errors';
import type { Home } from './home';
import type { Room } from './room';
import type { Rooms } from './rooms';

export interface Opening {
    readonly purpose: Purpose;
    /** The unit's or incident's id; null for a channel of neither. */
    readonly subject: UnitId | IncidentId | null;
    readonly compartment?: Compartment;
    readonly incident?: IncidentId;
    readonly auth?: readonly AuthRecord[];
}

/** A channel that was made here and is not posted yet. */
export interface Made {
    readonly commit: MadeCommit;
    readonly post: CommitPost;
    readonly opening: Opening;
}

export class Openings {
    constructor(
        private readonly home: Home,
        private readonly rooms: Rooms,
    ) {}

    /** The devices of these members that stand now and may read a compartment, this one among them. */
    devicesOf(members: Iterable<MemberId>, compartment: number = Compartment.operations): DeviceId[] {
        const { directories, keys } = this.home;
        const devices = new Set<DeviceId>([keys.deviceId]);
        for (const member of members) {
            for (const device of directories.devicesOf(member)) {
                const compartments = directories.certificate(device)?.compartments ?? 0;
                if ((compartments >> compartment) & 1) devices.add(device);
            }
        }
        return [...devices].sort();
    }

    /** Make a channel for these devices. Rejects with `NotPermitted`, `ApiError`. */
    async make(opening: Opening, devices: readonly DeviceId[]): Promise<Made> {
        const { directories } = this.home;
        await directories.sync();
        await directories.learnKeys();
        const agencyId: AgencyId = directories.agency;
        const compartment = opening.compartment ?? Compartment.operations;
        const genesis = {
            seats: devices.map((deviceId) => ({ deviceId, agencyId })),
            policy: { agencies: [agencyId], records: this.records(compartment) },
            compartment,
            incidentId: opening.incident ?? NO_INCIDENT,
            auth: opening.auth ?? [],
        };
        try {
            const commit = await committer(this.home).create(genesis, this.home.nowMs());
            return { commit, post: commitPost(commit), opening };
        } catch (error) {
            throw new NotPermitted(sealingError(error).code);
        }
    }

    /** Make and post a channel. */
    async open(opening: Opening, devices: readonly DeviceId[]): Promise<Room> {
        const made = await this.make(opening, devices);
        const subject = opening.subject ?? '';
        await this.home.api.createChannel({
            purpose: opening.purpose,
            subject: subject as UnitId,
            genesis: made.post,
            first: null,
        });
        return await this.join(made);
    }

    /** A unit's channel: for its members, and the desk that sends it. */
    async openUnit(unit: UnitId, members: readonly MemberId[], desk: readonly MemberId[]): Promise<Room> {
        return await this.open({ purpose: 'unit', subject: unit }, this.devicesOf([...members, ...desk]));
    }

    /** The channel stands: keep its genesis and follow it. */
    async join({ commit, post, opening }: Made): Promise<Room> {
        return await this.joinPosted(commit.commit.channelId, post, opening);
    }

    /** The same, for one whose bytes alone are left. */
    async joinPosted(id: ChannelId, post: CommitPost, opening: Opening): Promise<Room> {
        await this.home.history.keepPosted(id, 0, pack(commitPostField.write(post)));
        return await this.rooms.open({
            id,
            purpose: opening.purpose,
            compartment: opening.compartment ?? Compartment.operations,
            subject: opening.subject,
            archived: false,
        });
    }

    /** Custodians whose keys read this compartment: every channel of it seals to them. */
    private records(compartment: number): RecordsId[] {
        const { own } = this.home.directories;
        return own
            .recordsKeys()
            .filter((key) => ((key.compartments >> compartment) & 1) === 1)
            .filter((key) => usableRecordsKey(key, own.seq, this.home.nowMs()))
            .map((key) => key.recordsId)
            .sort();
    }
}
