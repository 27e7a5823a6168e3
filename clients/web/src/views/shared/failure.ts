/** What went wrong, as a sentence. Codes only: an error's own text is never shown. */
import type { FailureCode } from '~/model/engine';
import { t } from '~/words/words.svelte';

const codes: ReadonlySet<string> = new Set<FailureCode>([
    'offline',
    'not_permitted',
    'blocked',
    'too_long',
    'too_large',
    'outbox_full',
    'store_full',
    'wrong_code',
    'code_expired',
    'wrong_pin',
    'wrong_person',
    'wrong_root',
    'conflict',
    'not_found',
    'unfit_browser',
    'failed',
]);

export function failureCode(error: unknown): FailureCode {
    if (error instanceof Error && error.name === 'EngineFailure' && codes.has(error.message)) {
        return error.message as FailureCode;
    }
    return 'failed';
}

export function failureWords(error: unknown): string {
    return t(`failure.${failureCode(error)}`);
}
