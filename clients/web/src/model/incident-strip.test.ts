import { describe, expect, test } from 'vitest';
import { boardLines, type BoardSource } from './board';
import type { IncidentView, StatusView, UnitView } from './engine';
import { moves, QUESTIONS, screened, strips, unowned, type Strip } from './incident-strip';
import * as a from './sample';
import type { UrgentRow } from './world.svelte';

const MINUTE = 60_000;

function made(
    parts: {
        incidents?: readonly IncidentView[];
        units?: readonly UnitView[];
        statuses?: readonly StatusView[];
        urgent?: readonly UrgentRow[];
    },
    nowMs: number,
): Strip[] {
    const source: BoardSource = {
        units: new Map((parts.units ?? []).map((x) => [x.id, x])),
        statuses: new Map((parts.statuses ?? []).map((x) => [x.unit, x])),
        positions: new Map(),
        incidents: new Map((parts.incidents ?? []).map((x) => [x.id, x])),
        channels: new Map(),
        urgent: new Map((parts.urgent ?? []).map((x) => [x.id, x])),
        heard: new Map(),
    };
    return strips(source, boardLines(source, nowMs), nowMs);
}

const order = (found: readonly Strip[]): number[] => found.map((x) => Number.parseInt(x.incident.id, 16));

describe('order and timers', () => {
    test('duress, then whatever needs a person, then priority, then age', () => {
        const crew = (n: number): Partial<IncidentView> => ({ units: [a.unitId(n)], state: 'assigned' });
        const found = made(
            {
                incidents: [
                    a.incident(1, { priority: 1, ...crew(1) }),
                    a.incident(2, { priority: 3, createdMs: MINUTE }),
                    a.incident(3, { priority: 3, ...crew(3), createdMs: 2 }),
                    a.incident(4, { priority: 5, ...crew(4) }),
                    a.incident(5, { priority: 3, ...crew(5), createdMs: 1 }),
                    a.incident(6, { priority: 2, ...crew(6) }),
                    a.incident(7, { priority: 1, state: 'closed' }),
                ],
                units: [1, 3, 4, 5, 6].map((n) => a.unit(n)),
                urgent: [
                    a.duress(1, { channel: a.channelId(4), unit: a.unitId(4) }),
                    a.assignment(2, { channel: a.channelId(6), unit: a.unitId(6) }),
                ],
            },
            20 * MINUTE,
        );
        expect(order(found)).toEqual([4, 6, 2, 1, 5, 3]);
        expect(found.map((x) => x.needs)).toEqual([
            ['duress'],
            ['not_acknowledged'],
            ['no_unit'],
            [],
            [],
            [],
        ]);
    });

    test('an incident without a unit is overdue by its priority', () => {
        const at = (priority: number, minutes: number): number | undefined =>
            made({ incidents: [a.incident(1, { priority })] }, minutes * MINUTE)[0]?.overdueMs;
        expect([at(1, 2), at(1, 3), at(5, 60), at(5, 61)]).toEqual([0, MINUTE, 0, MINUTE]);
    });

    test('a silent unit makes its incident overdue', () => {
        const [found] = made(
            {
                incidents: [a.incident(1, { units: [a.unitId(1)], state: 'on_scene' })],
                units: [a.unit(1)],
                statuses: [a.status(1, { primary: 'NotAvailable', secondary: 'OnScene', atMs: 0 })],
            },
            16 * MINUTE,
        );
        expect([found?.needs, found?.overdueMs]).toEqual([['silent'], MINUTE]);
    });
});

describe('moves', () => {
    const allowed = (change: Partial<IncidentView>): string[] =>
        moves(a.incident(1, change)).flatMap((move) => (move.allowed ? [move.to] : []));

    test('are those of the server’s table, with its needs', () => {
        const units = [a.unitId(1)];
        expect(allowed({ state: 'open' })).toEqual(['closed', 'cancelled']);
        expect(allowed({ state: 'open', units })).toEqual(['assigned', 'on_scene', 'closed', 'cancelled']);
        expect(allowed({ state: 'assigned', units })).toEqual(['on_scene', 'closed', 'cancelled']);
        expect(allowed({ state: 'on_scene', units })).toEqual(['closed', 'cancelled']);
        expect([...allowed({ state: 'closed', units }), ...allowed({ state: 'cancelled' })]).toEqual([]);
    });
});

describe('closing', () => {
    const incidents = [a.incident(1, { units: [a.unitId(1), a.unitId(2)], state: 'on_scene' })];
    const units = [a.unit(1), a.unit(2)];
    const left = (statuses: readonly StatusView[], urgent: readonly UrgentRow[] = []): string[] => {
        const [found] = made({ incidents, units, statuses, urgent }, 0);
        return found === undefined ? ['none'] : unowned(found).map((x) => x.kind);
    };

    test('leaves nothing when every unit said that it left', () => {
        expect(left([a.status(1), a.status(2, { primary: 'NotAvailable', secondary: 'Cleared' })])).toEqual(
            [],
        );
    });

    test('says what would be left unowned', () => {
        const busy = a.status(2, { primary: 'NotAvailable', secondary: 'Transporting' });
        expect(left([a.status(1), busy], [a.assignment(1), a.duress(2, { unit: a.unitId(2) })])).toEqual([
            'duress',
            'not_acknowledged',
            'unit_busy',
        ]);
    });
});

test('screening becomes the narrative, and says what was not asked', () => {
    const answers = {
        who: ' A man, 40 ',
        happening: 'Shouting',
        weapons: '',
        medical: 'None',
        alone: 'Sister',
    };
    const said = screened(answers, (question) => question.toUpperCase(), 'not asked');
    expect(said.split('\n')).toEqual([
        'WHO: A man, 40',
        'HAPPENING: Shouting',
        'WEAPONS: not asked',
        'MEDICAL: None',
        'ALONE: Sister',
    ]);
    expect(QUESTIONS).toHaveLength(5);
});
