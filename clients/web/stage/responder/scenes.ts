/** A responder's night, in every state. Names and places are invented. */
import type { AlarmKind, ChannelId, ChannelView, Reader, Row, Snapshot } from '~/model/engine';
import {
    assignment,
    channel,
    channelId,
    deviceId,
    duress,
    fix,
    incident,
    incidentId,
    member,
    memberId,
    messageId,
    progress,
    reader,
    snapshot,
    status,
    text,
    unit,
    unitId,
} from '~/model/sample';
import { minutesAgo, nightMs, type Scene } from '../scene';

const me = {
    agency: '0a'.repeat(16) as never,
    agencyLabel: 'Lakeside Crisis Response',
    member: memberId(1),
    device: deviceId(1),
    roles: ['responder'],
    clinical: true,
    authority: false,
    oneAuthority: false,
    shiftUntilMs: 0,
    screenLock: 'pin',
    video: true,
    videoPhone: '+1 555 0142, code 88#',
} as const;
const people = ['Ana Ruiz', 'Jonah Okafor', 'Dispatch (Mei)', 'Sgt. D. Larsen', 'Dr. Priya Nair'];
const readers: readonly Reader[] = [
    ...[1, 2, 3, 4].map(reader),
    { device: deviceId(14), member: memberId(4), kind: 'member', untilMs: 0 },
    { device: deviceId(5), member: memberId(5), kind: 'guest', untilMs: nightMs + 3_600_000 },
    { device: deviceId(90), member: null, kind: 'records', untilMs: 0 },
];
const [incidentChannel, unitChannel, agencyChannel] = [channelId(1), channelId(2), channelId(3)];
const clinicalChannel = channelId(4);

const channels: readonly ChannelView[] = [
    channel(1, {
        subject: incidentId(1),
        readers,
        unread: 2,
        seen: 18,
        lastMs: minutesAgo(2),
        lastText: 'He is on the porch now.',
    }),
    channel(4, { subject: incidentId(1), compartment: 'clinical', readers: readers.slice(0, 2) }),
    channel(2, {
        purpose: 'unit',
        subject: unitId(1),
        readers: readers.slice(0, 2),
        lastMs: minutesAgo(31),
        lastText: 'Coffee after this one?',
    }),
    channel(3, {
        purpose: 'agency',
        readers,
        unread: 120,
        lastMs: minutesAgo(95),
        lastText: 'Bridge on 4th is closed until six.',
    }),
    channel(5, {
        subject: incidentId(5),
        archived: true,
        readers,
        lastMs: minutesAgo(400),
        lastText: 'Closed: remained with support.',
    }),
];

function active(change: Partial<Snapshot> = {}): Snapshot {
    return snapshot({
        standing: { kind: 'active', me },
        link: { state: 'online', sinceMs: minutesAgo(60), clockOffsetMs: 0, freshMs: nightMs },
        members: people.map((name, n) =>
            member(n + 1, {
                name,
                roles: [n === 2 ? 'dispatcher' : n === 4 ? 'psychiatrist' : 'responder'],
                discipline:
                    n === 0
                        ? 'clinician'
                        : n === 1
                          ? 'peer_specialist'
                          : n === 3
                            ? 'law_enforcement_officer'
                            : null,
            }),
        ),
        units: [unit(1, { name: 'Crisis 2', members: [memberId(1), memberId(2)], channel: unitChannel })],
        channels,
        incidents: [
            incident(1, {
                priority: 2,
                state: 'assigned',
                units: [unitId(1)],
                createdMs: minutesAgo(14),
                operations: incidentChannel,
                clinical: clinicalChannel,
                details: {
                    typeCode: 'EDP',
                    district: 'North',
                    address: '418 Alder St, back house',
                    place: null,
                    narrative:
                        'Brother called. 24, not slept for three days, hearing voices, no weapon seen. Dog in the yard. Wants to talk to somebody who is not police.',
                    disposition: '',
                },
            }),
        ],
        statuses: [
            status(1, {
                channel: unitChannel,
                primary: 'NotAvailable',
                secondary: 'EnRoute',
                sinceMs: minutesAgo(6),
                note: 'Train at 9th, 4 min',
                atMs: minutesAgo(6),
            }),
        ],
        ...change,
    });
}

