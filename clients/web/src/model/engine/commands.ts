/** The commands of `Engine`, each handed to what holds its noun; every failure leaves as `EngineFailure`. */
import { type Bytes, fromBase64Url, toBase64Url } from '~/protocol/bytes';
import { REPEAT_S, writeContent } from '~/protocol/bodies';
import { readText, noteOfText } from './notes';
import { Urgency } from '~/protocol/words';

import type {
    ChannelId,
    DeviceId,
    DeviceView,
    Discipline,
    Engine,
    EngineEvent,
    EnrolmentLink,
    Fix,
    IncidentDetails,
    IncidentId,
    IncidentState,
    Mark,
    MemberId,
    MessageId,
    PasskeyId,
    PersonRule,
    PrimaryStatus,
    Role,
    Row,
    SecondaryStatus,
    Snapshot,
    UnitId,
    Urgency as UrgencyName,
} from '../engine';
import type { ConsentDraft } from '../call/call';
import type { ConsultId, OnCallCommands } from '../on-call';
import { StoreFull } from '../ports';
import { Administration } from './administration';
import { takeAuthority } from './authority';
import { EngineCore, type EnginePorts } from './engine-core';
import { EngineFailure, failureOf } from './errors';
import { IncidentWork } from './incident-work';
import { Proofs } from './proofs';
import { readAgain } from './reading';
import { OnCallDoor } from './on-call-door';
import { OnCallWork } from './on-call-work';
import { Sharing } from './sharing';
import { contentOf, markNumber, urgencyNumber } from './telling';
import { acknowledge, sayAll } from './unwritten';
import type { Work } from './work';

const KEPT_BYTES = 65_536;

/** What is at hand while a device works; made anew with it. */
interface Hands {
    readonly work: Work;
    readonly incidents: IncidentWork;
    readonly sharing: Sharing;
    readonly administration: Administration;
    readonly proofs: Proofs;
    readonly onCall: OnCallWork;
}

export class Commands extends OnCallDoor implements Engine {
    private readonly core: EngineCore;
    private hands: Hands | null = null;

    constructor(private readonly ports: EnginePorts) {
        super();
        this.core = new EngineCore(ports);
    }

    // -- life

    start(listen: (events: readonly EngineEvent[]) => void): Promise<Snapshot> {
        return told(() => this.core.start(listen));
    }

    stop(): Promise<void> {
        this.core.stop();
        return Promise.resolve();
    }

    reconnect(): Promise<void> {
        return this.do(({ work }) => {
            work.hurry();
            return Promise.resolve();
        });
    }

    settleAlarm(seq: number): Promise<void> {
        return this.do(({ work }) => work.settleAlarm(seq));
    }

    // -- enrolling and signing in

    enrol(request: Parameters<Engine['enrol']>[0]): Promise<void> {
        return told(() => this.core.enrol(request));
    }

    unlock(pin: string): Promise<void> {
        return told(() => this.core.unlock(pin));
    }

    passkeyOptions(purpose: 'register' | 'sign_in'): Promise<unknown> {
        return told(() => this.core.person.options(purpose));
    }

    passkeyAnswer(purpose: 'register' | 'sign_in', answer: unknown): Promise<void> {
        return told(() => this.core.person.answer(purpose, answer));
    }

    passkeys(): ReturnType<Engine['passkeys']> {
        return this.do(({ proofs }) => proofs.passkeys());
    }

    deletePasskey(id: PasskeyId): Promise<void> {
        return this.do(({ proofs }) => proofs.deletePasskey(id));
    }

    hasAgencySignIn(): Promise<boolean> {
        return told(async () => (await this.core.openApi.server()).agencySignIn);
    }

    oidcTicket(ticket: string): Promise<void> {
        return told(() => this.core.person.ticket(ticket));
    }

    oidcEnrolment(ticket: string): Promise<string> {
        return told(() => this.core.person.enrolment(ticket));
    }

    signOut(): Promise<void> {
        return told(() => this.core.signOut());
    }

    // -- reading

    history(channel: ChannelId, before: number, limit: number): Promise<readonly Row[]> {
        return this.do(({ work }) => work.rooms.get(channel).pages.before(before, limit));
    }

    markRead(channel: ChannelId, offset: number): Promise<void> {
        return this.do(async ({ work }) => {
            const room = work.rooms.get(channel);
            await room.marks.seen(offset);
            room.tellView();
        });
    }

    presence(channel: ChannelId): ReturnType<Engine['presence']> {
        return this.do(async ({ work }) => {
            const { devices, asOfMs, stale } = await work.who(channel);
            return { devices, asOfMs, stale };
        });
    }

