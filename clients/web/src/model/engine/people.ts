/**
 * Who there is: members and units as the server lists them, with the names that the agency's channel seals.
 *
 * Names never come from the server; where none is known, the first eight digits of the id stand in. The lists are kept, so
 * that a screen without a link knows everybody it knew.
 */
import type { Member, Unit } from '~/protocol/resources';

import type { ChannelId, EngineEvent, MemberId, MemberView, Role, UnitId, UnitView } from '../engine';
import type { History } from '../ports';
import { noteOf, readNote } from './notes';

const MEMBERS = 'members';
const UNITS = 'units';

export class People {
    private readonly members = new Map<MemberId, Member>();
    private readonly units = new Map<UnitId, Unit>();
    private readonly names = new Map<string, string>();
    private readonly unitChannels = new Map<UnitId, ChannelId>();

    private constructor(
        private readonly history: History,
        private readonly put: (event: EngineEvent) => void,
    ) {}

    static async restore(history: History, put: (event: EngineEvent) => void): Promise<People> {
        const people = new People(history, put);
        const members = (readNote(await history.note(MEMBERS)) ?? []) as readonly Member[];
        const units = (readNote(await history.note(UNITS)) ?? []) as readonly Unit[];
        for (const member of members) people.members.set(member.id, member);
        for (const unit of units) people.units.set(unit.id, unit);
        return people;
    }

    memberViews(): MemberView[] {
        return [...this.members.values()].map((member) => this.memberView(member));
    }

    unitViews(): UnitView[] {
        return [...this.units.values()].map((unit) => this.unitView(unit));
    }

    member(id: MemberId): Member | null {
        return this.members.get(id) ?? null;
    }

    unit(id: UnitId): Unit | null {
        return this.units.get(id) ?? null;
    }

    /** The units that a member is in now. */
    unitsOf(member: MemberId): Unit[] {
        return [...this.units.values()].filter((unit) => unit.endedMs === 0 && unit.members.includes(member));
    }

    /** Members who hold any of these roles now; null: any at all. */
    withRoles(roles: readonly Role[] | null): MemberId[] {
        return [...this.members.values()]
            .filter((member) => member.endedMs === 0)
            .filter((member) => roles === null || member.roles.some((role) => roles.includes(role)))
            .map((member) => member.id);
    }

    /** Whether what is said to a unit is said to this member; a unit that is not known here concerns everybody. */
    concerns(unit: UnitId, member: MemberId): boolean {
        return this.units.get(unit)?.members.includes(member) ?? true;
    }

    /** What the server lists now; null: this person may not see it. Only what changed is told. */
    async update(
        listedMembers: readonly Member[] | null,
        listedUnits: readonly Unit[] | null,
    ): Promise<void> {
        const members = listedMembers ?? [...this.members.values()];
        const units = listedUnits ?? [...this.units.values()];
        const newMembers = members.filter((member) => !same(this.members.get(member.id), member));
        const newUnits = units.filter((unit) => !same(this.units.get(unit.id), unit));
        if (newMembers.length === 0 && newUnits.length === 0) return;
        await this.history.keepNotes(
            new Map([
                [MEMBERS, noteOf(members)],
                [UNITS, noteOf(units)],
            ]),
        );
        for (const member of newMembers) this.takeMember(member);
        for (const unit of newUnits) this.takeUnit(unit);
    }

    takeMember(member: Member): void {
        this.members.set(member.id, member);
        this.put({ kind: 'member', member: this.memberView(member) });
    }

    takeUnit(unit: Unit): void {
        this.units.set(unit.id, unit);
        this.put({ kind: 'unit', unit: this.unitView(unit) });
    }

    /** The agency's channel says what a member or a unit is called; null: nothing any more. */
    named(id: string, name: string | null): void {
        if ((this.names.get(id) ?? null) === name) return;
        if (name === null) this.names.delete(id);
        else this.names.set(id, name);
        const member = this.members.get(id as MemberId);
        if (member !== undefined) this.put({ kind: 'member', member: this.memberView(member) });
        const unit = this.units.get(id as UnitId);
        if (unit !== undefined) this.put({ kind: 'unit', unit: this.unitView(unit) });
    }

    /** This device is in a unit's channel, or (null) no longer. */
    setUnitChannel(id: UnitId, channel: ChannelId | null): void {
        if (channel === (this.unitChannels.get(id) ?? null)) return;
        if (channel === null) this.unitChannels.delete(id);
        else this.unitChannels.set(id, channel);
        const unit = this.units.get(id);
        if (unit !== undefined) this.put({ kind: 'unit', unit: this.unitView(unit) });
    }

    private memberView(member: Member): MemberView {
        return {
            id: member.id,
            name: this.nameOf(member.id),
            roles: member.roles,
            discipline: member.discipline,
            ended: member.endedMs > 0,
        };
    }

    private unitView(unit: Unit): UnitView {
        return {
            id: unit.id,
            name: this.nameOf(unit.id),
            members: unit.members,
            lead: unit.lead,
            ended: unit.endedMs > 0,
            channel: this.unitChannels.get(unit.id) ?? null,
        };
    }

    private nameOf(id: string): string {
        return this.names.get(id) ?? id.slice(0, 8);
    }
}

/** Whether two answers of the server say the same. */
export function same(one: unknown, other: unknown): boolean {
    return JSON.stringify(one) === JSON.stringify(other);
}