const by = (n: number) => ({ device: deviceId(n), member: memberId(n), mine: n === 1 });
const at = (ago: number) => ({ atMs: minutesAgo(ago), writtenMs: minutesAgo(ago) });
const everyone = [1, 2, 3, 4].map(deviceId);

const talk: readonly Row[] = [
    assignment(10, {
        ...by(3),
        ...at(13),
        unit: unitId(1),
        priority: 2,
        note: 'Caller will meet you at the gate.',
        progress: progress({
            step: 'acknowledged',
            acknowledged: [{ device: deviceId(1), member: memberId(1), atMs: minutesAgo(12) }],
        }),
    }),
    { ...text(11), kind: 'timeline', mark: 'en_route', unit: unitId(1), note: '', ...by(1), ...at(12) },
    text(12, {
        ...by(3),
        ...at(11),
        text: 'Caller says he asked for "the lady from last time". Was that you, Ana?',
    }),
    text(13, {
        ...by(1),
        ...at(10),
        text: 'Yes. March. He likes the dog to be out with him. No lights when we arrive please.',
        replyTo: messageId(12),
        progress: progress({ step: 'read', delivered: everyone, read: [deviceId(2), deviceId(3)] }),
    }),
    text(14, {
        ...by(4),
        ...at(9),
        urgency: 'important',
        text: 'Staging at Alder and 5th, engine off, out of sight.',
    }),
    {
        ...text(15),
        kind: 'members',
        joined: [{ device: deviceId(5), member: memberId(5) }],
        left: [],
        ...at(8),
    },
    {
        ...text(16),
        kind: 'file',
        ...by(2),
        ...at(6),
        file: {
            name: 'gate.jpg',
            mediaType: 'image/jpeg',
            caption: 'The gate at the back, code 4471',
            sizeBytes: 1_840_000,
            doneBytes: 1_840_000,
        },
    },
    {
        ...text(17),
        kind: 'check_in',
        unit: unitId(1),
        fix: fix({ fixMs: minutesAgo(5) }),
        ...by(2),
        ...at(5),
    },
    { ...text(18), kind: 'closed', why: 'no_key', ...by(5), ...at(4) },
    text(19, {
        ...by(1),
        ...at(3),
        text: 'Two minutes out.',
        progress: progress({ step: 'delivered', delivered: everyone }),
    }),
    text(20, { ...by(3), ...at(2), text: 'He is on the porch now. تحدثت معه أخته أيضا' }),
];
const withRows = (rows: readonly Row[], id: ChannelId = incidentChannel) => new Map([[id, rows]]);
const chat = `#/channel/${incidentChannel}`;

const urgentText = text(31, {
    ...by(3),
    ...at(1),
    urgency: 'urgent',
    text: 'STOP. Second caller says there is a knife in the kitchen. Hold at the gate until Larsen is with you.',
    progress: progress({ sounding: true }),
});
const urgentAssignment = assignment(32, {
    ...by(3),
    ...at(1),
    unit: unitId(1),
    priority: 2,
    note: 'Caller will meet you at the gate.',
    progress: progress({ sounding: true }),
});
const partnerDuress = duress(33, {
    ...by(2),
    ...at(0),
    unit: unitId(1),
    fix: fix({ fixMs: minutesAgo(1) }),
    progress: progress({ sounding: true }),
});
const offline = {
    state: 'offline',
    sinceMs: minutesAgo(12),
    clockOffsetMs: 0,
    freshMs: minutesAgo(12),
} as const;
const phones = JSON.stringify([
    { name: 'Dispatch desk', number: '+15550100' },
    { name: 'Supervisor on duty', number: '+15550101' },
    { name: 'Dr. Nair, on call', number: '+15550102' },
]);
const many: readonly Row[] = Array.from({ length: 10_000 }, (_, n) =>
    text(n + 1, {
        ...by((n % 4) + 1),
        atMs: minutesAgo((10_000 - n) / 20),
        text: `Message ${n + 1}. ${'words '.repeat(n % 17)}`,
    }),
);
const alarm = (kind: AlarmKind, stopsSending: boolean) => ({
    seq: 1,
    kind,
    channel: kind === 'directory_fork' ? null : incidentChannel,
    device: null,
    code: 'E_FORK',
    stopsSending,
    atMs: minutesAgo(1),
    settled: false,
});
const alarmKinds: readonly AlarmKind[] = [
    'fork',
    'directory_fork',
    'ghost_device',
    'withheld',
    'history',
    'refused_commit',
    'changed_frame',
];

