import { describe, expect, it } from 'vitest';
import { byUrgency, nextInMs, pagedNow, stageOf, stepsOf, triedLines } from './consult-progress';
import type { ConsultTarget, TargetState } from './on-call';
import { consult, memberId } from './sample';

const target = (n: number, step: number, state: TargetState): ConsultTarget => ({
    member: memberId(n),
    step,
    state,
    atMs: 0,
});

describe('the stage', () => {
    it.each([
        ['held', { state: 'requested' }],
        ['starting', { step: -1 }],
        ['paging', {}],
        ['on_hold', { heldUntilMs: 11 }],
        ['paging', { heldUntilMs: 10 }],
        ['accepted', { state: 'accepted' }],
        ['exhausted', { state: 'exhausted' }],
        ['taken', { state: 'exhausted', takenBy: memberId(9) }],
        ['unsent', { state: 'unsent' }],
    ] as const)('is %s for %o', (stage, change) => {
        expect(stageOf(consult(1, change), 10)).toBe(stage);
    });
});

it('pages now whoever was paged in this step and did not answer', () => {
    const targets = [
        target(1, 0, 'timed_out'),
        target(2, 1, 'delivered'),
        target(3, 1, 'declined'),
        target(4, 1, 'seen'),
        target(5, 2, 'queued'),
    ];
    expect(pagedNow(consult(1, { step: 1, targets }))).toEqual([memberId(2), memberId(4)]);
    expect(pagedNow(consult(1, { step: 1, targets, state: 'accepted' }))).toEqual([]);
});

it('counts down to the next step and never below nothing', () => {
    expect(nextInMs(consult(1, { nextMs: 500 }), 100)).toBe(400);
    expect(nextInMs(consult(1, { nextMs: 500 }), 900)).toBe(0);
    expect(nextInMs(consult(1, { nextMs: 0 }), 0)).toBeNull();
    expect(nextInMs(consult(1, { nextMs: 500, state: 'exhausted' }), 0)).toBeNull();
});

it('shows every step of the ladder, the last one as such', () => {
    const steps = stepsOf(consult(1, { step: 1, targets: [target(1, 0, 'declined')] }));
    expect(steps.map((one) => one.state)).toEqual(['done', 'now', 'ahead']);
    expect(steps.map((one) => one.last)).toEqual([false, false, true]);
    expect(steps[0]?.targets.map((one) => one.member)).toEqual([memberId(1)]);
    const over = stepsOf(consult(1, { step: 1, state: 'accepted' }));
    expect(over.map((one) => one.state)).toEqual(['done', 'done', 'ahead']);
});

it('says in one line what happened to several at once, and keeps a word that it does not know', () => {
    const at = (atMs: number, event: string, step: number, n: number | null) => ({
        atMs,
        event,
        step,
        member: n === null ? null : memberId(n),
    });
    const tried = [
        at(0, 'paged', 0, 1),
        at(5, 'paged', 0, 2),
        at(9_000, 'paged', 0, 1),
        at(9_500, 'paged', 1, 3),
        at(9_600, 'rumour', 1, null),
    ];
    expect(triedLines(consult(1, { tried })).map(({ event, members }) => [event, members])).toEqual([
        ['paged', [memberId(1), memberId(2)]],
        ['paged', [memberId(1)]],
        ['paged', [memberId(3)]],
        ['other', []],
    ]);
});

it('sorts by urgency, then by who waits longest', () => {
    const all = [
        consult(1, { urgency: 'routine', requestedMs: 1 }),
        consult(2, { urgency: 'urgent', requestedMs: 9 }),
        consult(3, { urgency: 'urgent', requestedMs: 5 }),
    ];
    expect(all.sort(byUrgency).map((one) => one.id)).toEqual([consult(3).id, consult(2).id, consult(1).id]);
});
