/**
 * Members, units and devices: for administrators. A server alone can never admit a device: `approve` compares a code computed
 * from the keys themselves, and signs with the authority key held in this browser. Spec chapter 02, "Enrolment".
 */
import { type Api, every } from '~/link/api';
import { ApiError } from '~/link/errors';
import { toHex } from '~/protocol/bytes';
import { WireError } from '~/protocol/errors';
import type { DeviceInfo } from '~/protocol/resources';
import { SealingError } from '~/sealing/errors';
import { shortCode } from '~/sealing/public/enrolment';
import { deviceIdOf, encodeSignedEntry, type Operation } from '~/sealing/public/entries';
import { parseDeviceKey } from '~/sealing/public/device-key';
import { decodeSigned, verifySigned } from '~/sealing/public/signed';

import type {
    ChannelId,
    DeviceId,
    DeviceView,
    Discipline,
    EnrolmentLink,
    MemberId,
    Role,
    UnitId,
} from '../engine';
import type { Vault } from '../ports';
import { loadAuthority } from './authority';
import { DESK } from './belonging';
import { certificateFor } from './certificates';
import { EngineFailure } from './errors';
import { Openings } from './openings';
import type { Work } from './work';

const PAGE = 500;
/** A shared device's shift, unless the server ends it sooner. */
const SHIFT_MS = 12 * 3_600_000;

export class Administration {
    private readonly openings: Openings;

    constructor(
        private readonly work: Work,
        private readonly vault: Vault,
        private readonly origin: string,
    ) {
        this.openings = new Openings(work.home, work.rooms);
    }

    async devices(): Promise<DeviceView[]> {
        const infos = await every((after) => this.api.devices(after, PAGE));
        return infos.map(({ id, member, label, state, createdMs }): DeviceView => ({
            device: id,
            member,
            label,
            state: state as DeviceView['state'],
            createdMs,
        }));
    }

    async createMember(
        name: string,
        roles: readonly Role[],
        discipline: Discipline | null,
    ): Promise<MemberId> {
        const agency = this.agencyChannel();
        const member = await this.api.createMember({ roles, discipline });
        this.work.people.takeMember(member);
        await this.work.compose(agency, { type: 'member_name', member: member.id, name });
        return member.id;
    }

    /**
     * The unit, its name, and its channel: its members, and the desk that sends it. An administrator may sit in no unit's
     * channel; then one who may opens it.
     */
    async createUnit(name: string, members: readonly MemberId[]): Promise<UnitId> {
        const agency = this.agencyChannel();
        const unit = await this.api.createUnit(members, members[0] ?? null);
        this.work.people.takeUnit(unit);
        await this.work.compose(agency, { type: 'unit_name', unit: unit.id, name });
        try {
            await this.openings.openUnit(unit.id, members, this.work.people.withRoles(DESK));
        } catch (error) {
            if (!(error instanceof ApiError) || error.number !== WireError.forbidden) throw error;
        }
        return unit.id;
    }

    /** For a unit that was made by somebody who may not sit in its channel. `conflict`: it has one, without this device. */
    async openUnitChannel(id: UnitId): Promise<ChannelId> {
        const { rooms, people } = this.work;
        // Another person may have opened it a moment ago.
        await this.work.refresh();
        const standing = rooms.ofUnit(id);
        if (standing !== undefined) return standing.id;
        const unit = people.unit(id);
        if (unit === null || unit.endedMs > 0) throw new EngineFailure('not_found');
        try {
            return (await this.openings.openUnit(id, unit.members, people.withRoles(DESK))).id;
        } catch (error) {
            if (!(error instanceof ApiError) || error.number !== WireError.conflict) throw error;
            await this.work.refresh();
            const first = rooms.ofUnit(id);
            if (first === undefined) throw error;
            return first.id;
        }
    }

