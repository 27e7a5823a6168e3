/**
 * The test at the start of a shift: does this device wake a person? Sound and vibration by what the person says, notifications by
 * what the browser says, and a page by every way there is, with its receipts. Spec 08, "Paging".
 */
import type { Engine } from './engine';
import type { Handset, PushState } from './handset';
import type { PageId, PagePath } from './on-call';

/** How long a test page may take before one says that nothing came. */
export const PATIENCE_MS = 60_000;
/** How often the receipts are asked for. */
export const LOOK_MS = 2_000;

export type SoundResult = 'untried' | 'asking' | 'heard' | 'unheard';
export type PageResult = 'untried' | 'waiting' | 'arrived' | 'nothing';

/** Runs `work` after a while; gives what takes it back. */
export type After = (work: () => void, ms: number) => () => void;

const afterMs: After = (work, ms) => {
    const timer = setTimeout(work, ms);
    return () => clearTimeout(timer);
};

type Asked = Pick<Engine, 'testPage' | 'pagePaths' | 'pushKey' | 'pushSubscribed'>;
type Device = Pick<Handset, 'armSound' | 'sound' | 'push' | 'subscribePush'>;

/** It is with a device or its person: it was not only sent. */
export function hasArrived(path: PagePath): boolean {
    return path.state === 'delivered' || path.state === 'seen' || path.state === 'accepted';
}

export class DeviceTest {
    sound = $state.raw<SoundResult>('untried');
    /** `none`: this server sends no pushes. Null: not asked yet. */
    push = $state.raw<PushState | 'none' | null>(null);
    page = $state.raw<PageResult>('untried');
    paths = $state.raw<readonly PagePath[]>([]);
    #stop: () => void = () => undefined;
    #waitedMs = 0;
    #page = '';

    constructor(
        private readonly engine: Asked,
        private readonly device: Device,
        private readonly after: After = afterMs,
    ) {}

    async look(): Promise<void> {
        this.push = await this.device.push();
    }

    /** From a tap: a browser lets a page sound only then. */
    async play(): Promise<void> {
        await this.device.armSound();
        this.device.sound();
        this.sound = 'asking';
    }

    heard(yes: boolean): void {
        this.sound = yes ? 'heard' : 'unheard';
    }

    /** From a tap. Rejects with the engine's failure. */
    async notify(): Promise<void> {
        const key = await this.engine.pushKey();
        if (key === '') {
            this.push = 'none';
            return;
        }
        const made = await this.device.subscribePush(key);
        if (made) await this.engine.pushSubscribed(made);
        await this.look();
    }

    /** Rejects with the engine's failure; then nothing was sent. */
    async sendPage(): Promise<void> {
        this.#stop();
        this.paths = [];
        const page = await this.engine.testPage();
        this.#page = page;
        this.page = 'waiting';
        this.#waitedMs = 0;
        this.#lookLater(page);
    }

    /** A page rang here: it arrived, whatever the receipts say yet. */
    rang(page: string): void {
        if (page === this.#page && this.page === 'waiting') this.page = 'arrived';
    }

    stop(): void {
        this.#stop();
    }

    #lookLater(page: PageId): void {
        this.#stop = this.after(() => void this.#lookAt(page), LOOK_MS);
    }

    async #lookAt(page: PageId): Promise<void> {
        this.#waitedMs += LOOK_MS;
        // A question that fails is asked again: the link may come back within the patience.
        this.paths = await this.engine.pagePaths(page).catch(() => this.paths);
        if (this.paths.some(hasArrived)) this.page = 'arrived';
        else if (this.#waitedMs >= PATIENCE_MS) this.page = 'nothing';
        // Every way is looked at for as long as it may take, also after the first one arrived.
        const done = this.paths.length > 0 && this.paths.every(hasArrived);
        if (!done && this.#waitedMs < PATIENCE_MS) this.#lookLater(page);
    }
}
