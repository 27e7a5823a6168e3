import { expect, test } from 'vitest';
import { readPush } from './push';

const PAGE = '000102030405060708090a0b0c0d0e0f';

test.each([
    [`a consult is waiting ${PAGE}`.padEnd(64), { kind: 'consult', page: PAGE }],
    [`a test is waiting ${PAGE}`.padEnd(64), { kind: 'test', page: PAGE }],
    [`probe ${PAGE}`.padEnd(64), { kind: 'probe', page: PAGE }],
    ['something is waiting'.padEnd(64), { kind: 'waiting' }],
])('%s', (text, push) => {
    expect(readPush(text)).toEqual(push);
});

test.each([
    '',
    'Quay Street 4',
    `a consult is waiting ${PAGE.toUpperCase()}`,
    `a consult is waiting ${PAGE}00`,
    `a consult is waiting ${PAGE}/../sessions`,
    `a consult is waiting\n${PAGE}`,
    `a consult is waiting ${PAGE}\nQuay Street 4`,
    `page ${PAGE}`,
])('what is none of these says that something waits: %s', (text) => {
    expect(readPush(text)).toEqual({ kind: 'waiting' });
});
