/**
 * What stands behind the `#` of the page's address. A server never sees it: so it carries the enrolment code, the
 * agency's root key, and which screen is shown.
 */

export interface Enrolment {
    readonly code: string;
    /** The agency's root public key: 64 hexadecimal digits. Empty: the person was told a code alone. */
    readonly root: string;
    /** For the device that is to hold the agency's authority key. */
    readonly authoritySeed: string;
    /** For a shared tablet, until its shift ends; 0: not for one. It takes a PIN. */
    readonly shiftUntilMs: number;
}

/** Why the agency's own sign-in came back without a ticket (spec 02, "The agency's own sign-in"). */
export type SignInFailure = 'refused' | 'unknown' | 'expired' | 'unavailable';
const FAILURES: ReadonlySet<string> = new Set<SignInFailure>([
    'refused',
    'unknown',
    'expired',
    'unavailable',
]);

/** What the agency's own sign-in brought back: a ticket that serves once, for a minute, or why there is none. */
export type SignIn =
    | { readonly kind: 'ticket'; readonly ticket: string }
    | { readonly kind: 'failed'; readonly why: SignInFailure };

export type Fragment =
    | { readonly kind: 'enrol'; readonly enrolment: Enrolment }
    | { readonly kind: 'sign_in'; readonly signIn: SignIn }
    /** `/channel/ID` as `['channel', 'ID']`. */
    | { readonly kind: 'route'; readonly path: readonly string[] };

const rootKey = /^[0-9a-f]{64}$/;

export function readFragment(hash: string): Fragment {
    const bare = hash.replace(/^#/, '');
    if (bare === '' || bare.startsWith('/')) {
        return { kind: 'route', path: bare.split('/').filter((part) => part !== '') };
    }
    const fields = new URLSearchParams(bare);
    const enrolment = enrolmentOf(fields);
    if (enrolment) return { kind: 'enrol', enrolment };
    const signIn = signInOf(fields);
    return signIn ? { kind: 'sign_in', signIn } : { kind: 'route', path: [] };
}

/** What a person pasted or typed: the whole link, its fragment, or the code alone. Null: none of them. */
export function readEnrolment(typed: string): Enrolment | null {
    const words = typed.trim();
    const at = words.indexOf('#');
    const fields = new URLSearchParams(at >= 0 ? words.slice(at + 1) : words);
    const found = enrolmentOf(fields);
    if (found) return found;
    const code = words.replace(/\s/g, '');
    return /^[\w-]{4,128}$/.test(code) ? { code, root: '', authoritySeed: '', shiftUntilMs: 0 } : null;
}

export function isRootKey(typed: string): boolean {
    return rootKey.test(tidyRootKey(typed));
}

export function tidyRootKey(typed: string): string {
    return typed.replace(/[\s-]/g, '').toLowerCase();
}

function signInOf(fields: URLSearchParams): SignIn | null {
    const ticket = fields.get('oidc');
    if (ticket) return { kind: 'ticket', ticket };
    const why = fields.get('oidc_error');
    if (why === null) return null;
    // A word of a newer server: all that is sure is that nobody was let in.
    return { kind: 'failed', why: FAILURES.has(why) ? (why as SignInFailure) : 'refused' };
}

function enrolmentOf(fields: URLSearchParams): Enrolment | null {
    const code = fields.get('enrol');
    if (!code) return null;
    const root = tidyRootKey(fields.get('root') ?? '');
    const shift = fields.get('shift') ?? '';
    return {
        code,
        root: rootKey.test(root) ? root : '',
        authoritySeed: fields.get('authority') ?? '',
        shiftUntilMs: /^\d{1,15}$/.test(shift) ? Number(shift) : 0,
    };
}
