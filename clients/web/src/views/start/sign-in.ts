/** The agency's own sign-in, as sentences: where it leads, and why it came back without letting anybody in. */
import type { DeviceId } from '~/model/engine';
import type { SignInFailure } from '~/model/fragment';
import type { Handset } from '~/model/handset';
import { t } from '~/words/words.svelte';
import { failureCode, failureWords } from '../shared/failure';

/** Leave for it; why that cannot be, or nothing while the page is being left. */
export async function leave(handset: Handset, device: DeviceId | null): Promise<string> {
    const leaving = await handset.agencySignIn(device);
    if (leaving === 'leaves') return '';
    return t(leaving === 'missing' ? 'sign_in.missing' : 'failure.offline');
}

export function cameBackWords(why: SignInFailure): string {
    return t(`sign_in.${why}`);
}

/** A ticket that the server does not take: it was used, or its minute is over. */
export function ticketWords(error: unknown): string {
    return failureCode(error) === 'wrong_person' ? t('sign_in.over') : failureWords(error);
}
