/** Which screens a person's roles open, the one that they begin with first. */
import type { Role } from '~/model/engine';

export type Room = 'responder' | 'dispatcher' | 'admin';

const rooms: readonly (readonly [Room, readonly Role[]])[] = [
    ['dispatcher', ['dispatcher', 'supervisor']],
    ['responder', ['responder', 'psychiatrist']],
    ['admin', ['admin']],
];

export function roomsOf(roles: readonly Role[]): readonly Room[] {
    return rooms.filter(([, its]) => its.some((role) => roles.includes(role))).map(([room]) => room);
}

/** The room that an address names, if it is this person's; their first otherwise. Null: they have none. */
export function roomAt(path: readonly string[], roles: readonly Role[]): Room | null {
    const own = roomsOf(roles);
    return own.find((room) => room === path[0]) ?? own[0] ?? null;
}
