/**
 * Who sits in a consult's channel. Pure. Spec 04, "Consult": from the start whoever may be paged, so that the one who accepts
 * reads and talks at once; then those who take part.
 */
import type { DeviceId, MemberId } from '~/protocol/ids';
import type { Consult } from '~/protocol/oncall';
import type { Role } from '~/protocol/words';

/** Whom the server seats in a consult's channel. */
const SEATED: ReadonlySet<string> = new Set<Role>([
    'responder',
    'dispatcher',
    'psychiatrist',
    'supervisor',
    'interpreter',
    'receiving_facility',
]);
const DESK: ReadonlySet<string> = new Set<Role>(['dispatcher', 'supervisor']);

export function maySit(role: string): boolean {
    return SEATED.has(role);
}

/** Groups of devices, the most needed first; the least needed are left out where a roster cannot hold them all. */
export function seatsFor(groups: readonly (readonly DeviceId[])[], most: number): DeviceId[] {
    return [...new Set(groups.flat())].slice(0, most).sort();
}

/** What is known of a device in the roster. */
export interface Seated {
    readonly device: DeviceId;
    readonly member: MemberId | null;
    /** Of its certificate; empty for a guest. */
    readonly role: string;
}

/**
 * Who goes once somebody accepted: all but the asking person and unit, the desk, and the one who comes. Guests stay, for they
 * were invited one by one. `unit`: its members, null where the lists do not tell; then nobody who may be of it goes.
 */
export function leavingAfter(
    consult: Pick<Consult, 'member' | 'acceptedBy'>,
    roster: readonly Seated[],
    unit: readonly MemberId[] | null,
): DeviceId[] {
    return roster
        .filter(({ member, role }) => {
            // A guest, or the desk.
            if (member === null || DESK.has(role)) return false;
            if (member === consult.member || member === consult.acceptedBy) return false;
            if (unit !== null) return !unit.includes(member);
            return role !== 'responder';
        })
        .map(({ device }) => device);
}

/** Who must be able to read now: the one who comes, or all who are being asked. */
export function neededBy(consult: Pick<Consult, 'state' | 'acceptedBy' | 'targets'>): MemberId[] {
    switch (consult.state) {
        case 'accepted':
        case 'in_session':
            return consult.acceptedBy === null ? [] : [consult.acceptedBy];
        case 'paging':
        case 'exhausted':
            return [
                ...new Set(
                    consult.targets.filter(({ state }) => state !== 'declined').map(({ member }) => member),
                ),
            ];
        default:
            return [];
    }
}
