/**
 * What a dispatcher and a unit do with an incident. Spec chapter 10.
 *
 * Each step leaves what is true: the row before the words about it, admission before assignment, the disposition before the
 * close. One that breaks off in the middle can be done again.
 */
import type { Api } from '~/link/api';
import { ApiError } from '~/link/errors';
import { type ContentOf, REPEAT_S } from '~/protocol/bodies';
import { WireError } from '~/protocol/errors';
import { idOf } from '~/protocol/ids';
import type { Incident } from '~/protocol/resources';
import { Compartment, Urgency } from '~/protocol/words';

import type {
    ChannelId,
    IncidentDetails,
    IncidentId,
    IncidentState,
    Mark,
    MemberId,
    UnitId,
} from '../engine';
import { EngineFailure } from './errors';
import { recordGround } from './grounds';
import { Openings } from './openings';
import { markNumber } from './telling';
import type { Work } from './work';

const ATTEMPTS = 4;

export class IncidentWork {
    private readonly openings: Openings;

    constructor(private readonly work: Work) {
        this.openings = new Openings(work.home, work.rooms);
    }

    /** The row and the operations channel in one transaction, then what is sealed about it. */
    async open(priority: number, details: IncidentDetails): Promise<IncidentId> {
        const { home, people, incidents } = this.work;
        const incident = idOf<IncidentId>(home.random.bytes(16));
        const desk = people.withRoles(['dispatcher', 'supervisor']);
        const devices = this.openings.devicesOf(desk);
        const opening = { purpose: 'incident', subject: incident, incident } as const;
        const made = await this.openings.make(opening, devices);
        const channel = {
            purpose: 'incident',
            subject: incident,
            genesis: made.post,
            first: null,
        } as const;
        await this.api.openIncident({ incident, priority, units: [], channel });
        const room = await this.openings.join(made);
        incidents.take(await this.api.incident(incident));
        await this.work.compose(room.id, content(incident, details));
        return incident;
    }

    async describe(incident: IncidentId, details: IncidentDetails): Promise<void> {
        await this.work.compose(this.operations(incident), content(incident, details));
    }

    async prioritise(incident: IncidentId, priority: number): Promise<void> {
        await this.change(incident, () => ({ priority }));
    }

    /**
     * Changes the row, admits the devices of the unit's members, describes the incident to them, then says so in the channel:
     * who was told can read.
     */
    async assign(incident: IncidentId, unit: UnitId, note: string): Promise<void> {
        const channel = this.operations(incident);
        // Who is in the unit, and with which devices, as it is now: told on an older list, nobody could read it.
        await this.work.refresh();
        const members = this.work.people.unit(unit)?.members;
        if (members === undefined) throw new EngineFailure('not_found');
        const row = await this.change(incident, (now) => ({
            units: [...now.units.filter((one) => one !== unit), unit],
            ...(now.state === 'open' ? { state: 'assigned' as const } : {}),
        }));
        await this.admit(channel, members);
        const { priority } = row;
        await this.work.compose(
            channel,
            { type: 'assignment', unit, priority, repeatS: REPEAT_S, note },
            { urgency: Urgency.urgent },
        );
    }

    /** Takes the unit off the row, and out of the channel those who are in no other unit of it. */
    async unassign(incident: IncidentId, unit: UnitId): Promise<void> {
        const { people, home, rooms } = this.work;
        const row = await this.change(incident, (now) => ({
            units: now.units.filter((one) => one !== unit),
        }));
        const staying = new Set(row.units.flatMap((one) => people.unit(one)?.members ?? []));
        const leaving = (people.unit(unit)?.members ?? []).filter(
            (member) => !staying.has(member) && member !== home.directories.member,
        );
        await rooms
            .get(this.operations(incident))
            .chain.remove(leaving.flatMap((m) => home.directories.devicesOf(m)));
    }

