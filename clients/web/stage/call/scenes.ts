/** A consult's call from both its ends and a guest's, in every state. Nobody in it lives. */
import type { CallMe, CallPerson, CallView, ConsentView } from '~/model/call/call';
import * as a from '~/model/sample';
import { active, hers, inSession, person, recommendation, rows, theirs } from '../consult/scenes';
import { minutesAgo, nightMs, type Scene } from '../scene';
import { heardOf, streamOf } from './streams';

const consult = inSession.id;
const page = `#/consult/${consult}/call`;

// ---- who is there

const someone = (n: number, change: Partial<CallPerson>): CallPerson => ({
    device: a.deviceId(n),
    member: a.memberId(n),
    part: 'responder',
    sinceMs: minutesAgo(6),
    person: false,
    signs: false,
    audioMuted: false,
    videoMuted: false,
    paused: 'flowing',
    lines: 360,
    stream: null,
    alarm: '',
    ...change,
});
const onPhone = (change: Partial<CallPerson> = {}): CallPerson =>
    someone(2, {
        person: true,
        stream: streamOf({ hue: 28, skin: '#b98a66', shirt: '#5b6f86', whole: true }),
        ...change,
    });
const doctor = (change: Partial<CallPerson> = {}): CallPerson =>
    someone(5, {
        part: 'psychiatrist',
        stream: streamOf({ hue: 205, skin: '#8d5f43', shirt: '#e6e3da' }),
        ...change,
    });
const signer = (change: Partial<CallPerson> = {}): CallPerson =>
    someone(80, {
        member: null,
        part: 'interpreter',
        signs: true,
        stream: streamOf({ hue: 265, skin: '#d9a987', shirt: '#1d2a30', hands: true }),
        ...change,
    });
const supervisor = (change: Partial<CallPerson> = {}): CallPerson =>
    someone(3, {
        part: 'supervisor',
        audioMuted: true,
        videoMuted: true,
        sinceMs: minutesAgo(1),
        ...change,
    });
const clinician = (change: Partial<CallPerson> = {}): CallPerson =>
    someone(1, { stream: streamOf({ hue: 120, skin: '#c79a75', shirt: '#7c3b2a' }), ...change });

const self = (n: number, change: Partial<CallMe> = {}): CallMe => ({
    device: a.deviceId(n),
    part: 'responder',
    audioMuted: false,
    videoMuted: false,
    camera: 'front',
    person: false,
    signs: false,
    ...change,
});
const consent: ConsentView = {
    id: a.messageId(900),
    by: 'person',
    scope: 'Picture and sound of this call. Nothing is recorded.',
    purpose: 'Psychiatric advice in this crisis.',
    recipients: ['psychiatrist', 'interpreter'],
    expiresMs: nightMs + 4 * 3_600_000,
    method: 'spoken',
    capacity: 'Calm, says in his own words what it is for.',
    interpreter: false,
    reason: '',
    device: a.deviceId(1),
    member: a.memberId(1),
    atMs: minutesAgo(7),
    state: 'in_force',
    withdrawnMs: 0,
};
const emergency: ConsentView = {
    ...consent,
    by: 'emergency',
    reason: 'They cannot answer, and it cannot wait.',
    capacity: '',
    expiresMs: nightMs + 3_600_000,
};
const withdrawn: ConsentView = { ...consent, state: 'withdrawn', withdrawnMs: minutesAgo(1) };

// ---- the three ends

type View = () => Partial<CallView>;
const live = (change: Partial<CallView>): Partial<CallView> => ({
    consult,
    phase: 'live',
    sinceMs: minutesAgo(6),
    consent,
    mayAdmit: true,
    canPip: true,
    ...change,
});

/** The team's: a telephone at night. */
const team = (name: string, call: View, change: Partial<Scene> = {}): Scene => ({
    name: `call-team-${name}`,
    snapshot: active(person(1, ['responder']), { consults: [inSession] }),
    path: page,
    rows: rows(),
    oncall: { phones: [{ label: 'Psychiatric emergency line', number: '+15550190100' }], guests: [] },
    call,
    ...change,
});
const mine = (change: Partial<CallView> = {}): Partial<CallView> =>
    live({
        me: self(1),
        own: streamOf({ hue: 120, skin: '#c79a75', shirt: '#7c3b2a', upright: true }),
        twoCameras: true,
        participants: [doctor()],
        ...change,
    });
