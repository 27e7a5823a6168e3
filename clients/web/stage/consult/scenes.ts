/** A consult from both its ends, in every state. Names and places are invented. */
import type { Me, Row, Snapshot } from '~/model/engine';
import type { ConsultTarget, ConsultView, DutyView, GuestView, OnCallView } from '~/model/on-call';
import * as a from '~/model/sample';
import { GUEST_LINK, minutesAgo, nightMs, type OnCallScene, type Scene } from '../scene';

const [ana, jonah, mei, nair, osei, ruth] = [1, 2, 3, 5, 6, 7].map(a.memberId) as [
    Me['member'],
    Me['member'],
    Me['member'],
    Me['member'],
    Me['member'],
    Me['member'],
];
const secondsAgo = (n: number): number => nightMs - n * 1_000;
const room = a.channelId(701);
const side = a.channelId(702);
const operations = a.channelId(1);

export function person(n: number, roles: Me['roles']): Me {
    return {
        agency: '0a'.repeat(16) as never,
        agencyLabel: 'Lakeside Crisis Response',
        member: a.memberId(n),
        device: a.deviceId(n),
        roles,
        clinical: true,
        authority: false,
        oneAuthority: false,
        shiftUntilMs: 0,
        screenLock: 'none',
        video: true,
        videoPhone: '+1 555 0142, code 88#',
    };
}

const readers = [1, 2, 5].map(a.reader);
const offline = {
    state: 'offline',
    sinceMs: minutesAgo(3),
    clockOffsetMs: 0,
    freshMs: minutesAgo(3),
} as const;

export function active(me: Me, change: Partial<Snapshot> = {}): Snapshot {
    return a.snapshot({
        standing: { kind: 'active', me },
        link: { state: 'online', sinceMs: minutesAgo(60), clockOffsetMs: 0, freshMs: nightMs },
        members: [
            a.member(1, { name: 'Ana Ruiz', discipline: 'clinician' }),
            a.member(2, { name: 'Jonah Okafor', discipline: 'peer_specialist' }),
            a.member(3, { name: 'Mei Tan', roles: ['supervisor'] }),
            a.member(5, { name: 'Dr. Priya Nair', roles: ['psychiatrist'] }),
            a.member(6, { name: 'Dr. Kofi Osei', roles: ['psychiatrist'] }),
            a.member(7, { name: 'Dr. Ruth Levin', roles: ['psychiatrist'] }),
        ],
        units: [a.unit(1, { name: 'Crisis 2', members: [ana, jonah], channel: a.channelId(2) })],
        channels: [
            a.channel(1, { subject: a.incidentId(1), readers: [1, 2].map(a.reader) }),
            a.channel(701, { purpose: 'consult', subject: a.incidentId(1), readers }),
        ],
        incidents: [
            a.incident(1, {
                priority: 2,
                state: 'on_scene',
                units: [a.unitId(1)],
                createdMs: minutesAgo(34),
                operations,
                details: {
                    typeCode: 'EDP',
                    district: 'North',
                    address: '418 Alder St, back house',
                    place: null,
                    narrative:
                        'Brother called. 24, not slept for three days, hearing voices, no weapon seen.',
                    disposition: '',
                },
            }),
        ],
        statuses: [
            a.status(1, {
                primary: 'NotAvailable',
                secondary: 'OnScene',
                sinceMs: minutesAgo(20),
                atMs: minutesAgo(20),
            }),
        ],
        ...change,
    });
}

const target = (
    member: Me['member'],
    step: number,
    state: ConsultTarget['state'],
    ago: number,
): ConsultTarget => ({
    member,
    step,
    state,
    atMs: secondsAgo(ago),
});
const tried = (ago: number, event: string, step: number, member: Me['member'] | null = null) => ({
    atMs: secondsAgo(ago),
    event,
    step,
    member,
});

const line =
    '24, off olanzapine for 2 weeks, not slept for 3 days, voices tell him to leave. Calm with us. Can he stay with his brother?';
