import { expect, test } from 'vitest';
import { moreChoices, quickChoices } from './status-choice';

const all = [...quickChoices, ...moreChoices];

test('every status of the table can be chosen, and each in one place', () => {
    const [primaries, secondaries] = [3, 17];
    expect(all.length).toBe(primaries + secondaries);
    expect(new Set(all.map((one) => one.secondary ?? one.primary)).size).toBe(all.length);
});

test('nobody is available and busy at once', () => {
    const free = all.filter((one) => one.primary === 'Available').map((one) => one.secondary);
    expect(free).toEqual([null, 'InService', 'OnDuty']);
});
