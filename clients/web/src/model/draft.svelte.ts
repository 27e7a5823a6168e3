/** What a person is writing in a channel. It is kept sealed while they write, so that a reload loses nothing. */
import type { ChannelId, Engine, Urgency } from './engine';

const urgencies: readonly Urgency[] = ['routine', 'important', 'urgent'];

/** Runs `work` some time later, and only the last of those that were asked for; gives what takes it back. */
export type Later = (work: () => void) => () => void;

export const afterAPause: Later = (work) => {
    const timer = setTimeout(work, 400);
    return () => clearTimeout(timer);
};

export class Draft {
    #text = $state('');
    #urgency = $state.raw<Urgency>('routine');
    #touched = false;
    #dirty = false;
    #forget: () => void = () => undefined;

    constructor(
        private readonly engine: Pick<Engine, 'keep' | 'kept'>,
        private readonly channel: ChannelId,
        private readonly later: Later = afterAPause,
    ) {}

    get text(): string {
        return this.#text;
    }

    set text(text: string) {
        this.#text = text;
        this.#changed();
    }

    get urgency(): Urgency {
        return this.#urgency;
    }

    set urgency(urgency: Urgency) {
        this.#urgency = urgency;
        this.#changed();
    }

    /** What was kept; what was written in the meantime stands. */
    async load(): Promise<void> {
        const kept = await this.engine.kept(this.#name).catch(() => '');
        if (this.#touched || kept === '') return;
        this.#urgency = urgencies[Number(kept[0])] ?? 'routine';
        this.#text = kept.slice(1);
    }

    /** Keep it now: the page may be going. */
    flush(): void {
        this.#forget();
        if (!this.#dirty) return;
        this.#dirty = false;
        const text = this.#text === '' ? '' : `${urgencies.indexOf(this.#urgency)}${this.#text}`;
        // A full store is told by the world's banner; the words are still on the screen.
        void this.engine.keep(this.#name, text).catch(() => (this.#dirty = true));
    }

    /** It was sent. */
    clear(): void {
        this.#text = '';
        this.#urgency = 'routine';
        this.#dirty = true;
        this.flush();
    }

    get #name(): string {
        return `draft:${this.channel}`;
    }

    #changed(): void {
        this.#touched = true;
        this.#dirty = true;
        this.#forget();
        this.#forget = this.later(() => this.flush());
    }
}
