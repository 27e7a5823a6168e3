import { describe, expect, test } from 'vitest';

import { pack, type Value } from '~/protocol/pack';
import { NO_BYTES } from '~/protocol/bytes';

import { readNotice } from './notices';

const ID = 'ab'.repeat(16);
const OTHER = 'cd'.repeat(16);
const bytes = (id: string) => Uint8Array.from(id.match(/../g) ?? [], (digits) => parseInt(digits, 16));

describe('a notice', () => {
    test.each<[string, Value, object]>([
        ['of a page', [7, bytes(ID), bytes(OTHER)], { kind: 'page', page: ID, consult: OTHER }],
        ['of a consult that changed', [8, bytes(ID)], { kind: 'consult', consult: ID }],
        ['of an alarm', [9, bytes(ID)], { kind: 'consult', consult: ID }],
        ['of a test', [11, bytes(ID)], { kind: 'test', page: ID }],
        ['of a gap', [12, bytes(ID)], { kind: 'warning' }],
        ['of a channel', [4, bytes(ID)], { kind: 'lists' }],
        ['of a newer kind', [99, bytes(ID), 'more'], { kind: 'lists' }],
        ['that grew', [8, bytes(ID), 'more'], { kind: 'consult', consult: ID }],
        // What does not hold is no reason to do nothing: the lists are looked at.
        ['with half an id', [7, bytes(ID), bytes('ab')], { kind: 'lists' }],
        ['without its id', [8], { kind: 'lists' }],
        ['that is no list', 'hello', { kind: 'lists' }],
    ])('%s', (_, value, expected) => {
        expect(readNotice(pack(value))).toEqual(expected);
    });

    test('that was pruned', () => {
        expect(readNotice(NO_BYTES)).toEqual({ kind: 'lists' });
    });
});
