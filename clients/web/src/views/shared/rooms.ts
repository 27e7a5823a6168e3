/** Which screens a person's roles open, the one that they begin with first. */
import type { Role } from '~/model/engine';

export type Room = 'responder' | 'dispatcher' | 'psychiatrist' | 'supervisor' | 'admin';

/** In the order in which one is begun with; a room that stands twice is somebody's second screen. */
const rooms: readonly (readonly [Room, readonly Role[]])[] = [
    ['dispatcher', ['dispatcher']],
    ['supervisor', ['supervisor']],
    ['psychiatrist', ['psychiatrist']],
    ['responder', ['responder', 'psychiatrist']],
    ['dispatcher', ['supervisor']],
    ['admin', ['admin']],
];

export function roomsOf(roles: readonly Role[]): readonly Room[] {
    const own = rooms.filter(([, its]) => its.some((role) => roles.includes(role)));
    return [...new Set(own.map(([room]) => room))];
}

/** The room that an address names, if it is this person's; their first otherwise. Null: they have none. */
export function roomAt(path: readonly string[], roles: readonly Role[]): Room | null {
    const own = roomsOf(roles);
    return own.find((room) => room === path[0]) ?? own[0] ?? null;
}
