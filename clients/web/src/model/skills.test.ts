import { expect, test } from 'vitest';
import { draftOf, read } from './skills';

const kept = {
    languages: ['en', 'es'],
    specialties: ['children'],
    licences: ['NY', 'NJ'],
    phone: '+15550100',
};

test('what was read is written back as it was', () => {
    expect(read(draftOf({ ...kept, revision: 3 }))).toEqual({ skills: kept, faults: [] });
});

test('a list and a number may be written as people write them', () => {
    const { skills, faults } = read({
        languages: [],
        specialties: ' children,, addiction , children ',
        licences: '',
        phone: '+1 (555) 010-0123',
    });
    expect(faults).toEqual([]);
    expect(skills).toEqual({
        languages: [],
        specialties: ['children', 'addiction'],
        licences: [],
        phone: '+15550100123',
    });
});

test.each([
    ['phone', { phone: '555 0100' }],
    ['phone', { phone: '+0123456789' }],
    ['specialties', { specialties: 'x'.repeat(41) }],
    ['licences', { licences: 'a,b,c,d,e,f,g,h,i' }],
    ['languages', { languages: ['en', 'es', 'zh', 'vi', 'ar', 'fr', 'pt', 'ru', 'uk'] }],
])('what the server would refuse is said beforehand: %s', (fault, change) => {
    expect(read({ ...draftOf({ ...kept, revision: 3 }), ...change }).faults).toEqual([fault]);
});