const asked: ConsultView = a.consult(1, {
    mine: true,
    urgency: 'urgent',
    language: 'es',
    interpreter: true,
    channel: room,
    summary: line,
    step: 1,
    steps: 3,
    requestedMs: secondsAgo(82),
    stepMs: secondsAgo(22),
    nextMs: nightMs + 38_000,
    may: ['escalate', 'cancel'],
    targets: [
        target(nair, 0, 'timed_out', 80),
        target(osei, 1, 'delivered', 20),
        target(ruth, 1, 'seen', 12),
    ],
    tried: [
        tried(81, 'paged', 0, nair),
        tried(22, 'timed_out', 0, nair),
        tried(22, 'paged', 1, osei),
        tried(22, 'paged', 1, ruth),
    ],
});
const accepted: ConsultView = {
    ...asked,
    state: 'accepted',
    acceptedBy: nair,
    acceptedMs: secondsAgo(14),
    nextMs: 0,
    step: 0,
    targets: [target(nair, 0, 'accepted', 14)],
    tried: [tried(81, 'paged', 0, nair), tried(14, 'accepted', 0, nair)],
    may: ['cancel', 'end'],
};
export const inSession: ConsultView = {
    ...accepted,
    state: 'in_session',
    joinedMs: secondsAgo(4),
    tried: [...accepted.tried, tried(4, 'joined', 0, nair)],
    may: ['end'],
};
const exhausted: ConsultView = {
    ...asked,
    state: 'exhausted',
    step: 2,
    nextMs: 0,
    alarms: 3,
    requestedMs: minutesAgo(4),
    targets: [
        ...asked.targets.map((one) => ({ ...one, state: 'timed_out' as const })),
        target(mei, 2, 'timed_out', 60),
    ],
    tried: [
        tried(239, 'unreachable', 0, nair),
        tried(239, 'paged', 1, osei),
        tried(239, 'paged', 1, ruth),
        tried(210, 'declined', 1, osei),
        tried(179, 'timed_out', 1, ruth),
        tried(179, 'paged', 2, mei),
        tried(60, 'exhausted', 2),
        tried(60, 'alarmed', 2),
    ],
    may: ['cancel'],
};
const phones = [
    { label: 'Psychiatric emergency line', number: '+15550190100' },
    { label: 'Supervisor on duty', number: '+15550190101' },
];
const own = JSON.stringify([{ name: 'Dispatch desk', number: '+15550100' }]);

// ---- the responder's end

const responder = person(1, ['responder']);
const progress = `#/consult/${asked.id}`;

function ask(
    name: string,
    consult: ConsultView | null,
    change: Partial<Scene> = {},
    link?: Snapshot['link'],
): Scene {
    return {
        name: `ask-${name}`,
        snapshot: active(responder, { consults: consult ? [consult] : [], ...(link ? { link } : {}) }),
        path: progress,
        oncall: { phones },
        kept: { phones: own },
        ...change,
    };
}

const text = (n: number, who: number, ago: number, words: string): Row =>
    a.text(n, {
        channel: room,
        device: a.deviceId(who),
        member: a.memberId(who),
        atMs: secondsAgo(ago),
        writtenMs: secondsAgo(ago),
        text: words,
    });
export const recommendation: Extract<Row, { kind: 'recommendation' }> = {
    ...a.text(40, { channel: room, device: a.deviceId(5), member: nair, atMs: secondsAgo(20) }),
    kind: 'recommendation',
    text: 'Olanzapine 10 mg ODT now if he takes it himself. No second dose before 4 h. Brother stays awake with him tonight. ED if he does not sleep by 06:00.',
    readBack: [],
    progress: a.progress({ sounding: true }),
};
const readBack = {
    ...recommendation,
    mine: true,
    progress: a.progress({ step: 'acknowledged' }),
    readBack: [
        {
            member: ana,
            text: 'Olanzapine ten now, nothing more for four hours, brother stays up, ED at six if no sleep.',
            atMs: secondsAgo(5),
        },
    ],
};
const talk: readonly Row[] = [
    {
        ...a.text(30, { channel: room, device: a.deviceId(1), member: ana, atMs: secondsAgo(82) }),
        kind: 'consult',
        summary: line,
        urgency: 'urgent',
    },
    text(31, 1, 60, 'Brother will stay the night. No weapons. He asks if it is you, from March.'),
    text(32, 5, 30, 'It is me. What did he take today, and how much does he weigh?'),
    text(33, 1, 25, 'Nothing since the 14th. About 80 kg.'),
];
export const rows = (...more: readonly Row[]) => new Map([[room, [...talk, ...more]]]);

