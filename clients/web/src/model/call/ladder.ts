/**
 * How much of a call its link carries: video -> smaller -> audio -> text, and back, never to and fro.
 *
 * Down within seconds, since a frozen picture helps nobody; up only after the link was good for longer, so that nobody sees a
 * picture come and go. The bridge's own word that no picture fits (`audioOnly`) counts sooner: it has measured for as long.
 */
import type { CallMode, Grade, ModeWhy } from './call';

/** A poor link for so long: a smaller picture; still poor after as long again: none. */
export const DOWN_MS = 4_000;
/** No picture fits for so long: none. A new path finds room for one within this, and ten seconds without one would be the price. */
export const FULL_MS = 1_000;
/** A good link for so long: one step up. */
export const UP_MS = 10_000;
/** Lost for so long: text and telephone. */
export const TEXT_MS = 8_000;
/** That it is better again is news for so long, and nothing after that. */
export const NEWS_MS = 6_000;

export interface LinkSigns {
    /** The worse of both directions. */
    readonly grade: Grade;
    /** The bridge says that no picture fits. */
    readonly audioOnly: boolean;
    /** Nothing comes. */
    readonly lost: boolean;
    /** The person wants no picture. */
    readonly chosen: boolean;
}

export interface ModeState {
    readonly mode: CallMode;
    readonly why: ModeWhy;
}

export class ModeLadder {
    /** What the link carries, whatever the person chose. */
    #mode: CallMode = 'video';
    #why: ModeWhy = '';
    #sinceMs = 0;
    #lostMs: number | null = null;
    #fullMs: number | null = null;
    #poorMs: number | null = null;
    #goodMs: number | null = null;
    #chosen = false;

    get state(): ModeState {
        const picture = this.#mode === 'video' || this.#mode === 'smaller';
        if (this.#chosen && picture) return { mode: 'audio', why: 'chosen' };
        return { mode: this.#mode, why: this.#why };
    }

    look(signs: LinkSigns, nowMs: number): ModeState {
        this.#chosen = signs.chosen;
        if (this.#why === 'better' && nowMs - this.#sinceMs >= NEWS_MS) this.#why = '';
        this.#lostMs = signs.lost ? (this.#lostMs ?? nowMs) : null;
        if (this.#lostMs !== null) {
            this.#fullMs = this.#poorMs = this.#goodMs = null;
            if (nowMs - this.#lostMs >= TEXT_MS) this.#go('text', 'lost', nowMs);
            return this.state;
        }
        if (this.#mode === 'text') {
            // The link came back: sound first, the picture once it is known to fit.
            this.#go('audio', 'better', nowMs);
            this.#goodMs = nowMs;
            return this.state;
        }
        this.#fullMs = signs.audioOnly ? (this.#fullMs ?? nowMs) : null;
        const poor = signs.audioOnly || signs.grade <= 1;
        this.#poorMs = poor ? (this.#poorMs ?? nowMs) : null;
        this.#goodMs = poor ? null : (this.#goodMs ?? nowMs);
        if (this.#fullMs !== null && nowMs - this.#fullMs >= FULL_MS) {
            if (this.#mode !== 'audio') this.#go('audio', 'weak', nowMs);
        } else if (this.#poorMs !== null && nowMs - this.#poorMs >= DOWN_MS) {
            this.#poorMs = nowMs;
            if (this.#mode === 'video') this.#go('smaller', 'weak', nowMs);
            else if (this.#mode === 'smaller') this.#go('audio', 'weak', nowMs);
        } else if (this.#goodMs !== null && nowMs - this.#goodMs >= UP_MS) {
            this.#goodMs = nowMs;
            if (this.#mode === 'audio') this.#go('smaller', 'better', nowMs);
            else if (this.#mode === 'smaller') this.#go('video', 'better', nowMs);
        }
        return this.state;
    }

    #go(mode: CallMode, why: ModeWhy, nowMs: number): void {
        if (this.#mode === mode) return;
        this.#mode = mode;
        this.#why = why;
        this.#sinceMs = nowMs;
    }
}
