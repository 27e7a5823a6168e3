/**
 * Errors of the wire: numbers, names, and whether trying again can help (spec 90).
 *
 *     Error
 *     └── ProtocolError      what breaks a rule of the protocol: code and safe detail
 *
 * `WireError` numbers say what a client does next: 1xx try the same again later; 2xx change something first and try
 * again; 3xx do not try again. `CloseCode` does the same for a socket: 40xx connect again with full jitter, 41xx sign
 * in first, 42xx stop and tell the person. A test compares both tables with `protocol/spec/90-errors.md`.
 */

export const WireError = {
    unavailable: 100,
    storage_full: 101,
    busy: 102,
    rate_limited: 103,
    stale: 200,
    conflict: 201,
    token_expired: 202,
    not_subscribed: 203,
    pending: 204,
    invalid: 300,
    not_found: 301,
    forbidden: 302,
    too_large: 303,
    unsupported: 304,
    unauthenticated: 305,
    expired: 306,
    sealing_refused: 307,
    revoked: 308,
    already_accepted: 309,
} as const;
export type WireLabel = keyof typeof WireError;
/** A number of the table above. On the wire any number from 100 to 399 may come. */
export type WireError = (typeof WireError)[WireLabel];

const LABELS = new Map<number, WireLabel>(
    Object.entries(WireError).map(([label, number]) => [number, label as WireLabel]),
);

/** The name of an error number, or of its hundred when the number is newer than this client: spec 90's first digit. */
export function wireLabel(number: number): WireLabel {
    const label = LABELS.get(number);
    if (label !== undefined) return label;
    return number < 200 ? 'unavailable' : number < 300 ? 'conflict' : 'invalid';
}

/** The error of a name, or undefined for a name that this client does not know. */
export function wireError(label: string): WireError | undefined {
    return Object.hasOwn(WireError, label) ? WireError[label as WireLabel] : undefined;
}

/** True when the very same request may succeed later without any change. */
export function mayRetry(number: number): boolean {
    return number < 200;
}

export const CloseCode = {
    restart: 4000,
    slow: 4001,
    internal: 4002,
    silent: 4003,
    crowded: 4004,
    token_expired: 4100,
    token_invalid: 4101,
    hello_timeout: 4102,
    revoked: 4200,
    protocol: 4201,
    unsupported: 4202,
    too_large: 4203,
    origin: 4204,
} as const;
export type CloseCode = (typeof CloseCode)[keyof typeof CloseCode];

/** What a client does after its socket was closed. */
export type Next = 'reconnect' | 'sign_in' | 'stop';

/** What to do when a socket closed with `code`; unknown and standard codes mean connect again (spec 90). */
export function afterClose(code: number): Next {
    if (code >= 4100 && code < 4200) return 'sign_in';
    if (code >= 4200 && code < 4300) return 'stop';
    return 'reconnect';
}

/** Bytes or a request that break a rule. `detail` is a sentence of our own: never input, never a decoder's text. */
export class ProtocolError extends Error {
    override readonly name = 'ProtocolError';
    readonly code: WireError;
    readonly detail: string;

    constructor(code: WireError, detail = '') {
        super(detail === '' ? wireLabel(code) : `${wireLabel(code)}: ${detail}`);
        this.code = code;
        this.detail = detail;
    }
}