const responderScenes: readonly Scene[] = [
    { ...ask('home', null), path: '' },
    { ...ask('sheet', null), path: '', taps: ['.grid .urgent'] },
    { ...ask('failed', null), path: '', failing: 'store_full', taps: ['.grid .urgent', 'dialog .go'] },
    { ...ask('home-paging', asked), path: '' },
    { ...ask('home-trouble', exhausted), path: '' },
    ask('sending', {
        ...asked,
        state: 'unconfirmed',
        step: -1,
        requestedMs: secondsAgo(3),
        nextMs: 0,
        channel: null,
        targets: [],
        tried: [],
        may: [],
    }),
    ask(
        'phone-tree',
        {
            ...asked,
            state: 'unconfirmed',
            step: -1,
            requestedMs: secondsAgo(12),
            nextMs: 0,
            channel: null,
            targets: [],
            tried: [],
            may: [],
        },
        {},
        offline,
    ),
    ask(
        'unsent',
        {
            ...asked,
            state: 'unsent',
            step: -1,
            requestedMs: minutesAgo(2),
            nextMs: 0,
            channel: null,
            targets: [],
            tried: [],
            may: [],
        },
        {},
        offline,
    ),
    ask(
        'no-phones',
        { ...asked, state: 'unsent', step: -1, nextMs: 0, channel: null, targets: [], tried: [], may: [] },
        { oncall: {}, kept: {} },
        offline,
    ),
    ask('held', {
        ...asked,
        state: 'requested',
        step: -1,
        nextMs: 0,
        targets: [],
        tried: [],
        may: ['cancel'],
    }),
    ask('paging', asked),
    ask('on-hold', { ...asked, urgency: 'routine', heldUntilMs: nightMs + 200_000 }),
    ask('cancel', asked, { taps: ['.progress .actions:last-child button'] }),
    ask('accepted', accepted),
    ask('exhausted', exhausted),
    ask('unknown', null),
    ask('room', inSession, { path: `${progress}/room`, rows: rows() }),
    ask('room-recommended', inSession, {
        path: `${progress}/room`,
        rows: rows(recommendation),
        snapshot: active(responder, { consults: [inSession], urgent: [recommendation] }),
    }),
    ask('read-back', inSession, {
        path: `${progress}/room`,
        rows: rows(recommendation),
        snapshot: active(responder, { consults: [inSession], urgent: [recommendation] }),
        taps: ['.urgent .danger'],
    }),
];

// ---- the psychiatrist's end

const psychiatrist = person(5, ['psychiatrist']);
const onCall: OnCallView = {
    atMs: nightMs,
    rotas: [
        { rota: a.rotaId(1), label: 'Psychiatry, nights', member: nair, untilMs: nightMs + 5.75 * 3_600_000 },
    ],
    warnings: [],
};
const duty: DutyView = {
    on: true,
    sound: true,
    testedMs: minutesAgo(380),
    probedMs: minutesAgo(200),
    push: true,
    holds: [a.rotaId(1)],
};
const spans = [
    {
        fromMs: nightMs + 18 * 3_600_000,
        untilMs: nightMs + 30 * 3_600_000,
        member: nair,
        why: 'rotation' as const,
    },
    {
        fromMs: nightMs + 90 * 3_600_000,
        untilMs: nightMs + 102 * 3_600_000,
        member: nair,
        why: 'override' as const,
    },
];
const night: OnCallScene = {
    onCall,
    duty,
    rotas: [a.rota(1, { label: 'Psychiatry, nights' })],
    spans,
    phones,
};
export const theirs = (change: Partial<ConsultView>): ConsultView => ({
    ...asked,
    mine: false,
    may: [],
    ...change,
});
const ringing = theirs({
    step: 0,
    ringing: true,
    may: ['accept', 'decline'],
    requestedMs: secondsAgo(9),
    targets: [],
    tried: [],
});
const softly = {
    ...ringing,
    urgency: 'routine',
    interpreter: false,
    language: '',
    may: ['accept', 'decline', 'hold'],
} as const;
export const hers = theirs({ ...inSession, mine: false, may: ['leave', 'end'] });

function duties(
    name: string,
    consults: readonly ConsultView[],
    change: Partial<Scene> = {},
    world: Partial<Snapshot> = {},
): Scene {
    return {
        name: `psychiatrist-${name}`,
        snapshot: active(psychiatrist, {
            consults,
            channels: consults.some((one) => one.acceptedBy === nair)
                ? [a.channel(701, { purpose: 'consult', subject: a.incidentId(1), readers })]
                : [],
            incidents: [],
            ...world,
        }),
        oncall: night,
        handset: { push: () => Promise.resolve('on') },
        ...change,
    };
}

