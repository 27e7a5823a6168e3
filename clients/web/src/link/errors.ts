/**
 * What can go wrong between this client and its server.
 *
 *     Error
 *     ├── ApiError           a request over HTTP was refused, or could not be carried out
 *     │   └── Unreachable    no answer came
 *     ├── Offline            there is no live link, or it broke before an answer came
 *     └── Stopped            the server said not to come back: tell the person
 */

import { mayRetry, WireError, type WireLabel, wireLabel } from '~/protocol/errors';
import type { PersonBy } from '~/protocol/words';

export interface Refusal {
    /** A number of spec 90, perhaps newer than this client. */
    readonly number: number;
    /** A sentence for people, of the server's own. */
    readonly detail?: string;
    /** How long the server asks to wait. */
    readonly retryMs?: number;
    /** The broken sealing rule, for `sealing_refused`. */
    readonly sealingCode?: string;
    /** What shows the person, when the device's key is not enough (spec 02, "The person"). */
    readonly person?: PersonBy | null;
    /** The current head, for `conflict` and `stale`. */
    readonly head?: number;
    /**
     * False when no Leeside server said so: a proxy's own page was judged by its status. Nothing that cannot be undone
     * follows from that, for a proxy says 404 in the middle of a deployment.
     */
    readonly told?: boolean;
}

export class ApiError extends Error {
    override readonly name: string = 'ApiError';
    readonly number: number;
    /** The name of the number; of its hundred when the number is newer than this client. */
    readonly code: WireLabel;
    readonly detail: string;
    readonly retryMs: number;
    readonly sealingCode: string;
    readonly head: number;
    readonly person: PersonBy | null;
    readonly told: boolean;

    constructor(refusal: Refusal) {
        super(wireLabel(refusal.number));
        this.number = refusal.number;
        this.code = wireLabel(refusal.number);
        this.detail = refusal.detail ?? '';
        this.retryMs = refusal.retryMs ?? 0;
        this.sealingCode = refusal.sealingCode ?? '';
        this.head = refusal.head ?? 0;
        this.person = refusal.person ?? null;
        this.told = refusal.told ?? true;
    }

    /** True when the very same request may succeed later without any change. */
    get mayRetry(): boolean {
        return mayRetry(this.number);
    }
}

/** No answer came: whether the request was carried out is not known, unless `sent` is false. */
export class Unreachable extends ApiError {
    override readonly name = 'Unreachable';
    readonly sent: boolean;

    constructor(sent: boolean) {
        super({ number: WireError.unavailable, told: false });
        this.sent = sent;
    }
}

/** What was put into the outbox stays there. */
export class Offline extends Error {
    override readonly name = 'Offline';

    constructor() {
        super('there is no link to the server');
    }
}

/** The server closed the link with a code that says: do not connect again (spec 90). */
export class Stopped extends Error {
    override readonly name = 'Stopped';
    readonly code: number;

    constructor(code: number) {
        super(`the server ended this device's link (${code})`);
        this.code = code;
    }
}
