/** What a certificate lets a device do, by its member's roles: the usual rights, as the command line gives them. Pure. */
import type { MemberId } from '~/protocol/ids';
import { Compartment } from '~/protocol/words';
import {
    CAP_ADMIT,
    CAP_CREATE,
    CAP_GRANT,
    CAP_POLICY,
    CAP_REMOVE,
    CAP_SEND,
    type DeviceAdded,
    deviceIdOf,
} from '~/sealing/public/entries';
import type { Bytes } from '~/protocol/bytes';

import type { Discipline, Role } from '../engine';

const LIFETIME_MS = 365 * 86_400_000;
/** A certificate is valid from a little before it was made: clocks differ. */
const CLOCK_SLACK_MS = 600_000;

const MEMBER_CAPS = CAP_SEND | CAP_ADMIT | CAP_REMOVE | CAP_GRANT | CAP_CREATE;
const CAPS: Readonly<Record<Role, number>> = {
    responder: MEMBER_CAPS,
    dispatcher: MEMBER_CAPS,
    psychiatrist: MEMBER_CAPS,
    supervisor: MEMBER_CAPS,
    admin: MEMBER_CAPS | CAP_POLICY,
    interpreter: CAP_SEND,
    receiving_facility: CAP_SEND,
    records_officer: CAP_SEND,
};

const bits = (...compartments: Compartment[]): number =>
    compartments.reduce<number>((mask, compartment) => mask | (1 << compartment), 0);
const OPERATIONS = bits(Compartment.operations);
const SUPPORT = bits(Compartment.operations, Compartment.clinical);
const CLINICAL = bits(Compartment.operations, Compartment.clinical, Compartment.record);

const COMPARTMENTS: Readonly<Record<Role, number>> = {
    responder: OPERATIONS,
    dispatcher: OPERATIONS,
    psychiatrist: CLINICAL,
    supervisor: OPERATIONS,
    admin: OPERATIONS,
    interpreter: OPERATIONS,
    receiving_facility: SUPPORT,
    records_officer: OPERATIONS,
};

/** A responder's compartments follow the profession: an officer never reaches clinical content. */
const BY_DISCIPLINE: Readonly<Record<Discipline, number>> = {
    clinician: CLINICAL,
    peer_specialist: SUPPORT,
    emt: SUPPORT,
    law_enforcement_officer: bits(Compartment.operations, Compartment.criminal_justice),
    case_manager: CLINICAL,
};

/** The one role that a certificate names for a member who holds several: the first of these. */
const RANK: readonly Role[] = [
    'psychiatrist',
    'responder',
    'supervisor',
    'dispatcher',
    'admin',
    'records_officer',
    'receiving_facility',
    'interpreter',
];

/** `dev+` with the usual rights of that member. `shiftUntilMs` above 0: of a shared device, whose rights end then. */
export async function certificateFor(
    device: { readonly public: Bytes; readonly member: MemberId },
    member: { readonly roles: readonly Role[]; readonly discipline: Discipline | null },
    nowMs: number,
    shiftUntilMs = 0,
): Promise<DeviceAdded> {
    const role = RANK.find((one) => member.roles.includes(one)) ?? 'interpreter';
    const byDiscipline = role === 'responder' && member.discipline !== null;
    return {
        op: 'dev+',
        deviceId: await deviceIdOf(device.public),
        public: device.public,
        memberId: device.member,
        role,
        compartments: byDiscipline ? BY_DISCIPLINE[member.discipline] : COMPARTMENTS[role],
        caps: CAPS[role],
        notBeforeMs: nowMs - CLOCK_SLACK_MS,
        notAfterMs: shiftUntilMs > 0 ? shiftUntilMs : nowMs + LIFETIME_MS,
    };
}
