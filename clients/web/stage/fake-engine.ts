/** An engine that pretends: it holds a scene, does at once what it is asked, and forgets it with the page. */
import type {
    ChannelId,
    Engine,
    EngineEvent,
    MessageId,
    PasskeyId,
    PersonRule,
    Row,
    Snapshot,
    UnitId,
} from '~/model/engine';
import { consultId, deviceId, memberId, messageId, pageId, progress, text } from '~/model/sample';
import { GUEST_LINK, nightMs, type OnCallScene, type Scene } from './scene';

const DAY_MS = 86_400_000;

function failure(code: string): Error {
    const error = new Error(code);
    error.name = 'EngineFailure';
    return error;
}

export class FakeEngine implements Engine {
    readonly #scene: Scene;
    readonly #kept: Map<string, string>;
    readonly #rows = new Map<ChannelId, Row[]>();
    #tell: (events: readonly EngineEvent[]) => void = () => undefined;
    #next = 900_000;

    constructor(scene: Scene) {
        this.#scene = scene;
        this.#kept = new Map(Object.entries(scene.kept ?? {}));
        for (const [channel, rows] of scene.rows ?? []) this.#rows.set(channel, [...rows]);
    }

    async start(listen: (events: readonly EngineEvent[]) => void): Promise<Snapshot> {
        this.#tell = listen;
        await Promise.resolve();
        setTimeout(() => listen(this.#scene.events ?? []), 0);
        return this.#scene.snapshot;
    }

    #do<T>(value: T): Promise<T> {
        return this.#scene.failing ? Promise.reject(failure(this.#scene.failing)) : Promise.resolve(value);
    }

    #row(row: Row): void {
        const rows = this.#rows.get(row.channel) ?? [];
        const at = rows.findIndex((one) => one.id === row.id);
        if (at < 0) rows.push(row);
        else rows[at] = row;
        this.#rows.set(row.channel, rows);
        this.#tell([{ kind: 'row', row }]);
    }

