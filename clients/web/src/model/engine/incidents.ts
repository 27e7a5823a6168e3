/**
 * Incidents: the server's row of each, its channels, and what is sealed about it. Spec chapter 10.
 *
 * Rows come from the server and are its word; a description counts in the channel of its own incident alone (`Room`).
 */
import type { ContentOf } from '~/protocol/bodies';
import type { Incident } from '~/protocol/resources';

import type { ChannelId, EngineEvent, IncidentDetails, IncidentId, IncidentView } from '../engine';
import type { History } from '../ports';
import { noteOf, readNote } from './notes';
import { same } from './people';

const INCIDENTS = 'incidents';

interface Channels {
    operations: ChannelId | null;
    clinical: ChannelId | null;
}

export class Incidents {
    private readonly rows = new Map<IncidentId, Incident>();
    private readonly details = new Map<IncidentId, IncidentDetails>();
    private readonly channels = new Map<IncidentId, Channels>();

    private constructor(
        private readonly history: History,
        private readonly put: (event: EngineEvent) => void,
    ) {}

    static async restore(history: History, put: (event: EngineEvent) => void): Promise<Incidents> {
        const incidents = new Incidents(history, put);
        const rows = (readNote(await history.note(INCIDENTS)) ?? []) as readonly Incident[];
        for (const row of rows) incidents.rows.set(row.id, row);
        return incidents;
    }

    views(): IncidentView[] {
        return [...this.rows.values()].map((row) => this.view(row));
    }

    row(id: IncidentId): Incident | null {
        return this.rows.get(id) ?? null;
    }

    detailsOf(id: IncidentId): IncidentDetails | null {
        return this.details.get(id) ?? null;
    }

    channelsOf(id: IncidentId): Readonly<Channels> {
        return this.channels.get(id) ?? { operations: null, clinical: null };
    }

    /** Incidents that go on and that a unit is assigned to. */
    ofUnit(unit: string): Incident[] {
        return [...this.rows.values()].filter(
            (row) => row.closedMs === 0 && row.units.some((assigned) => assigned === unit),
        );
    }

    /** What the server lists now; null: this person may not see it. Only what changed is told. */
    async update(rows: readonly Incident[] | null): Promise<void> {
        if (rows === null) return;
        const changed = rows.filter((row) => !same(this.rows.get(row.id), row));
        if (changed.length === 0) return;
        await this.history.keepNotes(new Map([[INCIDENTS, noteOf(rows)]]));
        for (const row of changed) this.take(row);
    }

    /** One row, as the server answered it; an older answer that came late is none. */
    take(row: Incident): void {
        if ((this.rows.get(row.id)?.revision ?? -1) > row.revision) return;
        this.rows.set(row.id, row);
        this.tell(row.id);
    }

    /** What its channel says of it now; null: nothing any more. */
    described(id: IncidentId, content: ContentOf<'incident'> | null): void {
        if (content === null) {
            if (!this.details.delete(id)) return;
        } else {
            const { typeCode, district, address, place, narrative, disposition } = content;
            this.details.set(id, { typeCode, district, address, place, narrative, disposition });
        }
        this.tell(id);
    }

    /** This device is in a channel of an incident, or (null) no longer. */
    setChannel(id: IncidentId, which: keyof Channels, channel: ChannelId | null): void {
        const channels = this.channels.get(id) ?? { operations: null, clinical: null };
        if (channels[which] === channel) return;
        this.channels.set(id, { ...channels, [which]: channel });
        this.tell(id);
    }

    private tell(id: IncidentId): void {
        const row = this.rows.get(id);
        if (row !== undefined) this.put({ kind: 'incident', incident: this.view(row) });
    }

    private view(row: Incident): IncidentView {
        const { id, priority, state, units, createdMs, closedMs } = row;
        const { operations, clinical } = this.channelsOf(id);
        const details = this.details.get(id) ?? null;
        return { id, priority, state, units, createdMs, closedMs, operations, clinical, details };
    }
}
