/** A dispatcher's and an administrator's screens, in every state. */
import { channelId, deviceId, memberId } from '~/model/sample';
import { minutesAgo, nightMs, type Scene } from '../scene';
import { snapshotOf, type Scene as Town } from './pretended';

function desk(name: Town, taps: readonly string[] = [], as: string = name): Scene {
    return {
        name: `desk-${as}`,
        path: '#/dispatcher',
        snapshot: snapshotOf(name, nightMs),
        taps,
        wide: true,
    };
}

const open = '.strips li button';

/** A clinician at the desk opens the clinical channel. */
function clinical(): Scene {
    const scene = desk('busy', [open, '.actions button:nth-last-of-type(2)', 'dialog h2'], 'clinical');
    const { standing } = scene.snapshot;
    if (standing.kind !== 'active') throw new Error('the town has no dispatcher');
    const me = { ...standing.me, clinical: true };
    return { ...scene, snapshot: { ...scene.snapshot, standing: { kind: 'active', me } } };
}

function admin(page: string, taps: readonly string[] = [], as: string = page): Scene {
    const start = snapshotOf('busy', nightMs);
    const pending = [
        { device: deviceId(500), member: memberId(2), label: 'Phone of Eva', createdMs: minutesAgo(4) },
    ];
    const { standing } = start;
    if (standing.kind !== 'active') throw new Error('the town has no dispatcher');
    const me = { ...standing.me, roles: ['admin' as const], authority: page !== 'units' };
    return {
        name: `admin-${as}`,
        path: `#/admin/${page}`,
        snapshot: { ...start, standing: { kind: 'active', me }, urgent: [], pending },
        taps,
        wide: true,
    };
}

export const scenes: readonly Scene[] = [
    desk('busy', [open]),
    desk('quiet'),
    desk('empty'),
    desk('offline', [open]),
    desk('duress', [open]),
    desk('thousand', [open]),
    desk('busy', ['.strips header button'], 'screening'),
    desk('busy', [open, '.actions .primary'], 'assign'),
    ...Object.entries({ close: 'x', edit: 'e', mark: 't', priority: 'p', keys: '?', map: '4' }).map(
        ([sheet, key]) => desk('busy', [open, `key:${key}`], sheet),
    ),
    { ...desk('busy', [], 'channels'), path: `#/dispatcher/channel/${channelId(100)}` },
    clinical(),
    ...['approve', 'members', 'units', 'devices', 'rule', 'me'].map((page) => admin(page)),
    admin('approve', ['main li button.primary', 'dialog h2'], 'approve-sheet'),
    admin('members', ['main button.primary', 'dialog h2'], 'members-new'),
    admin('units', ['main section button.primary', 'dialog h2'], 'units-new'),
    admin('rule', ['input[value=passkey]', 'main button.primary', 'dialog h2'], 'rule-sure'),
    admin('me', ['main section li button', 'dialog h2'], 'passkey-delete'),
];
