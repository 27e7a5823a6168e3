import { expect, it } from 'vitest';
import { protocolFile } from '~/protocol/read-vectors';
import { SEALING_CODES, SealingError, refuse } from './errors';

it('has the codes of the spec and of the Python client, each once', () => {
    const python = protocolFile('leeside_protocol/sealing/errors.py').matchAll(/^ {4}(E_[A-Z_]+) = "\1"$/gm);
    expect([...SEALING_CODES]).toEqual([...python].map(([, code]) => code));
    const chapter = protocolFile('spec/04-sealing.md');
    const [, table = ''] = chapter.split('## Codes');
    const listed = new Set(Array.from(table.matchAll(/`(E_[A-Z_]+)`/g), ([, code]) => code));
    expect([...SEALING_CODES].filter((code) => !listed.has(code))).toEqual([]);
    expect(listed.size).toBe(SEALING_CODES.length);
});

it('is refused with a code, and a phrase that holds nothing of the input', () => {
    expect(() => refuse('E_SIG', 'signature')).toThrow(new SealingError('E_SIG', 'signature'));
});
