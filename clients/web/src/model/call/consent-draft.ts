/**
 * What is recorded about consent before anybody is seen or heard (spec 09, "Bodies"). Pure. What a tired person need not
 * choose stands already: the usual recipients, and the length of a night's work rather than for ever.
 */
import type { CallPart, ConsentBy, ConsentDraft, ConsentMethod } from './call';

const HOUR_MS = 3_600_000;
export const CONSENT_HOURS = [1, 4, 12] as const;
export type ConsentHours = (typeof CONSENT_HOURS)[number];
/** An emergency lasts as long as it must, and is looked at again after an hour. */
export const EMERGENCY_HOURS = 1;
/** Of each of its texts. */
export const CONSENT_CHARS = 500;

/** Why nobody could be asked, in the words of the law that allows it (45 CFR 164.512(j), 42 CFR 2.51); `other` needs words. */
export const EMERGENCY_REASONS = ['danger_to_life', 'danger_to_others', 'cannot_answer', 'other'] as const;
export type EmergencyReason = (typeof EMERGENCY_REASONS)[number];

/** Besides the team, which is there anyhow. */
export const RECIPIENTS: readonly CallPart[] = [
    'psychiatrist',
    'interpreter',
    'supervisor',
    'receiving_facility',
];

export interface Asked {
    readonly by: Exclude<ConsentBy, 'emergency'>;
    readonly scope: string;
    readonly purpose: string;
    readonly recipients: readonly CallPart[];
    readonly hours: ConsentHours;
    readonly method: ConsentMethod;
    readonly capacity: string;
    readonly interpreter: boolean;
}

export function givenConsent(asked: Asked, nowMs: number): ConsentDraft {
    const { hours, ...rest } = asked;
    return {
        ...rest,
        // A screen's own list cannot be handed to the engine's worker; a plain one can.
        recipients: [...asked.recipients],
        scope: asked.scope.trim(),
        purpose: asked.purpose.trim(),
        capacity: asked.capacity.trim(),
        expiresMs: nowMs + hours * HOUR_MS,
        reason: '',
    };
}

/** What keeps it from being recorded; empty: nothing. */
export function missingOf(asked: Asked): readonly ('scope' | 'purpose' | 'recipients')[] {
    const missing: ('scope' | 'purpose' | 'recipients')[] = [];
    if (asked.scope.trim() === '') missing.push('scope');
    if (asked.purpose.trim() === '') missing.push('purpose');
    if (asked.recipients.length === 0) missing.push('recipients');
    return missing;
}

/**
 * Without consent. `reason`: the chosen one in the recorder's language, `words` what they added. Only who treats and who
 * interprets, and for an hour.
 */
export function emergencyGround(
    texts: {
        readonly scope: string;
        readonly purpose: string;
        readonly reason: string;
        readonly words: string;
    },
    nowMs: number,
): ConsentDraft {
    const words = texts.words.trim();
    return {
        by: 'emergency',
        scope: texts.scope,
        purpose: texts.purpose,
        recipients: ['psychiatrist', 'interpreter'],
        expiresMs: nowMs + EMERGENCY_HOURS * HOUR_MS,
        method: 'spoken',
        capacity: '',
        interpreter: false,
        reason: (words === '' ? texts.reason : `${texts.reason} ${words}`).slice(0, CONSENT_CHARS),
    };
}