const guest = (n: number, change: Partial<GuestView>): GuestView => ({
    id: a.memberId(n),
    role: 'interpreter',
    state: 'open',
    url: null,
    expiresMs: nightMs + 720_000,
    untilMs: nightMs + 3_600_000,
    device: null,
    genuine: null,
    by: nair,
    ...change,
});
const guests: readonly GuestView[] = [
    guest(80, { state: 'waiting', genuine: true }),
    guest(81, { state: 'waiting', role: 'receiving_facility', genuine: false }),
    guest(82, { url: GUEST_LINK }),
    guest(83, { state: 'in' }),
];
const where = a.position(1, { member: ana, fix: a.fix({ fixMs: secondsAgo(40), accuracyM: 12 }) });
const psychiatristScenes: readonly Scene[] = [
    duties('home', []),
    { ...duties('home', []), name: 'psychiatrist-home-wide', wide: true },
    duties('off', [], { oncall: { ...night, duty: { ...duty, on: false, testedMs: 0 } } }),
    duties('stop', [], { taps: ['[role="switch"]'] }),
    duties('rotas', [], {
        path: '#/psychiatrist/rotas',
        oncall: { ...night, rotas: [a.rota(1, { label: 'Psychiatry, first', owners: [nair] })] },
        // To be read, and not to be changed by who keeps it.
        without: 'ol li button',
    }),
    duties('loading', [], { oncall: {} }),
    duties('offline', [], {}, { link: offline }),
    duties('failed', [], { failing: 'offline' }),
    duties('test', [], {
        oncall: {
            ...night,
            duty: { ...duty, testedMs: 0 },
            paths: [
                { path: 'socket', state: 'delivered', atMs: nightMs, attempts: 1 },
                { path: 'push', state: 'sent', atMs: nightMs, attempts: 1 },
                { path: 'sms', state: 'queued', atMs: 0, attempts: 0 },
            ],
        },
        taps: ['li:first-child > button', 'li:nth-child(3) > button', 'wait:2200'],
    }),
    duties('push-off', [], {
        oncall: { ...night, duty: { ...duty, testedMs: 0 } },
        handset: { push: () => Promise.resolve('refused') },
    }),
    duties('ring', [ringing], {}, { positions: [where] }),
    {
        ...duties('ring', [ringing, { ...softly, id: a.consultId(2) }]),
        name: 'psychiatrist-ring-wide',
        wide: true,
    },
    duties('ring-hold', [softly]),
    duties('ring-no-line', [{ ...softly, summary: '', opened: false }], { handset: { soundArmed: false } }),
    duties('ring-failed', [softly], { failing: 'offline', taps: ['wait:700', '.accept', 'wait:100'] }),
    duties('ring-locked', [ringing], {
        path: '#/me',
        snapshot: active({ ...psychiatrist, screenLock: 'pin' }, { consults: [ringing] }),
        taps: ['main .row button'],
        events: [],
    }),
    duties('beaten-late', [ringing], {
        failing: 'already_accepted',
        taps: ['wait:700', '.accept', 'wait:100'],
    }),
    duties('beaten', [ringing], {
        events: [
            {
                kind: 'consult',
                consult: theirs({ ...accepted, mine: false, ringing: false, acceptedBy: osei, may: [] }),
            },
        ],
    }),
    duties('waiting', [
        theirs({ ...accepted, mine: false }),
        theirs({ id: a.consultId(3), urgency: 'routine', state: 'ended', endedMs: minutesAgo(40) }),
    ]),
    duties('room', [hers], { path: `${progress}/room`, rows: rows() }),
    duties(
        'room-read-back',
        [{ ...hers, context: true }],
        {
            path: `${progress}/room`,
            rows: rows(readBack),
        },
        { incidents: active(responder).incidents },
    ),
    {
        ...duties('room', [hers], { path: `${progress}/room`, rows: rows(readBack) }),
        name: 'psychiatrist-room-wide',
        wide: true,
    },
    duties('recommend', [hers], { path: `${progress}/room`, rows: rows(), taps: ['.do .primary'] }),
    duties('side', [hers], { path: `${progress}/room`, rows: rows(), taps: ['.tabs button'] }),
    duties(
        'side-open',
        [{ ...hers, side }],
        {
            path: `${progress}/side`,
            rows: new Map([
                [
                    side,
                    [
                        text(
                            60,
                            1,
                            9,
                            'Between us: he was held in March and it went badly. I would not say it in front of the officer.',
                        ),
                    ].map((row) => ({ ...row, channel: side })),
                ],
            ]),
        },
        {
            channels: [
                a.channel(701, { purpose: 'consult', subject: a.incidentId(1), readers }),
                a.channel(702, {
                    purpose: 'incident',
                    compartment: 'clinical',
                    subject: a.incidentId(1),
                    readers: [1, 5].map(a.reader),
                }),
            ],
        },
    ),
    duties('guests', [hers], { path: `${progress}/room`, rows: rows(), oncall: { ...night, guests } }),
    duties('guests-sheet', [hers], {
        path: `${progress}/room`,
        rows: rows(),
        oncall: { ...night, guests },
        taps: ['.invite'],
    }),
    duties('guests-none', [hers], {
        path: `${progress}/room`,
        rows: rows(),
        oncall: { ...night, guests: [] },
        taps: ['.invite'],
    }),
    duties('guests-link', [hers], {
        path: `${progress}/room`,
        rows: rows(),
        oncall: { ...night, guests },
        taps: ['.invite', 'dialog footer .primary'],
    }),
    duties('end', [hers], { path: `${progress}/room`, rows: rows(), taps: ['.do > :last-child'] }),
    duties('room-not-open', [hers], { path: `${progress}/room` }, { channels: [] }),
];

export const scenes: readonly Scene[] = [...responderScenes, ...psychiatristScenes];
