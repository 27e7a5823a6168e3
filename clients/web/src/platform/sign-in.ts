/** The way to the agency's own sign-in. Spec chapter 02, "The agency's own sign-in". */
import type { DeviceId } from '~/model/engine';
import type { Leaving } from '~/model/handset';

const START = '/v1/oidc/start';

/**
 * Leave for the sign-in, once it is known that there is one: whoever taps without a link, or on a server without it, keeps
 * the page and is told so, instead of the browser's own page of an error.
 */
export async function leaveToSignIn(device: DeviceId | null): Promise<Leaving> {
    const where = device === null ? START : `${START}?device=${device}`;
    try {
        // Not followed: that the server leads on is all that is asked, and no other origin hears of it.
        const answer = await fetch(where, { redirect: 'manual', cache: 'no-store', credentials: 'omit' });
        if (answer.type !== 'opaqueredirect') return answer.status < 500 ? 'missing' : 'offline';
    } catch {
        return 'offline';
    }
    location.assign(where);
    return 'leaves';
}
