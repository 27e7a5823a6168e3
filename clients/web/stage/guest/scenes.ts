/** The page of a consult's guest, from the door to every end. */
import type { GuestStanding } from '~/model/guest/visit';
import * as a from '~/model/sample';
import { minutesAgo, nightMs, type Scene } from '../scene';

const shown = (name: string, standing: GuestStanding, online = true): Scene => ({
    name: `guest-${name}`,
    snapshot: a.snapshot(),
    guest: { standing, online, nowMs: nightMs },
});
const present = [
    { role: 'responder', people: 2 },
    { role: 'psychiatrist', people: 1 },
    { role: 'guest', people: 1 },
];
const ends = [
    'no_link',
    'used',
    'link_over',
    'not_let_in',
    'time_over',
    'ended',
    'removed',
    'left',
    'not_trusted',
    'failed',
] as const;

export const scenes: readonly Scene[] = [
    shown('coming', { kind: 'coming' }),
    shown('waiting', { kind: 'waiting', sinceMs: nightMs }),
    shown('waiting-long', { kind: 'waiting', sinceMs: minutesAgo(3) }, false),
    shown('in', { kind: 'in', role: 'interpreter', present, untilMs: nightMs + 4 * 3_600_000 }),
    {
        ...shown('leaving', { kind: 'in', role: 'interpreter', present, untilMs: nightMs + 4 * 3_600_000 }),
        taps: ['main button'],
    },
    ...ends.map((why) => shown(`over-${why}`, { kind: 'over', why })),
];
