/** The rota that somebody works on: all of theirs, the chosen one, and who is on call in the weeks that are shown. */
import type { Engine, MemberId } from './engine';
import type { RotaDraft, RotaId, RotaView, Span } from './on-call';
import { midnightAfter, mondayOf } from './weeks';

/** Rows of the picture. A window of a schedule is 100 days at most (spec 08). */
export const WEEKS = 4;

type Asked = Pick<Engine, 'rotas' | 'schedule' | 'changeRota'>;

export class Rotas {
    /** Null: not known yet. */
    all = $state.raw<readonly RotaView[] | null>(null);
    spans = $state.raw<readonly Span[] | null>(null);
    #chosen = $state.raw<RotaId | null>(null);
    #monday = $state.raw(0);
    /** Answers may overtake each other: only the newest question's counts. */
    #asked = 0;

    constructor(
        private readonly engine: Asked,
        nowMs: number,
        /** Only rotas that this member owns; null: all. */
        private readonly owner: MemberId | null = null,
    ) {
        this.#monday = mondayOf(nowMs);
    }

    get rota(): RotaView | null {
        return this.all?.find((one) => one.id === this.#chosen) ?? this.all?.[0] ?? null;
    }

    get mondayMs(): number {
        return this.#monday;
    }

    /** Everything anew. Rejects with the engine's failure; what was known stays. */
    async load(): Promise<void> {
        const { owner } = this;
        const all = await this.engine.rotas();
        this.all = owner === null ? all : all.filter((one) => one.owners.includes(owner));
        await this.#schedule();
    }

    async choose(id: RotaId): Promise<void> {
        if (id === this.rota?.id) return;
        this.#chosen = id;
        this.spans = null;
        await this.#schedule();
    }

    /** So many weeks later, or earlier. */
    async move(weeks: number): Promise<void> {
        this.#monday = midnightAfter(this.#monday, weeks * 7);
        this.spans = null;
        await this.#schedule();
    }

    /** Show the weeks in which this time lies. */
    async show(atMs: number): Promise<void> {
        const monday = mondayOf(atMs);
        if (monday >= this.#monday && monday < midnightAfter(this.#monday, WEEKS * 7)) return;
        this.#monday = monday;
        await this.#schedule();
    }

    /** Change the chosen rota as it was seen. After `conflict` the newer one is shown, for the person to decide anew. */
    async change(change: Partial<RotaDraft>): Promise<void> {
        const { rota } = this;
        if (rota === null) return;
        try {
            await this.engine.changeRota(rota.id, rota.revision, change);
        } finally {
            await this.load().catch(() => undefined);
        }
    }

    async #schedule(): Promise<void> {
        const { rota } = this;
        const question = (this.#asked += 1);
        if (rota === null) {
            this.spans = [];
            return;
        }
        const spans = await this.engine.schedule(
            rota.id,
            this.#monday,
            midnightAfter(this.#monday, WEEKS * 7),
        );
        if (question === this.#asked) this.spans = spans;
    }
}
