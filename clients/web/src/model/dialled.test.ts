import { expect, test } from 'vitest';
import { dialled } from './dialled';

test.each([
    ['+15550100', '+15550100'],
    ['+1 (555) 0100', '+15550100'],
    ['0800 / 55-01.00', '0800550100'],
    ['+1 555 0100, code 4711#', '+15550100'],
    ['Conference: 555 0100 then 12', '5550100'],
    ['*21#', '*21#'],
    ['', ''],
    ['ask the desk', ''],
])('%s dials %s', (written, expected) => {
    expect(dialled(written)).toBe(expected);
});
