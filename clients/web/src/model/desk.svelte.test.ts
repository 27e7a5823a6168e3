import { describe, expect, test } from 'vitest';
import { Desk, RUNNING } from './desk.svelte';
import * as a from './sample';
import type { Me, Snapshot } from './engine';
import { World } from './world.svelte';

function desk(change: Partial<Snapshot>): Desk {
    const world = new World({ history: () => Promise.resolve([]) });
    const me = { member: a.memberId(9) } as Me;
    world.load(a.snapshot({ standing: { kind: 'active', me }, ...change }));
    return new Desk(world);
}

describe('calls', () => {
    const sounding = a.progress({ sounding: true });

    test('danger, what is asked of this desk, what it waits for', () => {
        const found = desk({
            units: [a.unit(1)],
            urgent: [
                a.assignment(1, { mine: true, member: a.memberId(9) }),
                a.text(2, { urgency: 'urgent', progress: sounding }),
                a.duress(3, { unit: null, progress: sounding }),
            ],
        });
        expect(found.calls.map((call) => call.kind)).toEqual(['duress', 'to_me', 'unanswered']);
        const [first, , last] = found.calls;
        expect(first?.kind === 'duress' && first.line?.unit.name).toBe('Crisis 1');
        expect(last?.kind === 'unanswered' && last.missing).toEqual([a.memberId(1)]);
    });
});

test('a word of safety that was said in two channels is one call, answered in both', () => {
    const found = desk({
        units: [a.unit(1)],
        urgent: [
            a.duress(1, { channel: a.channelId(1), unit: null, writtenMs: 1_000 }),
            a.duress(2, { channel: a.channelId(2), unit: null, writtenMs: 1_003 }),
            a.duress(3, { channel: a.channelId(1), unit: null, writtenMs: 60_000 }),
        ],
    });
    const said = found.calls.map((call) => (call.kind === 'duress' ? call.rows.map((row) => row.id) : []));
    expect(said).toEqual([[a.messageId(1), a.messageId(2)], [a.messageId(3)]]);
});

describe('strips', () => {
    const details = {
        typeCode: 'EDP',
        district: 'Hafen',
        address: 'Quay Street 4',
        place: null,
        narrative: '',
        disposition: '',
    };
    const incidents = [
        a.incident(1, { priority: 1 }),
        a.incident(2, { priority: 3, details }),
        a.incident(3, { state: 'closed', closedMs: 5 }),
        a.incident(4, { state: 'cancelled', closedMs: 9 }),
    ];
    const shown = (found: Desk): string[] => found.shownStrips.map((x) => x.incident.id);

    test('are found by words and priority, and ended ones when asked', () => {
        const found = desk({ incidents });
        expect(shown(found)).toEqual([1, 2].map(a.incidentId));
        found.stripFilter = { ...RUNNING, text: 'QUAY hafen' };
        expect(shown(found)).toEqual([a.incidentId(2)]);
        found.stripFilter = { ...RUNNING, priority: 1 };
        expect(shown(found)).toEqual([a.incidentId(1)]);
        found.stripFilter = { ...RUNNING, ended: true };
        expect(shown(found)).toEqual([4, 3].map(a.incidentId));
    });

    test('the selected one stays in sight when it ends', () => {
        const found = desk({ incidents });
        found.selected = a.incidentId(3);
        expect(found.strip?.incident.state).toBe('closed');
        found.selected = a.incidentId(99);
        expect(found.strip).toBeNull();
    });
});

test('consults that go on stand there, what nobody answered first, and an incident knows its own', () => {
    const found = desk({
        consults: [
            a.consult(1, { state: 'in_session', urgency: 'urgent' }),
            a.consult(2, { urgency: 'routine' }),
            a.consult(3, { state: 'exhausted', urgency: 'routine' }),
            a.consult(4, { state: 'exhausted', takenBy: a.memberId(3), urgency: 'important' }),
            a.consult(5, { state: 'ended', urgency: 'urgent' }),
            a.consult(6, { state: 'cancelled' }),
        ],
    });
    expect(found.consults.map((one) => one.id)).toEqual([3, 1, 4, 2].map(a.consultId));
    expect(found.consultsOf(a.incidentId(4)).map((one) => one.id)).toEqual([a.consultId(4)]);
    expect(found.consultsOf(a.incidentId(5))).toEqual([]);
});

test('a thousand units are all there, in the order of their numbers', () => {
    const found = desk({
        units: Array.from({ length: 1_000 }, (_, n) => a.unit(n)),
        statuses: Array.from({ length: 1_000 }, (_, n) => a.status(n)),
        positions: Array.from({ length: 1_000 }, (_, n) => a.position(n)),
    });
    expect(found.shownLines.map((x) => x.unit.name).slice(8, 11)).toEqual([
        'Crisis 8',
        'Crisis 9',
        'Crisis 10',
    ]);
});
