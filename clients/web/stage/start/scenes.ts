/** Before a device is at work, and after. */
import type { EndReason, Standing } from '~/model/engine';
import { deviceId, snapshot } from '~/model/sample';
import { minutesAgo, nightMs, type Scene } from '../scene';

const online = { state: 'online', sinceMs: minutesAgo(60), clockOffsetMs: 0, freshMs: nightMs } as const;
const at = (name: string, standing: Standing, more: Partial<Scene> = {}): Scene => ({
    name: `start-${name}`,
    snapshot: snapshot({ standing, link: online }),
    ...more,
});
const reasons: readonly EndReason[] = ['revoked', 'signed_out', 'shift_over', 'other_tab', 'failed'];

export const scenes: readonly Scene[] = [
    at(
        'enrol-link',
        { kind: 'new' },
        { enrolment: { code: 'K7QX', root: 'ab'.repeat(32), authoritySeed: '', shiftUntilMs: 0 } },
    ),
    at(
        'enrol-authority',
        { kind: 'new' },
        { enrolment: { code: 'K7QX', root: 'ab'.repeat(32), authoritySeed: '00', shiftUntilMs: 0 } },
    ),
    at(
        'enrol-shift',
        { kind: 'new' },
        {
            enrolment: {
                code: 'K7QX',
                root: 'ab'.repeat(32),
                authoritySeed: '',
                shiftUntilMs: nightMs + 43_200_000,
            },
            taps: ['button.primary'],
        },
    ),
    at('enrol-typed', { kind: 'new' }, { taps: ['button.primary'] }),
    at(
        'enrol-wrong-root',
        { kind: 'new' },
        {
            enrolment: { code: 'K7QX', root: 'ab'.repeat(32), authoritySeed: '', shiftUntilMs: 0 },
            failing: 'wrong_root',
            taps: ['button.primary'],
        },
    ),
    at('pending', { kind: 'pending', shortCode: 'K7QX-9M2P-4TRW', device: deviceId(1) }),
    at('locked', { kind: 'locked', by: 'pin', tries: 5 }),
    at('locked-tries', { kind: 'locked', by: 'pin', tries: 2 }, { taps: ['summary'] }),
    at('enrol-signed-in', { kind: 'new' }, { signIn: { kind: 'ticket', ticket: 't' } }),
    at('passkey', { kind: 'person', by: 'passkey', device: deviceId(1) }),
    at('oidc', { kind: 'person', by: 'oidc', device: deviceId(1) }),
    at(
        'oidc-unknown',
        { kind: 'person', by: 'oidc', device: deviceId(1) },
        { signIn: { kind: 'failed', why: 'unknown' } },
    ),
    ...reasons.map((why) => at(`ended-${why}`, { kind: 'ended', why })),
    at('unfit', { kind: 'new' }, { unfit: ['keys', 'locks'] }),
    at('other-tab', { kind: 'new' }, { otherTab: true }),
];