    stop = (): Promise<void> => this.#do(undefined);
    reconnect = (): Promise<void> => this.#do(undefined);
    async settleAlarm(seq: number): Promise<void> {
        const alarm = this.#scene.snapshot.alarms.find((one) => one.seq === seq);
        await this.#do(undefined);
        if (alarm) this.#tell([{ kind: 'alarm', alarm: { ...alarm, settled: true } }]);
    }
    enrol = (): Promise<void> => this.#do(undefined);
    unlock = (): Promise<void> => this.#do(undefined);
    passkeyOptions = (): Promise<unknown> => this.#do({});
    passkeyAnswer = (): Promise<void> => this.#do(undefined);
    passkeys = (): ReturnType<Engine['passkeys']> =>
        this.#do([
            {
                id: messageId(1) as string as PasskeyId,
                device: deviceId(1),
                synced: true,
                createdMs: nightMs - 90 * DAY_MS,
                usedMs: nightMs - DAY_MS,
            },
            {
                id: messageId(2) as string as PasskeyId,
                device: deviceId(2),
                synced: false,
                createdMs: nightMs - 4 * DAY_MS,
                usedMs: 0,
            },
        ]);
    deletePasskey = (): Promise<void> => this.#do(undefined);
    personRule = (): ReturnType<Engine['personRule']> =>
        this.#do({ by: 'device', hours: 12, revision: 1 } as const);
    setPersonRule = (rule: PersonRule): Promise<PersonRule> => this.#do(rule);
    hasAgencySignIn = (): Promise<boolean> => this.#do(true);
    oidcTicket = (): Promise<void> => this.#do(undefined);
    oidcEnrolment = (): Promise<string> => this.#do('K7QX');
    takeAuthority = (): Promise<void> => this.#do(undefined);
    async signOut(): Promise<void> {
        await this.#do(undefined);
        this.#tell([{ kind: 'standing', standing: { kind: 'ended', why: 'signed_out' } }]);
    }

    history(channel: ChannelId, before: number, limit: number): Promise<readonly Row[]> {
        if (this.#scene.history === 'never') return new Promise(() => undefined);
        if (this.#scene.history === 'fails') return Promise.reject(failure('failed'));
        const rows = (this.#rows.get(channel) ?? []).filter((row) => row.offset < before);
        return Promise.resolve(rows.slice(-limit));
    }
    markRead = (): Promise<void> => Promise.resolve();
    presence = (): ReturnType<Engine['presence']> => this.#do({ devices: [], asOfMs: nightMs, stale: false });
    openFile = (): Promise<Blob> =>
        fetch(new URL('icons/icon.svg', document.baseURI)).then((answer) => answer.blob());

    async send(
        channel: ChannelId,
        words: string,
        urgency: Extract<Row, { kind: 'text' }>['urgency'],
    ): Promise<MessageId> {
        await this.#do(undefined);
        const id = messageId((this.#next += 1));
        const online = this.#scene.snapshot.link.state === 'online';
        this.#row(
            text(this.#next, {
                channel,
                id,
                offset: online ? this.#next : 0,
                mine: true,
                text: words,
                urgency,
                atMs: nightMs,
                writtenMs: nightMs,
                progress: progress({ step: online ? 'accepted' : 'waiting' }),
            }),
        );
        return id;
    }
    sendFile = (): Promise<MessageId> => this.#do(messageId(1));
    async acknowledge(channel: ChannelId, id: MessageId): Promise<void> {
        await this.#do(undefined);
        const row =
            this.#rows.get(channel)?.find((one) => one.id === id) ??
            this.#scene.snapshot.urgent.find((one) => one.id === id);
        if (!row || !('progress' in row)) return;
        const { standing } = this.#scene.snapshot;
        const told =
            standing.kind === 'active'
                ? [{ device: standing.me.device, member: standing.me.member, atMs: nightMs }]
                : [];
        this.#row({
            ...row,
            progress: { ...row.progress, step: 'acknowledged', sounding: false, acknowledged: told },
        });
    }
    cancel = (): Promise<boolean> => this.#do(false);
    typing = (): Promise<void> => Promise.resolve();
    async setStatus(
        unit: UnitId,
        primary: Parameters<Engine['setStatus']>[1],
        secondary: Parameters<Engine['setStatus']>[2],
        note: string,
    ): Promise<void> {
        await this.#do(undefined);
        const known = this.#scene.snapshot.statuses.find((one) => one.unit === unit);
        if (!known) return;
        const status = { ...known, primary, secondary, note, sinceMs: nightMs, atMs: nightMs };
        this.#tell([{ kind: 'status', status }]);
    }
    position = (): Promise<void> => Promise.resolve();
    sharePosition = (): Promise<void> => this.#do(undefined);
    safety = (): Promise<void> => this.#do(undefined);
    async keep(name: string, words: string): Promise<void> {
        await this.#do(undefined);
        this.#kept.set(name, words);
    }
    kept = (name: string): Promise<string> => Promise.resolve(this.#kept.get(name) ?? '');

    askContext = (): Promise<void> => this.#do(undefined);
    grant = (): Promise<void> => this.#do(undefined);
    admit = (): Promise<void> => this.#do(undefined);
    remove = (): Promise<void> => this.#do(undefined);
    openUnitChannel = (): ReturnType<Engine['openUnitChannel']> => Promise.reject(failure('offline'));
    openIncident = (): ReturnType<Engine['openIncident']> => Promise.reject(failure('offline'));
    describeIncident = (): Promise<void> => this.#do(undefined);
    prioritise = (): Promise<void> => this.#do(undefined);
    assign = (): Promise<void> => this.#do(undefined);
    unassign = (): Promise<void> => this.#do(undefined);
    moveIncident = (): Promise<void> => this.#do(undefined);
    mark = (): Promise<void> => this.#do(undefined);
    openClinical = (): ReturnType<Engine['openClinical']> => Promise.reject(failure('offline'));

    devices = (): ReturnType<Engine['devices']> => this.#do([]);
    createMember = (): ReturnType<Engine['createMember']> => Promise.reject(failure('offline'));
    createUnit = (): ReturnType<Engine['createUnit']> => Promise.reject(failure('offline'));
    enrolmentLink = (): ReturnType<Engine['enrolmentLink']> => Promise.reject(failure('offline'));
    approve = (): Promise<void> => this.#do(undefined);
    revoke = (): Promise<void> => this.#do(undefined);
    videoSend = (): Promise<void> => this.#do(undefined);
    videoKeys = (): Promise<void> => this.#do(undefined);
    recordConsent = (): Promise<void> => this.#do(undefined);
    withdrawConsent = (): Promise<void> => this.#do(undefined);
    pushKey = (): Promise<string> => this.#do('');
    pushSubscribed = (): Promise<void> => this.#do(undefined);

    /** What a scene has of who is on call; one that has none is as if it never came. */
    #known<Name extends keyof OnCallScene>(name: Name): Promise<NonNullable<OnCallScene[Name]>> {
        const known = this.#scene.oncall?.[name];
        return known === undefined ? new Promise(() => undefined) : this.#do(known);
    }
    /** As the engine does: the answer comes as an event too. */
    async #told<Name extends keyof OnCallScene>(
        name: Name,
        event: (value: NonNullable<OnCallScene[Name]>) => EngineEvent,
    ): Promise<NonNullable<OnCallScene[Name]>> {
        const known = await this.#known(name);
        this.#tell([event(known)]);
        return known;
    }
    readonly #refuse = (): Promise<never> => Promise.reject(failure('offline'));
    requestConsult = (): ReturnType<Engine['requestConsult']> => this.#do(consultId(1));
    sendAgain = (): Promise<void> => this.#do(undefined);
    actOnConsult = (): Promise<void> => this.#do(undefined);
    sawConsult = (): Promise<void> => this.#do(undefined);
    recommend = this.#refuse;
    readBack = (): Promise<void> => this.#do(undefined);
    openSide = this.#refuse;
    inviteGuest = (): ReturnType<Engine['inviteGuest']> =>
        this.#do({ guest: memberId(82), url: GUEST_LINK, expiresMs: nightMs + 720_000 });
    guests: Engine['guests'] = (consult) =>
        this.#told('guests', (guests) => ({ kind: 'guests', consult, guests }));
    letGuestIn = (): Promise<void> => this.#do(undefined);
    endGuest = (): Promise<void> => this.#do(undefined);
    onCall = (): ReturnType<Engine['onCall']> =>
        this.#told('onCall', (onCall) => ({ kind: 'on_call', onCall }));
    phoneTree = (): ReturnType<Engine['phoneTree']> => this.#do(this.#scene.oncall?.phones ?? []);
    duty = (): ReturnType<Engine['duty']> => this.#told('duty', (duty) => ({ kind: 'duty', duty }));
    async setDuty(on: boolean, sound: boolean): ReturnType<Engine['setDuty']> {
        await this.#do(undefined);
        const duty = { ...(await this.duty()), on, sound, testedMs: nightMs };
        this.#tell([{ kind: 'duty', duty }]);
        return duty;
    }
    testPage = (): ReturnType<Engine['testPage']> => this.#do(pageId(1));
    pagePaths = (): ReturnType<Engine['pagePaths']> => this.#do(this.#scene.oncall?.paths ?? []);
    rotas = (): ReturnType<Engine['rotas']> => this.#known('rotas');
    schedule = (): ReturnType<Engine['schedule']> => this.#known('spans');
    createRota = this.#refuse;
    changeRota = (): Promise<void> => this.#do(undefined);
    endRota = (): Promise<void> => this.#do(undefined);
    importCalendar = (): Promise<void> => this.#do(undefined);
    createFeed = (): ReturnType<Engine['createFeed']> => this.#do('');
    endFeeds = (): Promise<void> => this.#do(undefined);
    ladders = (): ReturnType<Engine['ladders']> => this.#known('ladders');
    createLadder = this.#refuse;
    changeLadder = (): Promise<void> => this.#do(undefined);
    skills = (): ReturnType<Engine['skills']> =>
        this.#do({
            languages: ['en', 'es'],
            specialties: ['children'],
            licences: ['NY'],
            phone: '+15550100',
            revision: 1,
        });
    setSkills = (): Promise<void> => this.#do(undefined);
    figures = (): ReturnType<Engine['figures']> => this.#known('figures');
    figuresCsv = (): ReturnType<Engine['figuresCsv']> => this.#do('');
}
