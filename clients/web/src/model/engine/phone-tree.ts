/**
 * Whom a consult would page, and the telephone numbers behind them: asked of the server now and then, and kept, so that they
 * are there without a link.
 *
 * Note written: `phone tree`.
 */
import type { OnCallApi } from '~/link/on-call-api';
import { ApiError } from '~/link/errors';
import type { LadderRoster } from '~/protocol/oncall';

import type { Phone } from '../on-call';
import { type History, StoreFull } from '../ports';
import { noteOf, readNote } from './notes';

const NOTE = 'phone tree';
/** The server names whoever could be paged within an hour. */
const ROSTER_FRESH_MS = 3_600_000;
const LOOK_MS = 600_000;

interface Kept {
    readonly roster: LadderRoster;
    readonly atMs: number;
}

export class PhoneTree {
    private constructor(
        private readonly api: OnCallApi,
        private readonly history: History,
        private readonly nowMs: () => number,
        private kept: Kept | null,
    ) {}

    static async restore(api: OnCallApi, history: History, nowMs: () => number): Promise<PhoneTree> {
        const kept = readNote(await history.note(NOTE)) as Kept | null;
        return new PhoneTree(api, history, nowMs, kept);
    }

    /** As last seen. */
    get phones(): readonly Phone[] {
        return this.kept?.roster.phones ?? [];
    }

    /** The newest; where the server does not answer, what was seen within the hour. Rejects with `ApiError`. */
    async roster(): Promise<LadderRoster> {
        try {
            return await this.fetch();
        } catch (error) {
            const kept = this.kept;
            const fresh = kept !== null && Math.abs(this.nowMs() - kept.atMs) < ROSTER_FRESH_MS;
            if (error instanceof ApiError && error.mayRetry && fresh) return kept.roster;
            throw error;
        }
    }

    /** Ask again, if it is time. Whoever may not know is told nothing, and asks again as rarely. */
    async look(): Promise<void> {
        if (this.kept !== null && Math.abs(this.nowMs() - this.kept.atMs) < LOOK_MS) return;
        try {
            await this.fetch();
        } catch (error) {
            if (!(error instanceof ApiError)) throw error;
        }
    }

    private async fetch(): Promise<LadderRoster> {
        const roster = await this.api.ladderRoster();
        this.kept = { roster, atMs: this.nowMs() };
        try {
            await this.history.keepNotes(new Map([[NOTE, noteOf(this.kept)]]));
        } catch (error) {
            // A device that is full can ask for a consult all the same.
            if (!(error instanceof StoreFull)) throw error;
        }
        return roster;
    }
}