/** This telephone shows the person in crisis. */
const holds = (change: Partial<CallView> = {}): Partial<CallView> =>
    mine({
        me: self(1, { person: true, camera: 'back' }),
        own: streamOf({ hue: 28, skin: '#b98a66', shirt: '#5b6f86', whole: true, upright: true }),
        ...change,
    });

/** The psychiatrist's: a laptop, or a telephone in bed. */
const doctors = (name: string, call: View, change: Partial<Scene> = {}): Scene => ({
    name: `call-doctor-${name}`,
    snapshot: active(person(5, ['psychiatrist']), { consults: [hers] }),
    path: page,
    rows: rows(),
    oncall: { phones: [{ label: 'Supervisor on duty', number: '+15550190101' }], guests: [] },
    call,
    ...change,
});
const doctorSees = (change: Partial<CallView> = {}): Partial<CallView> =>
    live({
        me: self(5, { part: 'psychiatrist' }),
        own: streamOf({ hue: 205, skin: '#8d5f43', shirt: '#e6e3da' }),
        participants: [onPhone(), clinician()],
        ...change,
    });
const atDesk = (one: Scene): Scene => ({ ...one, name: `${one.name}-wide`, wide: true });

const teamScenes: readonly Scene[] = [
    team('room', () => ({}), { path: `#/consult/${consult}/room` }),
    team('room-no-video', () => ({}), {
        path: `#/consult/${consult}/room`,
        snapshot: active({ ...person(1, ['responder']), video: false }, { consults: [inSession] }),
    }),
    team('room-in-call', () => mine(), { path: `#/consult/${consult}/room` }),
    // A newer version waits: it would load the page anew, and is not offered while a call goes on.
    team('update', () => mine(), { handset: { onUpdate: (tell) => tell() }, without: '.notices .banner' }),
    team('lobby', () => ({ consult })),
    team('test', () => ({
        consult,
        phase: 'testing',
        consent,
        level: 0.55,
        own: streamOf({ hue: 120, skin: '#c79a75', shirt: '#7c3b2a' }),
    })),
    team('test-refused', () => ({ consult, phase: 'testing', consent, trouble: 'refused' })),
    team('joining-long', () => ({ consult, phase: 'joining', sinceMs: nightMs - 12_000, consent })),
    team('no-consent', () => mine({ consent: null, participants: [doctor({ stream: null, lines: 0 })] })),
    team('consent', () => mine({ consent: null }), { taps: ['.notes .primary'] }),
    team('emergency', () => mine({ consent: null }), { taps: ['.notes .actions button:last-child'] }),
    team('emergency-basis', () => mine({ consent: emergency })),
    team('live', () => mine()),
    team('holds', () => holds()),
    team('more', () => mine(), { taps: ['.controls > :nth-child(4)'] }),
    team('chat', () => holds(), { taps: ['.controls .chat'] }),
    team('signs', () => holds({ participants: [doctor(), signer(), supervisor()] })),
    team('muted', () => mine({ me: self(1, { audioMuted: true, videoMuted: true }) })),
    team('no-camera', () => mine({ me: self(1, { videoMuted: true }), trouble: 'busy', own: heardOf(null) })),
    team('waits', () => mine({ waiting: [supervisor(), signer({ sinceMs: nightMs, stream: null })] })),
    team('smaller', () => mine({ mode: 'smaller', modeWhy: 'weak', up: 1, down: 2 })),
    team('audio', () => mine({ mode: 'audio', modeWhy: 'weak', up: 1, down: 1 })),
    team('text', () => mine({ phase: 'reconnecting', mode: 'text', modeWhy: 'lost', up: 0, down: 0 })),
    team('reconnecting', () => mine({ phase: 'reconnecting', up: 0, down: 0 })),
    team('recommended', () => holds(), {
        rows: rows(recommendation),
        snapshot: active(person(1, ['responder']), { consults: [inSession], urgent: [recommendation] }),
    }),
    team('withdraw', () => mine(), { taps: ['.notes .bar > :last-child'] }),
    team('withdrawn', () => mine({ consent: withdrawn, restricted: true })),
    team('leave', () => holds(), { taps: ['.controls .danger'] }),
    team('unavailable', () => ({ consult, phase: 'failed', why: 'unavailable', consent })),
    team('early', () => ({ consult, phase: 'failed', why: 'no_consent' })),
    team('unsealed', () => ({ consult, phase: 'failed', why: 'unsealed', consent })),
    team('left', () => ({ consult, phase: 'ended', why: 'left', consent })),
];

