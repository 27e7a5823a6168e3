/** What became of one entry of a content log: opened, or why not. */
import { decodeBody, type Body } from '~/sealing/opening/body';
import { SealingError } from '~/sealing/errors';

import { BodyError, type Content, readContent, type Unsupported } from '~/protocol/bodies';
import { type LocalEntry, Verdict } from '../ports';

/** `content` and `body` are null unless it opened; `code` says why it did not. */
export interface Reading {
    readonly entry: LocalEntry;
    readonly body: Body | null;
    readonly content: Content | Unsupported | null;
    readonly code: string;
}

const TEXT = new TextDecoder();

/** An entry of the local copy, read again. */
export function readAgain(entry: LocalEntry): Reading {
    switch (entry.verdict) {
        case Verdict.opened:
            return entry.value.length === 0 ? unread(entry, '') : readOpened(entry);
        case Verdict.notGranted:
            return unread(entry, 'not_granted');
        case Verdict.unknownEpoch:
            return unread(entry, 'no_key');
        case Verdict.unreadable:
            return unread(entry, TEXT.decode(entry.value));
        case Verdict.pruned:
            return unread(entry, 'pruned');
    }
}

function readOpened(entry: LocalEntry): Reading {
    try {
        const body = decodeBody(entry.value);
        return { entry, body, content: readContent(body.type, body.data), code: '' };
    } catch (error) {
        if (error instanceof SealingError || error instanceof BodyError) return unread(entry, error.code);
        throw error;
    }
}

export function unread(entry: LocalEntry, code: string): Reading {
    return { entry, body: null, content: null, code };
}
