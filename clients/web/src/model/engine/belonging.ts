/**
 * Who belongs in a unit's channel, or in the agency's, against who can read it by its newest signed roster.
 *
 * The lists of members and units are the server's word. Nothing follows from them by itself: the difference is shown, and
 * a person lets in or takes out (spec 04, "Commit").
 */
import { CAP_ADMIT } from '~/sealing/public/entries';

import type { MemberId, Role, UnitId } from '../engine';
import type { Host, Room } from './room';

export const DESK: readonly Role[] = ['dispatcher', 'supervisor'];
/** Who may sit in a unit's channel: the server lets nobody else in. */
const IN_UNITS: readonly Role[] = ['responder', ...DESK];

export interface Strays {
    /** They belong there, and a device of theirs that stands cannot read it. */
    readonly outside: readonly MemberId[];
    /** They can read it, and belong there no more. */
    readonly leftover: readonly MemberId[];
}

export const NOBODY: Strays = { outside: [], leftover: [] };

export function straysOf({ info, chain }: Room, host: Host): Strays {
    const { directories, keys } = host.home;
    const mine = directories.certificate(keys.deviceId);
    const mayCommit = chain.member && mine !== null && (mine.caps & CAP_ADMIT) !== 0;
    if (!mayCommit || info.archived || chain.stopped !== '') return NOBODY;
    const belonging = belongingTo(info.purpose, info.subject as UnitId | null, host);
    if (belonging === null) return NOBODY;
    const roster = new Set(chain.roster);
    const reads = (device: (typeof chain.roster)[number]): boolean =>
        (((directories.certificate(device)?.compartments ?? 0) >> info.compartment) & 1) === 1;
    const outside = [...belonging].filter((member) =>
        directories.devicesOf(member).some((device) => reads(device) && !roster.has(device)),
    );
    const leftover = new Set<MemberId>();
    for (const { deviceId, guest } of chain.sealed.line.head?.roster ?? []) {
        const member = guest === null ? directories.memberOf(deviceId) : null;
        // Of whom the lists do not speak, nothing is said.
        const known = member !== null && host.people.member(member) !== null;
        if (known && !belonging.has(member) && member !== host.me) leftover.add(member);
    }
    return { outside: outside.sort(), leftover: [...leftover].sort() };
}

/** Null: for such a channel no list says who belongs there. */
function belongingTo(
    purpose: Room['info']['purpose'],
    subject: UnitId | null,
    { people }: Host,
): ReadonlySet<MemberId> | null {
    if (purpose === 'agency') return new Set(people.withRoles(null));
    const unit = purpose === 'unit' && subject !== null ? people.unit(subject) : null;
    if (unit === null || unit.endedMs > 0) return null;
    const may = new Set(people.withRoles(IN_UNITS));
    return new Set([...unit.members.filter((member) => may.has(member)), ...people.withRoles(DESK)]);
}