    /** Moves the row; at its end the disposition goes first, for nothing can be published afterwards. */
    async move(incident: IncidentId, state: IncidentState, disposition: string): Promise<void> {
        const { incidents } = this.work;
        const ends = state === 'closed' || state === 'cancelled';
        const known = incidents.detailsOf(incident);
        if (ends && disposition !== '' && known !== null) {
            const id = await this.work.compose(
                this.operations(incident),
                content(incident, { ...known, disposition }),
            );
            await this.work.untilSent(id);
        }
        await this.change(incident, () => ({ state }));
        this.work.chore();
    }

    /** A mark of the timeline that stays in the log; in the clear as well, where the server keeps times by it. */
    async mark(incident: IncidentId, mark: Mark, unit: UnitId | null, note: string): Promise<void> {
        const number = markNumber(mark) as ContentOf<'timeline'>['mark'];
        await this.work.compose(
            this.operations(incident),
            { type: 'timeline', mark: number, unit, note },
            { mark: number },
        );
    }

    /**
     * The clinical channel, for clinicians of the incident's units, with its ground. What is recorded about it is sealed in
     * the operations channel first, and the hash of that frame stands signed in the genesis (spec 04, "Commit", `auth`). One
     * that stands already is not opened twice.
     */
    async openClinical(
        incident: IncidentId,
        ground: 'consent' | 'break_glass',
        record: string,
    ): Promise<ChannelId> {
        const { incidents, people } = this.work;
        const standing = incidents.channelsOf(incident).clinical;
        if (standing !== null) return standing;
        const row = incidents.row(incident);
        if (row === null) throw new EngineFailure('not_found');
        const auth = [await recordGround(this.work, this.operations(incident), ground, record)];
        const members = row.units.flatMap((unit) => people.unit(unit)?.members ?? []);
        const room = await this.openings.open(
            {
                purpose: 'incident',
                subject: incident,
                incident,
                compartment: Compartment.clinical,
                auth,
            },
            this.openings.devicesOf(members, Compartment.clinical),
        );
        return room.id;
    }

    /**
     * Let members in, with every device of theirs that may read the channel's compartment. The kept description was sealed
     * before they came, so it is said anew: also when they are in already, for an earlier try may have ended there.
     */
    async admit(channel: ChannelId, members: readonly MemberId[]): Promise<void> {
        const { chain, info } = this.work.rooms.get(channel);
        await this.work.home.directories.sync();
        await chain.admit(this.openings.devicesOf(members, info.compartment));
        const incident = info.subject as IncidentId | null;
        if (info.purpose !== 'incident' || info.compartment !== Compartment.operations || incident === null)
            return;
        const known = this.work.incidents.detailsOf(incident);
        if (known !== null) await this.describe(incident, known);
    }

    /** Change the row on whatever revision there is then. */
    private async change(
        incident: IncidentId,
        plan: (row: Incident) => {
            readonly priority?: number;
            readonly state?: IncidentState;
            readonly units?: readonly UnitId[];
        },
    ): Promise<Incident> {
        for (let attempt = 1; ; attempt++) {
            const now = await this.api.incident(incident);
            try {
                const row = await this.api.changeIncident(incident, { revision: now.revision, ...plan(now) });
                this.work.incidents.take(row);
                return row;
            } catch (error) {
                const lost = error instanceof ApiError && error.number === WireError.conflict;
                if (!lost || attempt >= ATTEMPTS) throw error;
            }
        }
    }

    private operations(incident: IncidentId): ChannelId {
        const { operations } = this.work.incidents.channelsOf(incident);
        if (operations === null) throw new EngineFailure('not_found');
        return operations;
    }

    private get api(): Api {
        return this.work.home.api;
    }
}

function content(incident: IncidentId, details: IncidentDetails): ContentOf<'incident'> {
    const { typeCode, district, address, place, narrative } = details;
    const disposition = details.disposition as ContentOf<'incident'>['disposition'];
    return { type: 'incident', incident, typeCode, district, address, place, narrative, disposition };
}
