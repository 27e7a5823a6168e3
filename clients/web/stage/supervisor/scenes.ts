/** A supervisor's night: what waits, who is on call, the rotas behind it, and the figures. Names and places are invented. */
import type { Me, Snapshot } from '~/model/engine';
import type { ConsultView, FigureCell, FiguresView, OnCallView, Span } from '~/model/on-call';
import * as a from '~/model/sample';
import { minutesAgo, nightMs, type OnCallScene, type Scene } from '../scene';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const me: Me = {
    agency: '0a'.repeat(16) as never,
    agencyLabel: 'Lakeside Crisis Response',
    member: a.memberId(3),
    device: a.deviceId(3),
    roles: ['supervisor'],
    clinical: false,
    authority: false,
    oneAuthority: false,
    shiftUntilMs: 0,
    screenLock: 'none',
    video: true,
    videoPhone: '+1 555 0142, code 88#',
};
const names = [
    'Ana Ruiz',
    'Jonah Okafor',
    'Mei Tan',
    'Sam Ito',
    'Dr. Priya Nair',
    'Dr. Kofi Osei',
    'Dr. Ruth Levin',
    'Dr. Tomás Vega',
];
const offline = {
    state: 'offline',
    sinceMs: minutesAgo(3),
    clockOffsetMs: 0,
    freshMs: minutesAgo(3),
} as const;

function active(change: Partial<Snapshot> = {}): Snapshot {
    return a.snapshot({
        standing: { kind: 'active', me },
        link: { state: 'online', sinceMs: minutesAgo(60), clockOffsetMs: 0, freshMs: nightMs },
        members: names.map((name, n) =>
            a.member(n + 1, { name, roles: [n === 2 ? 'supervisor' : n > 3 ? 'psychiatrist' : 'responder'] }),
        ),
        units: [1, 2, 3, 4].map((n) =>
            a.unit(n, { name: `Crisis ${n}`, members: [a.memberId(1), a.memberId(2)] }),
        ),
        ...change,
    });
}

const at = (member: number, step: number, state: ConsultView['targets'][number]['state']) => ({
    member: a.memberId(member),
    step,
    state,
    atMs: minutesAgo(1),
});
const consults: readonly ConsultView[] = [
    a.consult(1, {
        unit: a.unitId(1),
        state: 'exhausted',
        urgency: 'urgent',
        language: 'es',
        step: 2,
        alarms: 4,
        nextMs: 0,
        requestedMs: minutesAgo(11),
        summary: 'Woman of 41 on the bridge railing, talks to us, asks for her doctor.',
        targets: [at(5, 0, 'timed_out'), at(6, 1, 'declined'), at(3, 2, 'timed_out')],
        may: ['take', 'cancel', 'end'],
    }),
    a.consult(2, {
        unit: a.unitId(4),
        state: 'requested',
        urgency: 'routine',
        step: -1,
        nextMs: 0,
        requestedMs: minutesAgo(2),
        opened: false,
        may: ['release', 'cancel'],
    }),
    a.consult(3, {
        unit: a.unitId(2),
        urgency: 'important',
        interpreter: true,
        step: 1,
        nextMs: nightMs + 24_000,
        requestedMs: minutesAgo(4),
        targets: [at(5, 0, 'unreachable'), at(6, 1, 'delivered')],
        may: ['escalate', 'cancel'],
    }),
    a.consult(4, {
        unit: a.unitId(3),
        state: 'in_session',
        urgency: 'urgent',
        nextMs: 0,
        requestedMs: minutesAgo(22),
        acceptedBy: a.memberId(7),
        acceptedMs: minutesAgo(21),
        joinedMs: minutesAgo(21),
        may: ['end'],
    }),
    a.consult(5, {
        unit: a.unitId(3),
        state: 'ended',
        nextMs: 0,
        requestedMs: minutesAgo(190),
        acceptedBy: a.memberId(5),
        acceptedMs: minutesAgo(189),
        joinedMs: minutesAgo(188),
        endedMs: minutesAgo(150),
    }),
];