const doctorScenes: readonly Scene[] = [
    atDesk(doctors('live', () => doctorSees())),
    doctors('live', () => doctorSees()),
    atDesk(
        doctors('five', () => doctorSees({ participants: [onPhone(), signer(), clinician(), supervisor()] })),
    ),
    doctors('five', () => doctorSees({ participants: [onPhone(), signer(), clinician(), supervisor()] })),
    atDesk(
        doctors('swapped', () => doctorSees({ participants: [onPhone({ alarm: 'swapped' }), clinician()] })),
    ),
    doctors('unopened', () => doctorSees({ participants: [onPhone({ alarm: 'unopened' }), clinician()] })),
    atDesk(doctors('reconnecting', () => doctorSees({ phase: 'reconnecting', up: 0, down: 0 }))),
    doctors('paused', () =>
        doctorSees({ participants: [onPhone({ paused: 'bandwidth', lines: 0 }), clinician()], down: 1 }),
    ),
    doctors('alone', () => doctorSees({ participants: [] })),
    atDesk(doctors('people', () => doctorSees(), { taps: ['.call header .people'] })),
    atDesk(doctors('keys', () => doctorSees(), { taps: ['key:?'] })),
    atDesk(
        doctors(
            'captions',
            () => doctorSees({ participants: [onPhone({ stream: heardOf(onPhone().stream) })] }),
            { taps: ['key:s'] },
        ),
    ),
    atDesk(doctors('about', () => doctorSees(), { taps: ['.notes .about'] })),
    doctors('home', () => doctorSees({ waiting: [supervisor()] }), { path: '#/' }),
];

const overseer = person(3, ['supervisor']);
const supervisorScenes: readonly Scene[] = [
    {
        ...team('waiting', () => ({
            consult,
            phase: 'waiting',
            sinceMs: minutesAgo(1),
            consent,
            own: streamOf({ hue: 320, skin: '#c99c7a', shirt: '#3c2b4d' }),
        })),
        name: 'call-supervisor-waiting',
        snapshot: active(overseer, { consults: [theirs({ ...inSession, mine: false, may: [] })] }),
    },
    {
        ...team('withdrawn', () =>
            live({
                me: self(3, { part: 'supervisor' }),
                participants: [onPhone({ stream: null }), doctor({ stream: null })],
                consent: withdrawn,
                restricted: true,
            }),
        ),
        name: 'call-supervisor-withdrawn',
        snapshot: active(overseer, { consults: [theirs({ ...inSession, mine: false, may: [] })] }),
    },
];

const guest = (name: string, call: View, taps: readonly string[] = []): Scene => ({
    name: `call-guest-${name}`,
    snapshot: a.snapshot(),
    guest: {
        standing: {
            kind: 'in',
            role: 'interpreter',
            present: [
                { role: 'responder', people: 2 },
                { role: 'psychiatrist', people: 1 },
            ],
            untilMs: nightMs + 4 * 3_600_000,
        },
        online: true,
        nowMs: nightMs,
    },
    call,
    taps,
});
const guestSees = (change: Partial<CallView> = {}): Partial<CallView> =>
    live({
        me: self(80, { part: 'interpreter', signs: true }),
        own: streamOf({ hue: 265, skin: '#d9a987', shirt: '#1d2a30', hands: true }),
        participants: [onPhone({ member: null }), doctor({ member: null }), clinician({ member: null })],
        consent: null,
        ...change,
    });
const guestScenes: readonly Scene[] = [
    guest('door', () => ({ consult })),
    guest('lobby', () => ({ consult }), ['main .primary']),
    guest('live', () => guestSees()),
    guest('restricted', () =>
        guestSees({
            me: self(81, { part: 'receiving_facility' }),
            restricted: true,
            participants: [onPhone({ member: null, stream: null })],
        }),
    ),
];

export const scenes: readonly Scene[] = [...guestScenes, ...teamScenes, ...doctorScenes, ...supervisorScenes];
