import { expect, it } from 'vitest';
import { csv } from './csv';

it('writes what every program reads, and nothing that one would run', () => {
    const rows = [
        ['label', 'consults'],
        ['a "b", c', 5],
        ['=1+1', null],
        ['-5', -5],
    ] as const;
    expect(csv(rows)).toBe('label,consults\r\n"a ""b"", c",5\r\n\'=1+1,\r\n\'-5,-5\r\n');
});