const onCall: OnCallView = {
    atMs: nightMs,
    rotas: [
        { rota: a.rotaId(1), label: 'Psychiatry, first', member: a.memberId(5), untilMs: nightMs + 6 * HOUR },
        {
            rota: a.rotaId(2),
            label: 'Psychiatry, backup',
            member: a.memberId(6),
            untilMs: nightMs + 6 * HOUR,
        },
        { rota: a.rotaId(3), label: 'Child psychiatry', member: null, untilMs: nightMs + 4 * HOUR },
    ],
    warnings: [
        { rota: a.rotaId(3), kind: 'gap', member: null, fromMs: nightMs - HOUR, untilMs: nightMs + 4 * HOUR },
        {
            rota: a.rotaId(1),
            kind: 'unreachable',
            member: a.memberId(8),
            fromMs: nightMs + 18 * HOUR,
            untilMs: nightMs + 30 * HOUR,
        },
        {
            rota: a.rotaId(2),
            kind: 'probe_failed',
            member: a.memberId(6),
            fromMs: nightMs - 2 * HOUR,
            untilMs: nightMs + 6 * HOUR,
        },
    ],
};

/** Four weeks from Monday, 23 November: days and nights in turn, a gap on a Sunday night, a night that somebody took over. */
const monday = Date.UTC(2026, 10, 23);
const spans: readonly Span[] = Array.from({ length: 57 }, (_, n): Span => {
    const fromMs = monday + n * (DAY / 2) - 4 * HOUR;
    const gap = n === 13 || n === 41;
    return {
        fromMs,
        untilMs: fromMs + DAY / 2,
        member: gap ? null : a.memberId(n === 24 ? 8 : 5 + (n % 3)),
        why: gap ? 'gap' : n === 24 ? 'override' : 'rotation',
    };
});
const weekly: readonly Span[] = [0, 1, 2, 3, 4].map((n) => ({
    fromMs: monday + (n * 7 - 4) * DAY + 8 * HOUR,
    untilMs: monday + (n * 7 + 3) * DAY + 8 * HOUR,
    member: a.memberId(5 + (n % 4)),
    why: 'rotation',
}));
const rotas = [
    a.rota(1, {
        label: 'Psychiatry, first',
        fallback: a.rotaId(2),
        rotations: [
            {
                id: 'r1',
                zone: 'America/Chicago',
                start: '2026-03-01T08:00',
                rule: 'FREQ=DAILY',
                lengthMin: 720,
                members: [5, 6, 7].map(a.memberId),
            },
            {
                id: 'r2',
                zone: 'America/Chicago',
                start: '2026-03-01T20:00',
                rule: 'FREQ=MONTHLY;BYDAY=1MO',
                lengthMin: 720,
                members: [a.memberId(8)],
            },
        ],
        absences: [
            { id: 'a1', member: a.memberId(6), fromMs: nightMs + 9 * DAY, untilMs: nightMs + 12 * DAY },
        ],
    }),
    a.rota(2, { label: 'Psychiatry, backup' }),
    a.rota(3, { label: 'Child psychiatry' }),
];
const step = { rotas: [], members: [], delayS: 60, repeats: 0, language: false, specialty: '', licence: '' };
const ladders = [
    a.ladder(1, {
        label: 'Adults',
        steps: [
            { ...step, rotas: [a.rotaId(1)] },
            {
                ...step,
                rotas: [a.rotaId(2)],
                members: [a.memberId(8)],
                delayS: 90,
                repeats: 1,
                language: true,
                licence: 'IL',
            },
        ],
        phones: [
            { label: 'Psychiatric emergency line', number: '+15550190100' },
            { label: 'Supervisor on duty', number: '+15550190101' },
        ],
    }),
    a.ladder(2, { label: 'Children' }),
];

const cell = (label: string, consults: number, slow = 1): FigureCell =>
    consults < 5
        ? a.figure(label)
        : a.figure(label, {
              consults,
              toPageP50Ms: 900,
              toAcceptP50Ms: 48_000 * slow,
              toAcceptP90Ms: 190_000 * slow,
              toJoinP50Ms: 95_000 * slow,
              toJoinP90Ms: 260_000 * slow,
              unanswered: 0.03 * slow,
              depth: 1.2,
          });