    openFile(channel: ChannelId, id: MessageId): Promise<Blob> {
        return this.do(async ({ work }) => {
            const room = work.rooms.get(channel);
            const entry = await work.home.history.message(room.chain.contentLog, id);
            const content = entry === null ? null : contentOf(readAgain(entry));
            if (content?.type !== 'attachment') throw new EngineFailure('not_found');
            try {
                return await work.uploads.fetch(content, (doneBytes) => {
                    work.uploads.fetching(id, doneBytes);
                    room.life.begin(() => room.tellAgain(id));
                });
            } finally {
                work.uploads.fetching(id, null);
                room.life.begin(() => room.tellAgain(id));
            }
        });
    }

    // -- writing

    send(
        channel: ChannelId,
        text: string,
        urgency: UrgencyName,
        replyTo: MessageId | null = null,
    ): Promise<MessageId> {
        return this.do(({ work }) => {
            work.checkOpen(channel);
            const number = urgencyNumber(urgency);
            const repeatS = number === Urgency.urgent ? REPEAT_S : 0;
            const content = { type: 'text', urgency: number, text, repeatS, replyTo } as const;
            return work.compose(channel, content, { urgency: number });
        });
    }

    sendFile(channel: ChannelId, file: Blob, name: string, caption: string): Promise<MessageId> {
        return this.do(({ work }) => {
            work.checkOpen(channel);
            return work.uploads.add(channel, file, name, caption);
        });
    }

    acknowledge(channel: ChannelId, id: MessageId): Promise<void> {
        return this.do(({ work }) => acknowledge(work, channel, id));
    }

    cancel(id: MessageId): Promise<boolean> {
        return this.do(({ work }) => work.cancel(id));
    }

    typing(channel: ChannelId, on: boolean): Promise<void> {
        return this.do(({ work }) => work.stream(channel, { type: 'typing', on }));
    }

    setStatus(
        unit: UnitId,
        primary: PrimaryStatus,
        secondary: SecondaryStatus | null,
        note: string,
        mark: Mark | null,
    ): Promise<void> {
        return this.do(({ work }) => work.setStatus(unit, primary, secondary, note, markNumber(mark)));
    }

    position(fix: Fix): Promise<void> {
        return this.do(({ sharing }) => sharing.move(fix));
    }

    sharePosition(channel: ChannelId, on: boolean, coarseM: number): Promise<void> {
        return this.do(({ sharing }) => sharing.share(channel, on, coarseM));
    }

    safety(kind: 'check_in' | 'duress', fix: Fix | null): Promise<void> {
        return this.do(async ({ work, sharing }) => {
            const { channels, unit } = work.safetyChannels();
            if (channels.length === 0) throw new EngineFailure('not_found');
            // A place that the browser got wrong must not keep the word from leaving.
            const place = fix !== null && fits(fix) ? fix : null;
            const content = { type: kind, unit, repeatS: REPEAT_S, fix: place } as const;
            await sayAll(
                work,
                channels.flatMap((channel) => {
                    const last = kind === 'duress' ? sharing.inDuress(channel, place) : null;
                    const word = [channel, content, { urgency: Urgency.urgent }] as const;
                    return last === null ? [word] : [word, [channel, last] as const];
                }),
            );
        });
    }

    // -- a person's own small notes

    keep(name: string, text: string): Promise<void> {
        return this.do(async ({ work }) => {
            const note = noteOfText(text);
            if (note.length > KEPT_BYTES) throw new EngineFailure('too_long');
            const value = note.length === 0 ? null : note;
            await work.home.history.keepNotes(new Map([[`kept ${name}`, value]]));
        });
    }

    kept(name: string): Promise<string> {
        return this.do(async ({ work }) => readText(await work.home.history.note(`kept ${name}`)));
    }

    // -- who is in

    askContext(channel: ChannelId, reason: string): Promise<void> {
        return this.do(async ({ work }) => {
            await work.compose(channel, { type: 'context_wanted', fromEpoch: 0, reason });
        });
    }

    grant(channel: ChannelId, to: DeviceId): Promise<void> {
        return this.do(({ work }) => work.rooms.get(channel).chain.grant(to));
    }

    admit(channel: ChannelId, members: readonly MemberId[]): Promise<void> {
        return this.do(({ incidents }) => incidents.admit(channel, members));
    }

    remove(channel: ChannelId, members: readonly MemberId[]): Promise<void> {
        return this.do(async ({ work }) => {
            const { chain } = work.rooms.get(channel);
            const { memberOf } = work.home.directories;
            const devices = chain.roster.filter((device) =>
                members.some((member) => memberOf(device) === member),
            );
            await chain.remove(devices);
        });
    }

    openUnitChannel(unit: UnitId): Promise<ChannelId> {
        return this.do(({ administration }) => administration.openUnitChannel(unit));
    }

    // -- incidents

    openIncident(priority: number, details: IncidentDetails): Promise<IncidentId> {
        return this.do(({ incidents }) => incidents.open(priority, details));
    }

    describeIncident(incident: IncidentId, details: IncidentDetails): Promise<void> {
        return this.do(({ incidents }) => incidents.describe(incident, details));
    }

    prioritise(incident: IncidentId, priority: number): Promise<void> {
        return this.do(({ incidents }) => incidents.prioritise(incident, priority));
    }

