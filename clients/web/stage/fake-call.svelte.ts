/** A call that pretends: it holds a scene's view, and does at once what it is asked. No camera, no network. */
import type { CallMedia, CallModel, CallView, Camera, ConsentDraft, JoinHow } from '~/model/call/call';
import { NO_CALL, ShownCall } from '~/model/call/shown-call';
import { deviceId, memberId, messageId } from '~/model/sample';
import type { ConsultId, DeviceId } from '~/protocol/ids';
import { nightMs } from './scene';

export class FakeCall extends ShownCall implements CallModel {
    #view = $state.raw<CallView>(NO_CALL);

    constructor(view: Partial<CallView> = {}) {
        super();
        this.#view = { ...NO_CALL, ...view };
    }

    #set(change: Partial<CallView>): void {
        this.#view = { ...this.#view, ...change };
    }

    protected get view(): CallView {
        return this.#view;
    }

    open(consult: ConsultId): void {
        if (this.consult !== consult) this.#set({ consult });
    }
    close(): void {
        this.#set({ consult: null, phase: 'off' });
    }
    test(): Promise<void> {
        this.#set({ phase: 'testing', level: 0.4 });
        return Promise.resolve();
    }
    join({ person, signs }: JoinHow): Promise<void> {
        const me = this.me ?? {
            device: deviceId(1),
            part: 'responder' as const,
            audioMuted: false,
            videoMuted: false,
            camera: 'front' as const,
            person,
            signs,
        };
        this.#set({ phase: 'live', sinceMs: nightMs, me: { ...me, person, signs } });
        return Promise.resolve();
    }
    leave(): void {
        this.#set({ phase: 'ended', why: 'left', participants: [] });
    }
    mute(media: CallMedia, on: boolean): void {
        if (this.me === null) return;
        this.#set({ me: { ...this.me, ...(media === 'audio' ? { audioMuted: on } : { videoMuted: on }) } });
    }
    camera(which: Camera): Promise<void> {
        if (this.me !== null) this.#set({ me: { ...this.me, camera: which } });
        return Promise.resolve();
    }
    endTest(): void {
        if (this.phase === 'testing') this.#set({ phase: 'off', level: 0 });
    }
    async showPerson(on: boolean): Promise<void> {
        await this.camera(on ? 'back' : 'front');
        if (this.me !== null) this.#set({ me: { ...this.me, person: on } });
    }
    audioOnly(on: boolean): void {
        this.#set({ mode: on ? 'audio' : 'video', modeWhy: on ? 'chosen' : '' });
    }
    admit(device: DeviceId): void {
        const one = this.waiting.find((x) => x.device === device);
        if (one === undefined) return;
        this.#set({
            waiting: this.waiting.filter((x) => x !== one),
            participants: [...this.participants, one],
        });
    }
    refuse(device: DeviceId): void {
        this.#set({ waiting: this.waiting.filter((one) => one.device !== device) });
    }
    restrict(on: boolean): void {
        this.#set({ restricted: on });
    }
    want(): void {
        // Nothing comes here in any size.
    }
    pip(): Promise<void> {
        return Promise.resolve();
    }
    recordConsent(draft: ConsentDraft): Promise<void> {
        this.#set({
            consent: {
                ...draft,
                id: messageId(700),
                device: deviceId(1),
                member: memberId(1),
                atMs: nightMs,
                state: 'in_force',
                withdrawnMs: 0,
            },
        });
        return Promise.resolve();
    }
    withdrawConsent(): Promise<void> {
        if (this.consent !== null)
            this.#set({ consent: { ...this.consent, state: 'withdrawn', withdrawnMs: nightMs } });
        return Promise.resolve();
    }
}
