/** A pretended agency: as many units and incidents as a world asks for, the same on every run, and an engine that obeys. */
import type {
    ChannelView,
    Engine,
    EngineEvent,
    IncidentView,
    Me,
    MessageId,
    Row,
    Snapshot,
    Standing,
} from '~/model/engine';
import * as a from '~/model/sample';

export type Scene = 'quiet' | 'busy' | 'thousand' | 'empty' | 'loading' | 'offline' | 'duress' | 'alarm';

const MINUTE = 60_000;
const HARBOUR = { latE7: 475_640_000, lonE7: 191_200_000 };
const STREETS = ['Quay Street', 'Mill Lane', 'Ferry Road', 'Chapel Hill', 'Ropewalk', 'Station Square'];
const DISTRICTS = ['Harbour', 'Old Town', 'Millside', 'Northbank'];
const PEOPLE = [
    'Ana Ruiz',
    'Ben Okafor',
    'Eva Lindt',
    'Tom Haddad',
    'Mei Tan',
    'Omar Nasser',
    'Ida Berg',
    'Leo Costa',
];
const KINDS = ['EDP', 'SUICTHRT', 'WELFARE', 'MNTL', 'OD'];
const STATES = [
    ['NotAvailable', 'OnScene'],
    ['NotAvailable', 'EnRoute'],
    ['NotAvailable', 'Dispatched'],
    ['Available', 'InService'],
    ['Available', 'InService'],
    ['NotAvailable', 'PatientContact'],
    ['ConditionallyAvailable', 'Cleared'],
    ['NotAvailable', 'Break'],
] as const;

const of = <T>(list: readonly T[], n: number): T => list[n % list.length] as T;
export const ME = a.memberId(9_000);
const MY_DEVICE = a.deviceId(9_000);