    assign(incident: IncidentId, unit: UnitId, note: string): Promise<void> {
        return this.do(({ incidents }) => incidents.assign(incident, unit, note));
    }

    unassign(incident: IncidentId, unit: UnitId): Promise<void> {
        return this.do(({ incidents }) => incidents.unassign(incident, unit));
    }

    moveIncident(incident: IncidentId, state: IncidentState, disposition: string): Promise<void> {
        return this.do(({ incidents }) => incidents.move(incident, state, disposition));
    }

    mark(incident: IncidentId, mark: Mark, unit: UnitId | null, note: string): Promise<void> {
        return this.do(({ incidents }) => incidents.mark(incident, mark, unit, note));
    }

    openClinical(
        incident: IncidentId,
        ground: 'consent' | 'break_glass',
        record: string,
    ): Promise<ChannelId> {
        return this.do(({ incidents }) => incidents.openClinical(incident, ground, record));
    }

    // -- administration

    takeAuthority(seed: string): Promise<void> {
        return this.do(async ({ work }) => {
            await takeAuthority(this.core.vault, work.home.directories, seed);
            await this.core.tellMe();
        });
    }

    devices(): Promise<readonly DeviceView[]> {
        return this.do(({ administration }) => administration.devices());
    }

    createMember(name: string, roles: readonly Role[], discipline: Discipline | null): Promise<MemberId> {
        return this.do(({ administration }) => administration.createMember(name, roles, discipline));
    }

    createUnit(name: string, members: readonly MemberId[]): Promise<UnitId> {
        return this.do(({ administration }) => administration.createUnit(name, members));
    }

    enrolmentLink(member: MemberId, label: string, shift: boolean): Promise<EnrolmentLink> {
        return this.do(({ administration }) => administration.enrolmentLink(member, label, shift));
    }

    approve(device: DeviceId, shortCode: string): Promise<void> {
        return this.do(({ administration }) => administration.approve(device, shortCode));
    }

    revoke(device: DeviceId): Promise<void> {
        return this.do(({ administration }) => administration.revoke(device));
    }

    personRule(): Promise<PersonRule> {
        return this.do(({ proofs }) => proofs.rule());
    }

    setPersonRule(rule: PersonRule): Promise<PersonRule> {
        return this.do(({ proofs }) => proofs.setRule(rule));
    }

    // -- calls

    videoSend(consult: ConsultId, body: Bytes): Promise<void> {
        return this.do(({ work }) => {
            work.video.send(consult, body);
            return Promise.resolve();
        });
    }

    videoKeys(consult: ConsultId, port: MessagePort): Promise<void> {
        return this.do(({ work }) => work.video.keys(consult, port));
    }

    recordConsent(consult: ConsultId, draft: ConsentDraft): Promise<void> {
        return this.do(({ work }) => work.video.recordConsent(consult, draft));
    }

    withdrawConsent(consult: ConsultId): Promise<void> {
        return this.do(({ work }) => work.video.withdrawConsent(consult));
    }

    // -- push

    pushKey(): Promise<string> {
        return this.do(async ({ work }) => toBase64Url(await work.home.api.pushKey()));
    }

    pushSubscribed(subscription: PushSubscriptionJSON | null): Promise<void> {
        return this.do(async ({ work }) => {
            const { api } = work.home;
            if (subscription === null) {
                await api.deletePush();
                return;
            }
            const { endpoint = '', keys = {} } = subscription;
            await api.putPush({
                endpoint,
                p256dh: fromBase64Url(keys.p256dh ?? ''),
                auth: fromBase64Url(keys.auth ?? ''),
            });
        });
    }

    protected onCallHands<T>(act: (hands: OnCallCommands) => Promise<T>): Promise<T> {
        return this.do(({ onCall }) => act(onCall));
    }

    /** Something that only a device at work can do. What came of it is news before it is answered: who asked goes on to it at once. */
    private do<T>(act: (hands: Hands) => Promise<T>): Promise<T> {
        return told(async () => {
            try {
                return await act(this.handsOf(this.core.work()));
            } catch (error) {
                if (error instanceof StoreFull) this.core.storeFull();
                throw error;
            } finally {
                this.core.announcer.flush();
            }
        });
    }

    private handsOf(work: Work): Hands {
        if (this.hands?.work !== work) {
            this.hands = {
                work,
                incidents: new IncidentWork(work),
                sharing: new Sharing(work),
                onCall: new OnCallWork(work),
                administration: new Administration(work, this.core.vault, this.ports.origin),
                proofs: new Proofs(work),
            };
        }
        return this.hands;
    }
}

/** Whether a place is within the bounds of chapter 06. */
function fits(fix: Fix): boolean {
    try {
        writeContent({ type: 'position', fix });
        return true;
    } catch {
        return false;
    }
}

async function told<T>(act: () => Promise<T>): Promise<T> {
    try {
        return await act();
    } catch (error) {
        throw failureOf(error);
    }
}
