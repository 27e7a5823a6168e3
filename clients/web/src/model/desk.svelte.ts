/**
 * What a dispatcher looks at: the board, the strips, what calls for somebody, and what is selected.
 *
 * Derived from the world and nothing else, so that two screens of one desk never disagree.
 */

import { boardLines, EVERYTHING, filterLines, fold, isNeeding, notAcknowledged } from './board';
import type { BoardFilter, BoardLine } from './board';
import { byUrgency, isOver } from './consult-progress';
import type { ChannelId, IncidentId, IncidentView, MemberId, UnitId } from './engine';
import { strip, strips } from './incident-strip';
import type { ConsultView } from './on-call';
import { saidOnce } from './said-once';
import type { Strip } from './incident-strip';
import type { UrgentRow, World } from './world.svelte';

/** Something that stays on top until a person acts. */
export type Call =
    | {
          readonly key: string;
          readonly kind: 'duress';
          readonly row: UrgentRow;
          /** The same word in every channel in which it was said, `row` among them: one answer is given to all. */
          readonly rows: readonly UrgentRow[];
          readonly line: BoardLine | null;
      }
    /** Said to this desk, urgently: acknowledge it. */
    | {
          readonly key: string;
          readonly kind: 'to_me';
          readonly row: UrgentRow;
          readonly rows: readonly UrgentRow[];
      }
    /** Said by a desk, and nobody acknowledged: `missing` are asked by name. */
    | {
          readonly key: string;
          readonly kind: 'unanswered';
          readonly row: UrgentRow;
          readonly missing: readonly MemberId[];
      };

export interface StripFilter {
    readonly text: string;
    /** `null`: every priority. */
    readonly priority: number | null;
    /** Ended ones instead of running ones, the newest first. */
    readonly ended: boolean;
}

export const RUNNING: StripFilter = { text: '', priority: null, ended: false };

export class Desk {
    readonly world: World;
    boardFilter = $state.raw<BoardFilter>(EVERYTHING);
    stripFilter = $state.raw<StripFilter>(RUNNING);
    /** The incident that is open in the middle. */
    selected = $state.raw<IncidentId | null>(null);
    /** The unit whose line was opened last; the map shows it. */
    unit = $state.raw<UnitId | null>(null);
    /** The standing channel that is open: a unit's, the desk's, the agency's. */
    channel = $state.raw<ChannelId | null>(null);

    readonly lines: readonly BoardLine[] = $derived.by(() => boardLines(this.world, this.world.clock.nowMs));
    readonly shownLines: readonly BoardLine[] = $derived.by(() =>
        filterLines(this.lines, this.boardFilter, (id) => this.world.memberName(id)),
    );
    readonly needing: number = $derived(this.lines.filter(isNeeding).length);
    readonly running: readonly Strip[] = $derived.by(() =>
        strips(this.world, this.lines, this.world.clock.nowMs),
    );
    readonly shownStrips: readonly Strip[] = $derived.by(() => {
        const filter = this.stripFilter;
        const words = fold(filter.text).split(/\s+/u).filter(Boolean);
        const from = filter.ended ? this.#ended() : this.running;
        return from.filter(
            (x) =>
                // Nobody in danger is filtered away.
                x.needs[0] === 'duress' ||
                ((filter.priority === null || x.incident.priority === filter.priority) &&
                    words.every((word) => said(x, this.world).includes(word))),
        );
    });
    readonly strip: Strip | null = $derived.by(() => {
        const { selected } = this;
        if (selected === null) return null;
        const running = this.running.find((x) => x.incident.id === selected);
        const incident = this.world.incidents.get(selected);
        return running ?? (incident === undefined ? null : this.#strip(incident));
    });
    readonly calls: readonly Call[] = $derived.by(() => this.#calls());
    /** Consults that are asked for or go on: what nobody answered first, then the most urgent. */
    readonly consults: readonly ConsultView[] = $derived.by(() => {
        const lost = (one: ConsultView): number => Number(one.state === 'exhausted' && one.takenBy === null);
        return [...this.world.consults.values()]
            .filter((one) => !isOver(one))
            .sort((x, y) => lost(y) - lost(x) || byUrgency(x, y));
    });

    constructor(world: World) {
        this.world = world;
    }

    /** The incident that a channel belongs to. */
    incidentOf(row: UrgentRow): IncidentView | null {
        const channel = this.world.channels.get(row.channel);
        if (channel?.purpose !== 'incident' || channel.subject === null) return null;
        return this.world.incidents.get(channel.subject as IncidentId) ?? null;
    }

    /** Those of one incident, which cannot end before they do. */
    consultsOf(incident: IncidentId): readonly ConsultView[] {
        return this.consults.filter((one) => one.incident === incident);
    }

    #strip(incident: IncidentView): Strip {
        const board = new Map(this.lines.map((line) => [line.unit.id, line]));
        return strip(incident, board, [], this.world.clock.nowMs);
    }

    #ended(): Strip[] {
        return [...this.world.incidents.values()]
            .filter((x) => x.closedMs > 0)
            .sort((a, b) => b.closedMs - a.closedMs)
            .map((x) => this.#strip(x));
    }

    /** Danger first, then what is asked of this desk, then what the desk waits for. */
    #calls(): Call[] {
        const me = this.world.me?.member ?? null;
        const danger: Call[] = [];
        const asked: Call[] = [];
        const waiting: Call[] = [];
        const rows = new Map([...this.world.urgent, ...this.world.sounding]);
        const inOrder = [...rows.values()].sort((a, b) => a.atMs - b.atMs);
        for (const said of saidOnce(inOrder)) {
            // Where it is about an incident, that is where people look.
            const row = said.find((one) => this.incidentOf(one) !== null) ?? said[0];
            const key = said[0].id;
            if (row.kind === 'duress') {
                const unit = row.unit;
                const line =
                    this.lines.find((x) =>
                        unit === null
                            ? row.member !== null && x.unit.members.includes(row.member)
                            : x.unit.id === unit,
                    ) ?? null;
                danger.push({ key, kind: 'duress', row, rows: said, line });
            } else if (row.mine || (me !== null && row.member === me) || !row.progress.sounding) {
                waiting.push({ key, kind: 'unanswered', row, missing: notAcknowledged(row, this.world) });
            } else {
                asked.push({ key, kind: 'to_me', row, rows: said });
            }
        }
        return [...danger, ...asked, ...waiting];
    }
}

/** What a strip is found by. */
function said({ incident, lines }: Strip, world: World): string {
    const { details } = incident;
    return fold(
        [
            incident.id.slice(0, 8),
            details?.typeCode ?? '',
            details?.district ?? '',
            details?.address ?? '',
            ...lines.map((line) => line.unit.name),
            ...lines.flatMap((line) => line.unit.members.map((member) => world.memberName(member))),
        ].join(' '),
    );
}
