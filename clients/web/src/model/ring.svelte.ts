/**
 * A ring that one cannot miss. It is a level and not an edge: it rings for as long as the engine says so of a consult
 * (`ConsultView.ringing`), after a reload too, and stops in the moment in which it no longer does. The engine's `ring` events
 * only say when to make a noise; should they not come (a worker that starts anew), this makes it by its own tick.
 *
 * What rang and was answered by somebody else is told once, until the person has read it: a phone that falls silent by
 * itself leaves one wondering.
 */
import { SvelteSet } from 'svelte/reactivity';
import type { MemberId } from './engine';
import { byUrgency, isAnswered } from './consult-progress';
import type { ConsultId, ConsultView } from './on-call';
import type { World } from './world.svelte';

/** Without an event for so long, the page sounds by itself. */
export const SILENCE_MS = 3_000;
/** Nobody is rung twice within this time, however many consults ring. */
const APART_MS = 1_500;

export interface Silenced {
    readonly consult: ConsultId;
    /** Null: nobody did; it was cancelled, or its step went by. */
    readonly by: MemberId | null;
    readonly why: 'accepted' | 'cancelled' | 'over';
}

type Ringing = Pick<World, 'consults' | 'me'>;

export class Ring {
    /** What rings here now, the most urgent first. */
    readonly consults: readonly ConsultView[] = $derived.by(() =>
        [...this.world.consults.values()]
            .filter((one) => one.ringing && !this.#refused.has(one.id))
            .sort(byUrgency),
    );
    /** Rang here, and does so no more, though nobody at this device answered. */
    silenced = $state.raw<Silenced | null>(null);

    /** Answered by somebody else while its own row still says that it rings: the server's word comes a moment later. */
    readonly #refused = new SvelteSet<ConsultId>();
    #rang = new Set<ConsultId>();
    readonly #answered = new Set<ConsultId>();
    #soundedMs = -Infinity;

    /** `sound`: a noise of about a second. `read`: a clock that does not jump, in ms. */
    constructor(
        private readonly world: Ringing,
        private readonly sound: () => void,
        private readonly read: () => number = () => performance.now(),
    ) {}

    /** The engine says that it is time for a noise. */
    rang(): void {
        if (this.#isLoud()) this.#noise(APART_MS);
    }

    /** Call it each second, and whenever a consult changed. */
    check(): void {
        for (const id of [...this.#refused]) {
            // Should it be paged anew, it rings anew.
            if (this.world.consults.get(id)?.ringing !== true) this.#refused.delete(id);
        }
        const now = new Set(this.consults.map((one) => one.id));
        for (const id of this.#rang) {
            if (!now.has(id)) this.#stopped(id);
        }
        const begins = [...now].some((id) => !this.#rang.has(id));
        if (begins) this.silenced = null;
        this.#rang = now;
        if (this.#isLoud()) this.#noise(begins ? 0 : SILENCE_MS);
    }

    /** This person answered: no noise while the answer is on its way, and what follows is no news to them. */
    answered(id: ConsultId): void {
        this.#answered.add(id);
    }

    /** Their answer did not get through: it rings on. */
    failed(id: ConsultId): void {
        this.#answered.delete(id);
    }

    /** They were refused: somebody else was first. */
    refused(id: ConsultId): void {
        this.#answered.delete(id);
        this.#rang.delete(id);
        this.#refused.add(id);
        const by = this.world.consults.get(id)?.acceptedBy ?? null;
        this.silenced = { consult: id, by, why: 'accepted' };
    }

    dismiss(): void {
        this.silenced = null;
    }

    #isLoud(): boolean {
        return this.consults.some((one) => !this.#answered.has(one.id));
    }

    #stopped(id: ConsultId): void {
        if (this.#answered.delete(id)) return;
        const consult = this.world.consults.get(id);
        if (consult === undefined) return;
        const by = consult.acceptedBy;
        // Answered on another device of the same person: they know.
        if (by !== null && by === this.world.me?.member) return;
        const why =
            isAnswered(consult) && by !== null
                ? 'accepted'
                : consult.state === 'cancelled'
                  ? 'cancelled'
                  : 'over';
        this.silenced = { consult: id, by: why === 'accepted' ? by : null, why };
    }

    #noise(apartMs: number): void {
        const nowMs = this.read();
        if (nowMs - this.#soundedMs < apartMs) return;
        this.#soundedMs = nowMs;
        this.sound();
    }
}
