/**
 * What can go wrong in the engine, drawn once.
 *
 *     Error
 *     ├── EngineFailure     what a command rejects with; the code is its `message`, so that it crosses to the screen
 *     ├── ChannelAlarmed    sending is stopped in this channel until a person looked at the alarm
 *     ├── NotPermitted      this device's certificate does not hold what this needs
 *     └── Refused           the server refused a request and repeating it cannot help; `code` is a number of spec 90
 *
 * Of the layers below: `ApiError` and `Offline` (link), `SealingError`, `StoreError` and `OutboxFull` (ports).
 */
import { ApiError, Offline } from '~/link/errors';
import { BodyError } from '~/protocol/bodies';
import { WireError } from '~/protocol/errors';
import { SealingError } from '~/sealing/errors';

import type { FailureCode } from '../engine';
import { OutboxFull, StoreFull, WrongPin } from '../ports';

export class EngineFailure extends Error {
    override readonly name = 'EngineFailure';

    constructor(readonly code: FailureCode) {
        super(code);
    }
}

export class ChannelAlarmed extends Error {
    override readonly name = 'ChannelAlarmed';

    constructor(readonly code: string) {
        super(`sending is stopped in this channel: ${code}`);
    }
}

export class NotPermitted extends Error {
    override readonly name = 'NotPermitted';

    constructor(readonly code: string) {
        super(`not permitted: ${code}`);
    }
}

export class Refused extends Error {
    override readonly name = 'Refused';

    constructor(
        readonly code: number,
        readonly sealingCode = '',
    ) {
        super(`refused: ${code}`);
    }
}

/** What this engine expects to go wrong outside it: tried again later, or told to the person who asked. */
export function isExpected(error: unknown): boolean {
    return (
        error instanceof ApiError ||
        error instanceof Offline ||
        error instanceof SealingError ||
        error instanceof ChannelAlarmed ||
        error instanceof NotPermitted ||
        error instanceof Refused ||
        error instanceof EngineFailure
    );
}

/** What a command says of an error to the screen. */
export function failureOf(error: unknown): EngineFailure {
    if (error instanceof EngineFailure) return error;
    return new EngineFailure(codeOf(error));
}

function codeOf(error: unknown): FailureCode {
    if (error instanceof ChannelAlarmed) return 'blocked';
    if (error instanceof NotPermitted) return 'not_permitted';
    if (error instanceof BodyError) return 'too_long';
    if (error instanceof OutboxFull) return 'outbox_full';
    if (error instanceof StoreFull) return 'store_full';
    if (error instanceof WrongPin) return 'wrong_pin';
    if (error instanceof Offline) return 'offline';
    if (error instanceof Refused) return codeOfWire(error.code);
    if (error instanceof ApiError) return codeOfWire(error.number);
    return 'failed';
}

function codeOfWire(code: number): FailureCode {
    switch (code) {
        case WireError.conflict:
        case WireError.stale:
            return 'conflict';
        case WireError.not_found:
            return 'not_found';
        case WireError.forbidden:
        case WireError.sealing_refused:
            return 'not_permitted';
        case WireError.already_accepted:
            return 'already_accepted';
        case WireError.too_large:
            return 'too_large';
        case WireError.expired:
            return 'code_expired';
        default:
            return code < 200 ? 'offline' : 'failed';
    }
}
