/** The agency's own sign-in, as sentences: where it leads, and why it came back without letting anybody in. */
import type { DeviceId, Engine } from '~/model/engine';
import type { SignInFailure } from '~/model/fragment';
import type { Handset } from '~/model/handset';
import { t } from '~/words/words.svelte';
import { failureCode, failureWords } from '../shared/failure';

/**
 * Leave for it; why that cannot be, or nothing while the page is being left. The server is asked first: whoever taps without
 * a link keeps the page and is told so, instead of the browser's own page of an error.
 */
export async function leave(engine: Engine, handset: Handset, device: DeviceId | null): Promise<string> {
    try {
        if (!(await engine.hasAgencySignIn())) return t('sign_in.missing');
    } catch (error) {
        return failureWords(error);
    }
    handset.agencySignIn(device);
    return '';
}

export function cameBackWords(why: SignInFailure): string {
    return t(`sign_in.${why}`);
}

/** A ticket that the server does not take: it was used, or its minute is over. */
export function ticketWords(error: unknown): string {
    return failureCode(error) === 'wrong_person' ? t('sign_in.over') : failureWords(error);
}