export function snapshotOf(scene: Scene, nowMs: number): Snapshot {
    const units =
        scene === 'empty' || scene === 'quiet'
            ? scene === 'quiet'
                ? 4
                : 0
            : scene === 'thousand'
              ? 1_000
              : 14;
    const count = scene === 'empty' ? 0 : scene === 'quiet' ? 0 : scene === 'thousand' ? 60 : 7;
    const me: Me = {
        agency: 'a'.repeat(32) as Me['agency'],
        agencyLabel: 'Harbour County',
        member: ME,
        device: MY_DEVICE,
        roles: ['dispatcher'],
        clinical: false,
        authority: true,
        oneAuthority: true,
        screenLock: 'none',
        video: true,
        videoPhone: '+1 555 0142, code 88#',
        shiftUntilMs: 0,
    };
    const numbers = Array.from({ length: units }, (_, n) => n);
    const incidents = Array.from({ length: count }, (_, n): IncidentView => {
        const crew = n < 5 || scene === 'thousand' ? [a.unitId(n)] : [];
        const createdMs = nowMs - (3 + n * 7) * MINUTE;
        return a.incident(n, {
            priority: 1 + ((n * 2) % 5),
            state: crew.length === 0 ? 'open' : n % 3 === 0 ? 'on_scene' : 'assigned',
            units: crew,
            createdMs,
            operations: a.channelId(5_000 + n),
            details:
                n === 4
                    ? null
                    : {
                          typeCode: of(KINDS, n),
                          district: of(DISTRICTS, n),
                          address: `${of(STREETS, n)} ${4 + n * 3}`,
                          place: {
                              latE7: HARBOUR.latE7 + ((n * 37) % 11) * 9_000,
                              lonE7: HARBOUR.lonE7 + ((n * 53) % 13) * 11_000,
                          },
                          narrative:
                              'Who: Man of 34, his sister calls, speaks Spanish\nWhat: Pacing, shouting at the window since midnight\nWeapons, danger: A kitchen knife earlier, now on the table\nMedical: Stopped sertraline two weeks ago\nWho is there: Sister and a child of six, door is open',
                          disposition: '',
                      },
        });
    });
    const channels: ChannelView[] = [
        ...numbers.map((n) =>
            a.channel(100 + n, { purpose: 'unit', subject: a.unitId(n), readers: [a.reader(n)] }),
        ),
        ...incidents.map((incident, n) =>
            a.channel(5_000 + n, {
                subject: incident.id,
                readers: [a.reader(n), { device: MY_DEVICE, member: ME, kind: 'member', untilMs: 0 }],
                lastMs: nowMs,
            }),
        ),
    ];
    const pending: Row[] =
        count === 0
            ? []
            : [
                  a.assignment(70_001, {
                      channel: a.channelId(5_002),
                      unit: a.unitId(2),
                      mine: true,
                      member: ME,
                      atMs: nowMs - 75_000,
                  }),
                  a.text(70_002, {
                      channel: a.channelId(5_000),
                      member: a.memberId(0),
                      urgency: 'urgent',
                      text: 'Second person on the roof. Send another unit.',
                      progress: a.progress({ sounding: true }),
                      atMs: nowMs - 20_000,
                  }),
              ];
    if (scene === 'duress') {
        pending.push(
            a.duress(70_003, {
                channel: a.channelId(5_001),
                unit: a.unitId(1),
                member: a.memberId(1),
                atMs: nowMs - 8_000,
                progress: a.progress({ sounding: true }),
            }),
        );
    }
    const consults =
        scene === 'busy'
            ? [
                  a.consult(1, {
                      incident: a.incidentId(0),
                      unit: a.unitId(0),
                      member: a.memberId(0),
                      urgency: 'urgent',
                      requestedMs: nowMs - 75_000,
                      step: 1,
                      nextMs: nowMs + 45_000,
                      targets: [
                          { member: a.memberId(5), step: 0, state: 'timed_out', atMs: nowMs - 15_000 },
                          { member: a.memberId(6), step: 1, state: 'delivered', atMs: nowMs - 14_000 },
                      ],
                  }),
                  a.consult(2, {
                      incident: a.incidentId(1),
                      unit: a.unitId(1),
                      member: a.memberId(1),
                      state: 'in_session',
                      requestedMs: nowMs - 9 * MINUTE,
                      acceptedBy: a.memberId(7),
                      acceptedMs: nowMs - 8 * MINUTE,
                      joinedMs: nowMs - 8 * MINUTE,
                      nextMs: 0,
                  }),
              ]
            : [];
    const standing: Standing = { kind: 'active', me };
    return a.snapshot({
        standing,
        link: {
            state: scene === 'offline' ? 'offline' : 'online',
            sinceMs: nowMs - 4 * MINUTE,
            clockOffsetMs: 0,
            freshMs: nowMs,
        },
        members: [
            ...numbers.map((n) => a.member(n, { name: n < 8 ? of(PEOPLE, n) : `${of(PEOPLE, n * 3)} ${n}` })),
            a.member(9_000, { name: 'Deniz Aydin', roles: ['dispatcher'] }),
        ],
        units: numbers.map((n) =>
            a.unit(n, {
                name: `Crisis ${n + 1}`,
                members: [a.memberId(n), a.memberId((n + 1) % Math.max(1, units))],
            }),
        ),
        channels,
        incidents,
        statuses: numbers.map((n) => {
            const [primary, secondary] = of(STATES, n);
            return a.status(n, {
                primary,
                secondary,
                sinceMs: nowMs - n * 2 * MINUTE,
                atMs: nowMs - ((n * 7) % 31) * MINUTE,
            });
        }),
        positions: numbers
            .filter((n) => n % 5 !== 4)
            .map((n) =>
                a.position(n, {
                    live: n % 3 !== 0,
                    atMs: nowMs - ((n * 7) % 31) * MINUTE,
                    fix: a.fix({
                        latE7: HARBOUR.latE7 + (((n * 7_919) % 200) - 100) * 900,
                        lonE7: HARBOUR.lonE7 + (((n * 104_729) % 200) - 100) * 1_300,
                        fixMs: nowMs - ((n * 11) % 9) * MINUTE,
                    }),
                }),
            ),
        urgent: pending,
        consults,
        alarms:
            scene === 'alarm'
                ? [
                      {
                          seq: 1,
                          kind: 'ghost_device',
                          channel: a.channelId(5_000),
                          device: a.deviceId(77),
                          code: 'E_GHOST',
                          stopsSending: true,
                          atMs: nowMs,
                          settled: false,
                      },
                  ]
                : [],
    });
}

