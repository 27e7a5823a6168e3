/** What went wrong, as a sentence. Codes only: an error's own text is never shown. */
import type { FailureCode } from '~/model/engine';
import { t } from '~/words/words.svelte';

/** Each of them, or it does not compile: a code that is missing here would be shown as any failure. */
const codes: Readonly<Record<FailureCode, true>> = {
    offline: true,
    not_permitted: true,
    blocked: true,
    too_long: true,
    too_large: true,
    outbox_full: true,
    store_full: true,
    wrong_code: true,
    code_expired: true,
    wrong_pin: true,
    wrong_person: true,
    wrong_root: true,
    conflict: true,
    not_found: true,
    already_accepted: true,
    not_genuine: true,
    guest_over: true,
    unfit_browser: true,
    failed: true,
};

export function failureCode(error: unknown): FailureCode {
    if (error instanceof Error && error.name === 'EngineFailure' && Object.hasOwn(codes, error.message)) {
        return error.message as FailureCode;
    }
    return 'failed';
}

export function failureWords(error: unknown): string {
    return t(`failure.${failureCode(error)}`);
}
