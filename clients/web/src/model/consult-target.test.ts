import { expect, it } from 'vitest';
import { lateness, MEDIAN_MS, P90_MS, waitedMs } from './consult-target';
import { consult } from './sample';

it('counts from the request until somebody is there, and on while nobody is', () => {
    expect(waitedMs(consult(1, { requestedMs: 100 }), 900)).toBe(800);
    expect(waitedMs(consult(1, { requestedMs: 100, joinedMs: 400, state: 'ended' }), 900)).toBe(300);
    expect(waitedMs(consult(1, { requestedMs: 100, state: 'cancelled' }), 900)).toBeNull();
});

it.each([
    [MEDIAN_MS, 'within'],
    [MEDIAN_MS + 1, 'late'],
    [P90_MS, 'late'],
    [P90_MS + 1, 'over'],
] as const)('calls %d ms %s', (ms, found) => {
    expect(lateness(ms)).toBe(found);
});