/** Obeys what a desk asks for, at once, and tells it by events. Everything else resolves and does nothing. */
export function engineOf(
    start: Snapshot,
    nowMs: () => number,
): Engine & { tell: (events: readonly EngineEvent[]) => void } {
    const incidents = new Map(start.incidents.map((x) => [x.id, x]));
    const rows = new Map<string, Row[]>();
    const notes = new Map<string, string>();
    let listen: (events: readonly EngineEvent[]) => void = () => undefined;
    let next = 80_000;
    const tell = (events: readonly EngineEvent[]): void => listen(events);
    const change = (id: string, change: Partial<IncidentView>): void => {
        const incident = { ...incidents.get(id as IncidentView['id']), ...change } as IncidentView;
        incidents.set(incident.id, incident);
        tell([{ kind: 'incident', incident }]);
    };
    const post = (row: Row): MessageId => {
        rows.set(row.channel, [...(rows.get(row.channel) ?? []), row]);
        tell([{ kind: 'row', row }]);
        return row.id;
    };
    const mine = { mine: true, member: ME, device: MY_DEVICE };
    for (const [n, incident] of [...incidents.values()].entries()) {
        if (incident.operations === null) continue;
        const total = n === 0 && start.units.length === 1_000 ? 10_000 : 24;
        const made = Array.from({ length: total }, (_, m) =>
            a.text(n * 20_000 + m + 1, {
                channel: incident.operations as NonNullable<typeof incident.operations>,
                offset: m + 1,
                member: m % 3 === 0 ? ME : a.memberId(m % 2),
                mine: m % 3 === 0,
                atMs: nowMs() - (total - m) * 20_000,
                text: of(
                    [
                        'On our way.',
                        'He lets us in.',
                        'Scene is safe.',
                        'Copy, stay near the door.',
                        'Sister is with him.',
                    ],
                    m,
                ),
                progress: a.progress({ step: 'read' }),
            }),
        );
        rows.set(incident.operations, made);
    }
    const commands: Partial<Engine> = {
        start(to) {
            listen = to;
            return Promise.resolve(start);
        },
        history: (channel, before, limit) =>
            Promise.resolve((rows.get(channel) ?? []).filter((x) => x.offset < before).slice(-limit)),
        keep(name, text) {
            notes.set(name, text);
            return Promise.resolve();
        },
        kept: (name) => Promise.resolve(notes.get(name) ?? ''),
        presence: () => Promise.resolve({ devices: [], asOfMs: nowMs(), stale: false }),
        openIncident(priority, details) {
            const n = (next += 1);
            const id = a.incidentId(n);
            const operations = a.channelId(n);
            incidents.set(id, a.incident(n, { priority, details, createdMs: nowMs(), operations }));
            tell([
                { kind: 'channel', channel: a.channel(n, { subject: id }) },
                { kind: 'incident', incident: incidents.get(id) as IncidentView },
            ]);
            return Promise.resolve(id);
        },
        assign(incident, unit, note) {
            const known = incidents.get(incident) as IncidentView;
            change(incident, {
                units: [...known.units, unit],
                state: known.state === 'open' ? 'assigned' : known.state,
            });
            const channel = known.operations ?? a.channelId(1);
            const n = (next += 1);
            post(a.assignment(n, { channel, unit, note, priority: known.priority, atMs: nowMs(), ...mine }));
            return Promise.resolve();
        },
        unassign(incident, unit) {
            const units = (incidents.get(incident)?.units ?? []).filter((x) => x !== unit);
            change(incident, { units, ...(units.length === 0 ? { state: 'open' as const } : {}) });
            return Promise.resolve();
        },
        prioritise(incident, priority) {
            change(incident, { priority });
            return Promise.resolve();
        },
        describeIncident(incident, details) {
            change(incident, { details });
            return Promise.resolve();
        },
        moveIncident(incident, state, disposition) {
            const known = incidents.get(incident) as IncidentView;
            const details = known.details && { ...known.details, disposition };
            const ended = state === 'closed' || state === 'cancelled';
            change(incident, { state, details, closedMs: ended ? nowMs() : 0 });
            return Promise.resolve();
        },
        mark(incident, mark, unit, note) {
            const channel = incidents.get(incident)?.operations ?? a.channelId(1);
            const {
                text: _,
                urgency: _u,
                replyTo: _r,
                progress: _p,
                ...base
            } = a.text((next += 1), { channel, atMs: nowMs(), ...mine });
            post({ ...base, kind: 'timeline', mark, unit, note });
            return Promise.resolve();
        },
        send(channel, text, urgency) {
            const n = (next += 1);
            return Promise.resolve(post(a.text(n, { channel, text, urgency, atMs: nowMs(), ...mine })));
        },
        acknowledge(channel, id) {
            const row = [...start.urgent, ...(rows.get(channel) ?? [])].find((x) => x.id === id);
            if (row && 'progress' in row) {
                const acknowledged = [{ device: MY_DEVICE, member: ME, atMs: nowMs() }];
                post({ ...row, progress: a.progress({ step: 'acknowledged', acknowledged }) });
            }
            return Promise.resolve();
        },
    };
    return new Proxy({ tell, ...commands } as Engine & { tell: typeof tell }, {
        get: (target, name) =>
            name === 'then'
                ? undefined
                : ((Reflect.get(target, name) as unknown) ?? (() => Promise.resolve([]))),
    });
}
