/**
 * What may go wrong in sealing, by code.
 *
 * Every check in this layer ends in one exception, `SealingError`, and the code says which rule failed. The codes are
 * part of the wire format: a test vector names the code that each mutation must bring (spec 04, "Codes").
 *
 * A failed check leaves the state it was asked about unchanged.
 */

export const SEALING_CODES = [
    // Shape
    'E_ENCODING',
    'E_FORMAT',
    // Signatures and chains
    'E_SIG',
    'E_CHAIN',
    'E_DUPLICATE',
    'E_FORK',
    'E_CLOCK',
    // Directory
    'E_AGENCY',
    'E_DIR',
    'E_DIR_CHAIN',
    'E_DIR_SIGNER',
    'E_DIR_BEHIND',
    'E_DIR_FORK',
    'E_HEAD_ROLLBACK',
    // Who may
    'E_AUTHZ',
    'E_COMPARTMENT',
    'E_REVOKED',
    'E_EXPIRED',
    'E_UNKNOWN_DEVICE',
    'E_DEVKEY',
    'E_RECORDS',
    'E_GUEST',
    'E_AUTH',
    // Keys and boxes
    'E_COMMITMENT',
    'E_BOX',
    'E_BOXLIST',
    'E_NO_KEY',
    'E_UNKNOWN_EPOCH',
    'E_GRANT',
    // Frames and what hangs on them
    'E_AEAD',
    'E_REPLAY',
    'E_STALE_POSITION',
    'E_LOG_FORK',
    'E_ATTACHMENT',
    // Local state
    'E_STATE',
] as const;

/** The rule that failed. Spec 04 says what each one means, and what follows. */
export type SealingCode = (typeof SEALING_CODES)[number];

/**
 * A sealing rule was broken; `code` says which.
 *
 * `detail` is a fixed phrase written here, never text taken from the input, so it may be logged. Callers decide on
 * `code` alone.
 */
export class SealingError extends Error {
    override readonly name = 'SealingError';

    constructor(
        readonly code: SealingCode,
        readonly detail: string,
    ) {
        super(`${code}: ${detail}`);
    }
}

/** Ends the check with this code. */
export function refuse(code: SealingCode, detail: string): never {
    throw new SealingError(code, detail);
}
