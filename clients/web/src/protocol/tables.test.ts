// The tables of this client against those of the specification and of the reference, so that none drifts.
import { describe, expect, test } from 'vitest';
import { afterClose, CloseCode, mayRetry, WireError, wireError, wireLabel } from '~/protocol/errors';
import { ChannelKind, StateKind } from '~/protocol/ids';
import * as limits from '~/protocol/limits';
import { protocolFile } from '~/protocol/read-vectors';
import * as words from '~/protocol/words';

const python = (name: string): string => protocolFile(`leeside_protocol/${name}.py`);

/** The members of a Python enum, as [NAME, value] in order; values are numbers, texts or bytes of one letter. */
function members(source: string, name: string): [string, string][] {
    const body = new RegExp(`^class ${name}\\(.*\\):\\n((?: {4}.*\\n|\\n)*)`, 'm').exec(source)?.[1] ?? '';
    return [...body.matchAll(/^ {4}([A-Z_]+) = b?"?([^"\n]*)"?$/gm)].map((m) => [m[1] ?? '', m[2] ?? '']);
}

describe('spec 90', () => {
    const spec = protocolFile('spec/90-errors.md');
    const rows = [...spec.matchAll(/^\| (\d+) \| `(\w+)` \|.*\| ([^|]*) \|$/gm)].map((m) => ({
        number: Number(m[1]),
        label: m[2] ?? '',
        last: m[3] ?? '',
    }));

    test('errors are those of the table', () => {
        const table = rows.filter((row) => row.number < 1000);
        expect(Object.fromEntries(table.map((row) => [row.label, row.number]))).toEqual(WireError);
        expect(table.length).toBeGreaterThan(15);
    });

    test('close codes are those of the table, and lead on as it says', () => {
        const table = rows.filter((row) => row.number >= 4000);
        expect(Object.fromEntries(table.map((row) => [row.label, row.number]))).toEqual(CloseCode);
        for (const row of table) expect(afterClose(row.number)).toBe(row.last);
    });

    test('what this client does not know is treated by its range', () => {
        expect([
            afterClose(1006),
            afterClose(4099),
            afterClose(4150),
            afterClose(4299),
            afterClose(4300),
        ]).toEqual(['reconnect', 'reconnect', 'sign_in', 'stop', 'reconnect']);
        expect([wireLabel(199), wireLabel(299), wireLabel(399)]).toEqual([
            'unavailable',
            'conflict',
            'invalid',
        ]);
        expect([mayRetry(199), mayRetry(200)]).toEqual([true, false]);
        expect(wireError('toString')).toBeUndefined();
    });
});

describe('words', () => {
    const source = python('words');
    const lists: [string, readonly string[]][] = [
        ['Role', words.ROLES],
        ['PersonBy', words.PERSON_BY],
        ['Discipline', words.DISCIPLINES],
        ['ChannelPurpose', words.CHANNEL_PURPOSES],
        ['IncidentState', words.INCIDENT_STATES],
        ['PrimaryStatus', words.PRIMARY_STATUSES],
        ['SecondaryStatus', words.SECONDARY_STATUSES],
        ['Disposition', words.DISPOSITIONS],
        ['ConsultState', words.CONSULT_STATES],
        ['TargetState', words.TARGET_STATES],
        ['ConsultActionKind', words.CONSULT_ACTIONS],
    ];
    test.each(lists)('%s', (name, list) => {
        expect(list).toEqual(members(source, name).map(([, value]) => value));
        expect(list.length).toBeGreaterThan(2);
    });

    const numbers: [string, Readonly<Record<string, number>>][] = [
        ['Compartment', words.Compartment],
        ['Lane', words.Lane],
        ['Urgency', words.Urgency],
        ['Mark', words.Mark],
    ];
    test.each(numbers)('%s', (name, table) => {
        const found = members(source, name).map(([key, value]) => [key.toLowerCase(), Number(value)]);
        expect(Object.entries(table)).toEqual(found);
    });

    test('the last mark', () => {
        expect(words.MARK_MAX).toBe(Math.max(...Object.values(words.Mark)));
    });
});

test('kinds of addresses and keys', () => {
    const bytes = (name: string) =>
        members(python('ids'), name).map(([key, letter]) => [
            key.toLowerCase(),
            letter.charCodeAt(0).toString(16),
        ]);
    expect(Object.fromEntries(bytes('ChannelKind'))).toEqual(ChannelKind);
    expect(Object.fromEntries(bytes('StateKind'))).toEqual(StateKind);
});

test('limits', () => {
    const found = new Map(
        [...python('limits').matchAll(/^([A-Z_]+): Final = ([\d_ *+.-]+)$/gm)].map((m) => [
            m[1],
            // Products, sums and one power, of numbers of our own.
            (m[2] ?? '')
                .replaceAll('_', '')
                .replace('2**53', '9007199254740992')
                .split(' + ')
                .map((sum) =>
                    sum.split(' - ').map((term) => term.split(' * ').reduce((p, x) => p * Number(x), 1)),
                )
                .reduce((all, [first = 0, ...less]) => all + less.reduce((a, b) => a - b, first), 0),
        ]),
    );
    for (const [name, value] of Object.entries(limits))
        expect([name, found.get(name)]).toEqual([name, value]);
    expect(found.size).toBeGreaterThan(Object.keys(limits).length - 1);
});