    /** `shift`: for a shared device, which ends by itself when the shift does. */
    async enrolmentLink(member: MemberId, label: string, shift: boolean): Promise<EnrolmentLink> {
        const untilMs = shift ? this.work.home.nowMs() + SHIFT_MS : 0;
        const { code, expiresMs } = await this.api.createEnrolment(member, label, untilMs);
        const root = toHex(this.work.parts.identity.rootPublic);
        // Code and root stand in the fragment, which no browser sends to a server.
        const end = shift ? `&shift=${untilMs}` : '';
        const url = `${this.origin}/#enrol=${encodeURIComponent(code)}&root=${root}${end}`;
        return { url, code, expiresMs, shiftUntilMs: untilMs };
    }

    /**
     * Certify a device that waits. The code is computed from its keys; the server's word about it is not asked. Fails with
     * `wrong_code` when it is another device's, `not_permitted` where two must sign or the key may not.
     */
    async approve(device: DeviceId, code: string): Promise<void> {
        const info = await this.api.device(device);
        if (normal(await codeOf(info)) !== normal(code)) throw new EngineFailure('wrong_code');
        const member = await this.api.member(info.member);
        const nowMs = this.work.home.nowMs();
        const subject = { public: info.publicKey, member: info.member };
        await this.sign(await certificateFor(subject, member, nowMs, info.shiftUntilMs));
        // From now on the device may read what its member may: the channels of the agency and of the member's units.
        await this.seat(device, info.member);
        this.work.chore();
    }

    /** Refuse a device at once, on every node; then sign it out of the directory, so that no member seals to it. */
    async revoke(device: DeviceId): Promise<void> {
        await this.api.revokeDevice(device);
        const { nowMs } = this.work.home;
        await this.sign({ op: 'dev-', deviceId: device, reason: 'revoked', tsMs: nowMs() });
        this.work.chore();
    }

    /** The entry that follows the directory's head: signed, checked, posted. */
    private async sign(operation: Operation): Promise<void> {
        const { directories, nowMs } = this.work.home;
        const authority = await loadAuthority(this.vault);
        await directories.sync();
        const entry = await authority.signEntry(directories.own, operation, nowMs());
        try {
            await directories.own.check(entry, nowMs());
        } catch (error) {
            throw error instanceof SealingError ? new EngineFailure('not_permitted') : error;
        }
        await this.api.postDirectory([encodeSignedEntry(entry)]);
        await directories.sync();
    }

    private async seat(device: DeviceId, member: MemberId): Promise<void> {
        const { people, rooms } = this.work;
        const units = new Set<string>(people.unitsOf(member).map((unit) => unit.id));
        for (const room of rooms.all()) {
            const { purpose, subject } = room.info;
            const reads =
                purpose === 'agency' || (purpose === 'unit' && subject !== null && units.has(subject));
            if (reads && room.chain.member) await room.chain.admit([device]);
        }
    }

    private agencyChannel() {
        const room = this.work.rooms.all().find(({ info }) => info.purpose === 'agency');
        if (room === undefined) throw new EngineFailure('not_found');
        return room.id;
    }

    private get api(): Api {
        return this.work.home.api;
    }
}

/** The short code of the keys that a waiting device shows. Fails when they do not belong together. */
async function codeOf(info: DeviceInfo): Promise<string> {
    try {
        const signed = decodeSigned(info.deviceKey);
        const device = await deviceIdOf(info.publicKey);
        const key = await parseDeviceKey(signed.payload);
        await verifySigned(signed, info.publicKey, 'devkey');
        if (signed.signer !== device || key.deviceId !== device || device !== info.id) {
            throw new EngineFailure('wrong_code');
        }
        return await shortCode(info.publicKey, signed.payload);
    } catch (error) {
        throw error instanceof SealingError ? new EngineFailure('wrong_code') : error;
    }
}

/** As people read it aloud: without hyphens, in any case; Crockford's letters that look like digits are those digits. */
function normal(code: string): string {
    return code
        .toUpperCase()
        .replaceAll(/[^0-9A-Z]/g, '')
        .replaceAll('O', '0')
        .replaceAll(/[IL]/g, '1');
}