const hours = [21, 18, 12, 9, 4, 3, 5, 8, 11, 12, 9, 10, 13, 12, 14, 16, 19, 22, 24, 27, 31, 29, 27, 25];
const figures: FiguresView = {
    fromMs: nightMs - 30 * DAY,
    untilMs: nightMs,
    zone: 'UTC',
    all: { ...cell('all', 381), toJoinP90Ms: 11.5 * 60_000 },
    byHour: hours.map((n, hour) => cell(String(hour), n, hour < 6 ? 2.4 : 1)),
    byWeekday: [48, 44, 47, 51, 58, 70, 63].map((n, day) => cell(String(day), n)),
    byType: [cell('EDP', 160), cell('SUICTHRT', 98), cell('WELFARE', 41), cell('OD', 0)],
    byDistrict: [cell('North', 120), cell('Harbour', 104), cell('Old Town', 75)],
    byDisposition: [
        cell('remained_with_support', 121),
        cell('voluntary_transport', 63),
        cell('involuntary_hold', 12),
        cell('', 0),
    ],
    unopened: 82,
};
const few: FiguresView = {
    ...figures,
    all: a.figure('all'),
    byType: [],
    byDistrict: [],
    byDisposition: [],
    unopened: null,
};
const night: OnCallScene = { onCall, rotas, spans, ladders, figures };

function supervisor(name: string, page: string, change: Partial<Scene> = {}, wide = true): Scene {
    return {
        name: `supervisor-${name}`,
        path: `#/supervisor/${page}`,
        snapshot: active({ consults }),
        oncall: night,
        wide,
        ...change,
    };
}
const empty = { snapshot: active() };
const gone = { snapshot: active({ link: offline }) };

export const scenes: readonly Scene[] = [
    supervisor('queue', 'queue'),
    supervisor('queue-phone', 'queue', {}, false),
    supervisor('queue-empty', 'queue', empty),
    supervisor('queue-loading', 'queue', { ...empty, oncall: {} }),
    supervisor('queue-offline', 'queue', gone, false),
    supervisor('queue-failed', 'queue', { failing: 'not_permitted' }),
    supervisor('oncall', 'oncall', {}, false),
    supervisor(
        'oncall-none',
        'oncall',
        { ...empty, oncall: { onCall: { atMs: nightMs, rotas: [], warnings: [] } } },
        false,
    ),
    supervisor('rotas', 'rotas'),
    supervisor('rotas-phone', 'rotas', empty, false),
    supervisor('rotas-weekly', 'rotas', { ...empty, oncall: { ...night, spans: weekly } }),
    supervisor('rotas-weekly-phone', 'rotas', { ...empty, oncall: { ...night, spans: weekly } }, false),
    supervisor('rotas-table', 'rotas', { ...empty, taps: ['.table summary'] }),
    supervisor('rotas-none', 'rotas', { ...empty, oncall: { ...night, rotas: [] } }, false),
    supervisor('rotas-loading', 'rotas', { ...empty, oncall: {} }, false),
    supervisor('rotas-offline', 'rotas', gone, false),
    supervisor('rota-cover', `rotas/${a.rotaId(1)}/${nightMs + 40 * HOUR}/${nightMs + 52 * HOUR}`, empty),
    supervisor(
        'rota-cover-phone',
        `rotas/${a.rotaId(1)}/${nightMs + 40 * HOUR}/${nightMs + 52 * HOUR}`,
        empty,
        false,
    ),
    supervisor(
        'rota-fault',
        `rotas/${a.rotaId(1)}`,
        { ...empty, taps: ['.choose .primary', 'dialog .primary'] },
        false,
    ),
    supervisor('rota-swap', 'rotas', { ...empty, taps: ['.table summary', 'tbody button:nth-of-type(2)'] }),
    supervisor('rota-rotation', 'rotas', { ...empty, taps: ['ol li button'] }, false),
    supervisor('rota-import', 'rotas', { ...empty, taps: ['.more button:nth-child(2)'] }, false),
    supervisor('rota-feed', 'rotas', { ...empty, taps: ['.more button:nth-child(3)'] }, false),
    supervisor('rota-settings', 'rotas', { ...empty, taps: ['.more button:nth-child(1)'] }, false),
    supervisor('ladders', 'ladders', empty),
    supervisor('ladders-none', 'ladders', { ...empty, oncall: { ...night, ladders: [] } }, false),
    supervisor('ladder-edit', 'ladders', { ...empty, taps: ['section.card button'] }),
    supervisor('ladder-edit-phone', 'ladders', { ...empty, taps: ['section.card button'] }, false),
    supervisor('people', 'people', empty, false),
    supervisor('people-skills', 'people', { ...empty, taps: ['section li button'] }),
    supervisor('people-skills-phone', 'people', { ...empty, taps: ['section li button'] }, false),
    supervisor('figures', 'figures', empty),
    supervisor('figures-phone', 'figures', empty, false),
    supervisor('figures-few', 'figures', { ...empty, oncall: { figures: few } }, false),
    supervisor('figures-loading', 'figures', { ...empty, oncall: {} }, false),
];
