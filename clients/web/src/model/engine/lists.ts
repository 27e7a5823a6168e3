/**
 * What the server lists: directory, channels, people, incidents, devices that wait. One worker asks for it when someone
 * says that it changed, and once a minute. A list is a hint: what counts of it is verified at its own place.
 */
import { every } from '~/link/api';
import { askedMs, backoffMs } from '~/link/connection';
import { ApiError } from '~/link/errors';
import { CloseCode, WireError } from '~/protocol/errors';
import type { Page } from '~/protocol/resources';

import type { IncidentId, PendingDevice } from '../engine';
import { Wake } from './life';
import { same } from './people';
import type { Work } from './work';

const REFRESH_MS = 60_000;
const INCIDENTS_MS = 10_000;
const STIRRED_MS = 300;
const PAGE = 500;

export class Lists {
    /** Devices that wait for approval, as far as this person may know. */
    pending: readonly PendingDevice[] = [];
    private readonly stirred = new Set<IncidentId>();
    private readonly wake: Wake;

    constructor(private readonly work: Work) {
        this.wake = new Wake(work.parts.life);
    }

    start(): void {
        const { life } = this.work.parts;
        life.begin(() => this.run());
        life.begin(() => this.pollIncidents());
    }

    /** The directory or a list may have changed. */
    chore(): void {
        this.wake.set();
    }

    private async run(): Promise<void> {
        for (let attempt = 0; ;) {
            await this.wake.wait(attempt === 0 ? REFRESH_MS : undefined);
            if (!this.work.isOnline) {
                attempt = 0;
                continue;
            }
            try {
                await this.refresh();
                attempt = 0;
            } catch (error) {
                if (!(error instanceof ApiError)) throw error;
                if (error.told && error.number === WireError.revoked) {
                    this.work.parts.stopped(CloseCode.revoked);
                    return;
                }
                const delayMs = Math.max(askedMs(error.retryMs), backoffMs(attempt, this.work.parts.random));
                attempt += 1;
                await this.work.parts.life.sleep(delayMs);
                this.wake.set();
            }
        }
    }

    /** Ask the server for the directory, the channels and the lists. Rejects with `ApiError`. */
    async refresh(): Promise<void> {
        const { api, directories } = this.work.home;
        await directories.sync();
        // Before anything is asked to be sealed to this device: an approved one has been out for a while by then.
        await this.work.upkeep.renewKeys();
        await this.work.rooms.set(await every((after) => api.channels(after, PAGE)));
        await this.work.people.update(
            await permitted((after) => api.members(after, PAGE)),
            await permitted((after) => api.units(after, PAGE)),
        );
        await this.work.incidents.update(await permitted((after) => api.incidents(after, PAGE)));
        for (const room of this.work.rooms.all()) room.listsChanged();
        await this.lookForPending();
        this.work.refreshed();
    }

    /** Devices that wait for approval: for those who may approve. */
    private async lookForPending(): Promise<void> {
        const me = this.work.people.member(this.work.parts.identity.member);
        if (me?.roles.some((role) => role === 'admin' || role === 'supervisor') !== true) return;
        const infos = (await permitted((after) => this.work.home.api.devices(after, PAGE, 'pending'))) ?? [];
        const pending = infos.map(({ id, member, label, createdMs }) => ({
            device: id,
            member,
            label,
            createdMs,
        }));
        if (same(pending, this.pending)) return;
        this.pending = pending;
        this.work.parts.put({ kind: 'pending', pending });
    }

    /** No notice says that an incident's row moved: it is asked for, and at once when something stirs in its channel. */
    private async pollIncidents(): Promise<void> {
        for (;;) {
            await this.work.parts.life.sleep(INCIDENTS_MS);
            if (!this.work.isOnline) continue;
            const { api } = this.work.home;
            try {
                await this.work.incidents.update(await permitted((after) => api.incidents(after, PAGE)));
            } catch (error) {
                unlessApi(error);
            }
        }
    }

    /** Something came in an incident's channel that goes with a change of its row. */
    incidentStirred(id: IncidentId): void {
        if (this.stirred.has(id)) return;
        this.stirred.add(id);
        const { life } = this.work.parts;
        life.later(() => {
            this.stirred.delete(id);
            if (!this.work.isOnline) return;
            life.begin(async () => {
                try {
                    this.work.incidents.take(await this.work.home.api.incident(id));
                } catch (error) {
                    unlessApi(error);
                }
            });
        }, STIRRED_MS);
    }
}

function unlessApi(error: unknown): void {
    if (!(error instanceof ApiError)) throw error;
}

/** A listing; null where a role may not see it: no administrator sees incidents. */
async function permitted<T>(fetch: (after: string) => Promise<Page<T>>): Promise<readonly T[] | null> {
    try {
        return await every(fetch);
    } catch (error) {
        if (error instanceof ApiError && error.told && error.number === WireError.forbidden) return null;
        throw error;
    }
}
