/**
 * Ended incidents on this device: their keys go to the custodian, then everything of them is forgotten.
 *
 * A channel is archived by the server when its incident ends. Each member then seals the keys it holds to the channel's
 * records keys (an *archive*, spec 04 "Records"), unless archives of two other devices name all of those epochs already. A
 * day after this device learnt of the end it deletes keys, messages and its copies of commits, once the archives stand;
 * without a connection it waits for them, but never longer than a week.
 *
 * Note written: `ended <channel>`: when the end was learnt; 0 once all was forgotten.
 */
import { ApiError } from '~/link/errors';
import type { DeviceId } from '~/protocol/ids';
import { SealingError } from '~/sealing/errors';
import { archivable, makeArchive } from '~/sealing/opening/records';
import { type ArchiveLabel, decodeArchive, isArchive, verifyArchive } from '~/sealing/public/archive';
import { NO_INCIDENT, type RecordsEntry } from '~/sealing/public/commit';

import type { ChannelId } from '../engine';
import type { History, Outbox } from '../ports';
import type { Home } from './home';
import { noteOfNumber, readNumber } from './notes';
import type { Room } from './room';
import type { Uploads } from './uploads';

/** How long an ended incident stays readable here. */
export const KEPT_MS = 24 * 3_600_000;
/** When it goes even though no archive could be made. */
export const LATEST_MS = 7 * KEPT_MS;
/** How many others must have archived an epoch before this device need not: one who lies destroys nothing. */
const ARCHIVERS = 2;

export class Closing {
    constructor(
        private readonly home: Home,
        private readonly outbox: Outbox,
        private readonly uploads: Uploads,
    ) {}

    /** Do what is due for a channel that the server archived. True when it was forgotten now. Rejects with `ApiError`. */
    async tend(room: Room): Promise<boolean> {
        const { head } = room.chain.sealed.line;
        if (head === null || head.incidentId === NO_INCIDENT) return false;
        const endedMs = await this.endedMs(room);
        if (endedMs === 0) return false;
        const ageMs = this.home.nowMs() - endedMs;
        if (ageMs < LATEST_MS) {
            const archived = await this.archive(room);
            if (!archived || ageMs < KEPT_MS) return false;
        }
        await this.forget(room);
        return true;
    }

    private async endedMs(room: Room): Promise<number> {
        const { history, nowMs } = this.home;
        const note = await history.note(endedNote(room));
        if (note !== null) return readNumber(note);
        const now = nowMs();
        await history.keepNotes(new Map([[endedNote(room), noteOfNumber(now)]]));
        return now;
    }

    /** Whether every epoch that this device can read is in good hands, after doing its part. */
    private async archive(room: Room): Promise<boolean> {
        const { records } = room.chain.sealed.head;
        if (records.length === 0) return true;
        const standing = await this.standing(room);
        let done = true;
        for (const record of records) {
            const labels = standing.filter((label) => label.recordsId === record.recordsId);
            if (this.keptByOthers(room, record, labels)) continue;
            if (!(await this.post(room, record))) done = false;
        }
        return done;
    }

    private keptByOthers(room: Room, record: RecordsEntry, labels: readonly ArchiveLabel[]): boolean {
        const me = this.home.keys.deviceId;
        return archivable(room.chain.sealed, record.classMask).every((epoch) => {
            const by = new Set<DeviceId>(
                labels.filter((label) => label.epochs.includes(epoch)).map((label) => label.archiver),
            );
            return by.has(me) || by.size >= ARCHIVERS;
        });
    }

    /** The archives in the channel's grants log that hold; what does not is nobody's archive. */
    private async standing({ chain }: Room): Promise<ArchiveLabel[]> {
        const found: ArchiveLabel[] = [];
        const { byAgency } = this.home.directories;
        for (let at = 0; ;) {
            const batch = await this.home.api.log(chain.grantsLog, at);
            for (const { payload } of batch.entries) {
                if (!isArchive(payload)) continue;
                try {
                    found.push(await verifyArchive(chain.sealed.line, decodeArchive(payload), byAgency));
                } catch (error) {
                    if (!(error instanceof SealingError)) throw error;
                }
            }
            if (batch.to <= at) return found;
            at = batch.to;
        }
    }

    private async post({ chain, id }: Room, { recordsId }: RecordsEntry): Promise<boolean> {
        const { api, keys, directories, nowMs } = this.home;
        try {
            const made = await makeArchive(chain.sealed, keys, recordsId, directories.byAgency, {
                nowMs: nowMs(),
            });
            if (made === null) return true;
            const { signed, suite, keyBox, wrapped } = made;
            await api.postArchive(id, { label: signed, suite, keyBox, wrapped });
            return true;
        } catch (error) {
            if (error instanceof SealingError) return false;
            // Refused for good, e.g. because this device was revoked: the others do it, or the week decides.
            if (error instanceof ApiError && !error.mayRetry) return false;
            throw error;
        }
    }

    private async forget(room: Room): Promise<void> {
        const { history } = this.home;
        // The note comes last: a crash in between begins again, and deleting twice changes nothing.
        await room.chain.forget();
        await history.forget(room.id, room.chain.contentLog);
        await room.answers.clear();
        await this.outbox.forgetChannel(room.chain.contentLog);
        await this.uploads.forgetChannel(room.id);
        await history.keepNotes(new Map([[endedNote(room), noteOfNumber(0)]]));
    }
}

/** Whether this device has forgotten a channel: the server lists it still, and it is not taken up again. */
export async function isForgotten(history: History, id: ChannelId): Promise<boolean> {
    const note = await history.note(`ended ${id}`);
    return note !== null && readNumber(note) === 0;
}

function endedNote(room: Room): string {
    return `ended ${room.id}`;
}