export const scenes: readonly Scene[] = [
    { name: 'home', snapshot: active() },
    { name: 'home-wide', snapshot: active(), rows: withRows(talk), path: chat, wide: true },
    { name: 'home-assigned', snapshot: active({ urgent: [urgentAssignment] }) },
    { name: 'home-duress', snapshot: active({ urgent: [partnerDuress, urgentText] }) },
    { name: 'home-empty', snapshot: active({ incidents: [], channels: [], statuses: [] }) },
    {
        name: 'home-loading',
        snapshot: active({
            incidents: [],
            channels: [],
            units: [],
            link: { state: 'connecting', sinceMs: nightMs, clockOffsetMs: 0, freshMs: 0 },
        }),
    },
    { name: 'home-offline', snapshot: active({ link: offline }) },
    { name: 'home-sound-off', snapshot: active(), handset: { soundArmed: false } },
    { name: 'home-full', snapshot: active({ store: 'full' }) },
    {
        name: 'home-clock',
        snapshot: active({
            link: { state: 'online', sinceMs: nightMs, clockOffsetMs: -86_400_000, freshMs: nightMs },
        }),
    },
    { name: 'home-update', snapshot: active(), handset: { onUpdate: (tell) => tell() } },
    { name: 'home-no-unit', snapshot: active({ units: [], incidents: [] }) },
    { name: 'home-status-failed', snapshot: active(), failing: 'store_full', taps: ['.grid button'] },
    { name: 'status-more', snapshot: active(), taps: ['.grid button[aria-haspopup]'] },
    { name: 'safety', snapshot: active(), taps: ['nav button', 'dialog summary'] },
    { name: 'chat', snapshot: active(), rows: withRows(talk), path: chat },
    {
        name: 'chat-urgent',
        snapshot: active({ urgent: [urgentText] }),
        rows: withRows([...talk, urgentText]),
        path: chat,
    },
    {
        name: 'chat-duress',
        snapshot: active({ urgent: [partnerDuress] }),
        rows: withRows([...talk, partnerDuress]),
        path: chat,
    },
    {
        name: 'chat-own-duress',
        snapshot: active(),
        rows: withRows([
            ...talk,
            duress(34, {
                ...by(1),
                ...at(0),
                progress: progress({ step: 'delivered', delivered: everyone }),
            }),
        ]),
        path: chat,
    },
    {
        name: 'chat-offline',
        snapshot: active({ link: offline }),
        rows: withRows([
            ...talk,
            text(40, {
                ...by(1),
                ...at(1),
                offset: 0,
                text: 'At the gate. Dog is friendly.',
                progress: progress({ step: 'waiting' }),
            }),
        ]),
        path: chat,
    },
    { name: 'chat-loading', snapshot: active(), history: 'never', path: chat },
    {
        name: 'chat-send-file',
        snapshot: active(),
        rows: withRows(talk),
        path: chat,
        taps: ['file:input[type=file]', 'dialog h2'],
    },
    { name: 'chat-unreadable', snapshot: active(), history: 'fails', path: chat },
    {
        name: 'chat-catching-up',
        snapshot: active({ channels: channels.map((one) => ({ ...one, caughtUp: false })) }),
        rows: withRows(talk.slice(0, 3)),
        path: chat,
    },
    {
        name: 'chat-unknown',
        snapshot: active({ channels: channels.map((one) => ({ ...one, caughtUp: false })) }),
        path: chat,
    },
    { name: 'chat-empty', snapshot: active(), path: chat },
    { name: 'chat-many', snapshot: active(), rows: withRows(many), path: chat },
    {
        name: 'chat-not-granted',
        snapshot: active(),
        rows: withRows([
            { ...text(1), kind: 'gap', ...at(30) },
            { ...text(2), kind: 'closed', why: 'not_granted', ...by(3), ...at(20) },
            { ...text(3), kind: 'closed', why: 'E_SIGNATURE', ...by(4), ...at(19) },
            {
                ...text(4),
                kind: 'context_wanted',
                fromEpoch: 2,
                reason: 'I take over from Jonah.',
                ...by(4),
                ...at(18),
            },
            ...talk.slice(-2),
        ]),
        path: chat,
    },
    {
        name: 'chat-refused',
        snapshot: active(),
        rows: withRows([
            ...talk.slice(0, 3),
            text(41, {
                ...by(1),
                ...at(1),
                text: 'Too late for this.',
                progress: progress({ step: 'refused', code: 302 }),
            }),
        ]),
        path: chat,
        taps: ['li:last-child .details'],
    },
    {
        name: 'chat-blocked',
        snapshot: active({ channels: channels.map((one) => ({ ...one, blocked: 'E_FORK' })) }),
        rows: withRows(talk),
        path: chat,
    },
    {
        name: 'chat-archived',
        snapshot: active({ channels: channels.map((one) => ({ ...one, archived: true })) }),
        rows: withRows(talk),
        path: chat,
    },
    {
        name: 'chat-draft-urgent',
        snapshot: active(),
        rows: withRows(talk),
        path: chat,
        kept: { [`draft:${incidentChannel}`]: '2He agreed to come with us. Need transport, no siren.' },
        taps: ['.urgency'],
    },
    { name: 'chat-progress', snapshot: active(), rows: withRows(talk), path: chat, taps: ['.mine .details'] },
    { name: 'chat-readers', snapshot: active(), rows: withRows(talk), path: chat, taps: ['button.readers'] },
    {
        name: 'chat-place',
        snapshot: active(),
        rows: withRows(talk),
        path: chat,
        taps: ['header button.icon'],
    },
    {
        name: 'chat-place-on',
        snapshot: active(),
        rows: withRows(talk),
        path: chat,
        kept: { sharing: JSON.stringify([{ channel: incidentChannel, untilMs: 0, coarseM: 0 }]) },
        handset: { watchPlace: (_, trouble) => (trouble('refused'), () => undefined) },
    },
    {
        name: 'chat-unit',
        snapshot: active(),
        rows: withRows(
            [text(50, { ...by(2), ...at(31), channel: unitChannel, text: 'Coffee after this one?' })],
            unitChannel,
        ),
        path: `#/channel/${unitChannel}`,
    },
    {
        name: 'chat-agency',
        snapshot: active(),
        rows: withRows(
            [
                text(51, {
                    ...by(3),
                    ...at(95),
                    channel: agencyChannel,
                    text: 'Bridge on 4th is closed until six.',
                }),
            ],
            agencyChannel,
        ),
        path: `#/channel/${agencyChannel}`,
    },
    { name: 'phones', snapshot: active({ link: offline }), path: '#/phones', kept: { phones } },
    { name: 'phones-empty', snapshot: active(), path: '#/phones' },
    {
        name: 'me',
        snapshot: active({ standing: { kind: 'active', me: { ...me, shiftUntilMs: nightMs + 14_400_000 } } }),
        path: '#/me',
        taps: ['details summary'],
    },
    { name: 'idle', snapshot: active({ urgent: [urgentText] }), path: '#/me', taps: ['main .row button'] },
    ...alarmKinds.map((kind, n) => ({
        name: `alarm-${kind}`,
        snapshot: active({ alarms: [alarm(kind, n % 2 === 0)] }),
    })),
];
