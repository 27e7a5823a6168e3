/**
 * The one call of a page, before it is needed: nothing of it is loaded until somebody opens one. From then on it hands everything
 * on. Where it cannot be loaded (an old link, a network that is gone) it says so as a call that failed, and tries again when asked.
 */
import type { ConsultId, DeviceId } from '~/protocol/ids';
import type { CallMedia, CallModel, CallView, Camera, ConsentDraft, JoinHow } from './call';
import { NO_CALL, ShownCall } from './shown-call';

export class LazyCall extends ShownCall implements CallModel {
    readonly #load: () => Promise<CallModel>;
    readonly #nowMs: () => number;
    #real = $state.raw<CallModel | null>(null);
    /** What is shown until it is here. */
    #meanwhile = $state.raw<CallView>(NO_CALL);
    #loading: Promise<CallModel> | null = null;
    /** Counts what was asked: what somebody stopped while it was being loaded is not begun. */
    #asked = 0;

    constructor(load: () => Promise<CallModel>, nowMs: () => number) {
        super();
        this.#load = load;
        this.#nowMs = nowMs;
    }

    protected get view(): CallView {
        return this.#real ?? this.#meanwhile;
    }

    open(consult: ConsultId): void {
        this.#asked += 1;
        if (this.#real) {
            this.#real.open(consult);
            return;
        }
        this.#meanwhile = { ...NO_CALL, consult };
        // Whatever is asked next says that it could not be loaded; a look alone is no reason to.
        this.#loaded().catch(() => undefined);
    }
    close(): void {
        this.#asked += 1;
        this.#real?.close();
        this.#meanwhile = NO_CALL;
    }
    async test(): Promise<void> {
        const asked = (this.#asked += 1);
        const real = await this.#needed();
        if (asked === this.#asked) await real?.test();
    }
    endTest(): void {
        this.#real?.endTest();
    }
    async join(how: JoinHow): Promise<void> {
        const asked = (this.#asked += 1);
        if (!this.#real)
            this.#meanwhile = { ...this.#meanwhile, phase: 'joining', why: '', sinceMs: this.#nowMs() };
        const real = await this.#needed();
        if (asked === this.#asked) await real?.join(how);
    }
    leave(): void {
        this.#asked += 1;
        if (this.#real) this.#real.leave();
        else this.#meanwhile = { ...this.#meanwhile, phase: 'ended', why: 'left', sinceMs: this.#nowMs() };
    }
    mute(media: CallMedia, on: boolean): void {
        this.#real?.mute(media, on);
    }
    async camera(which: Camera): Promise<void> {
        await this.#real?.camera(which);
    }
    async showPerson(on: boolean): Promise<void> {
        await this.#real?.showPerson(on);
    }
    audioOnly(on: boolean): void {
        this.#real?.audioOnly(on);
    }
    admit(device: DeviceId): void {
        this.#real?.admit(device);
    }
    refuse(device: DeviceId): void {
        this.#real?.refuse(device);
    }
    restrict(on: boolean): void {
        this.#real?.restrict(on);
    }
    want(device: DeviceId, lines: number): void {
        this.#real?.want(device, lines);
    }
    async pip(video: HTMLVideoElement): Promise<void> {
        await this.#real?.pip(video);
    }
    async recordConsent(draft: ConsentDraft): Promise<void> {
        await (await this.#loaded()).recordConsent(draft);
    }
    async withdrawConsent(): Promise<void> {
        await (await this.#loaded()).withdrawConsent();
    }

    /** Null: it cannot be loaded, and `phase` says so. */
    async #needed(): Promise<CallModel | null> {
        try {
            return await this.#loaded();
        } catch {
            this.#meanwhile = {
                ...this.#meanwhile,
                phase: 'failed',
                why: 'unavailable',
                sinceMs: this.#nowMs(),
            };
            return null;
        }
    }

    #loaded(): Promise<CallModel> {
        this.#loading ??= this.#load().then(
            (real) => {
                const { consult } = this.#meanwhile;
                if (consult !== null) real.open(consult);
                this.#real = real;
                return real;
            },
            (error: unknown) => {
                // Once more when it is asked for again.
                this.#loading = null;
                throw error;
            },
        );
        return this.#loading;
    }
}
