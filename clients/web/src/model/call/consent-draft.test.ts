import { expect, test } from 'vitest';

import { type Asked, emergencyGround, givenConsent, missingOf } from './consent-draft';

const NOW_MS = 1_000_000;
const asked: Asked = {
    by: 'person',
    scope: ' Picture and sound ',
    purpose: 'Advice',
    recipients: ['psychiatrist'],
    hours: 4,
    method: 'spoken',
    capacity: ' calm, answers for himself ',
    interpreter: true,
};

test('what was asked is recorded as it was said, with its end', () => {
    expect(givenConsent(asked, NOW_MS)).toEqual({
        by: 'person',
        scope: 'Picture and sound',
        purpose: 'Advice',
        recipients: ['psychiatrist'],
        expiresMs: NOW_MS + 4 * 3_600_000,
        method: 'spoken',
        capacity: 'calm, answers for himself',
        interpreter: true,
        reason: '',
    });
});

test('scope, purpose and somebody to receive it are needed', () => {
    expect(missingOf(asked)).toEqual([]);
    expect(missingOf({ ...asked, scope: ' ', purpose: '', recipients: [] })).toEqual([
        'scope',
        'purpose',
        'recipients',
    ]);
});

test('an emergency reaches who treats, for an hour, with its reason', () => {
    const texts = { scope: 'Picture and sound', purpose: 'Advice', reason: 'Danger to life.', words: '' };
    const ground = emergencyGround(texts, NOW_MS);
    expect(ground).toMatchObject({
        by: 'emergency',
        recipients: ['psychiatrist', 'interpreter'],
        expiresMs: NOW_MS + 3_600_000,
        reason: 'Danger to life.',
    });
    expect(emergencyGround({ ...texts, words: ' on the ledge ' }, NOW_MS).reason).toBe(
        'Danger to life. on the ledge',
    );
    expect(emergencyGround({ ...texts, words: 'x'.repeat(600) }, NOW_MS).reason).toHaveLength(500);
});
