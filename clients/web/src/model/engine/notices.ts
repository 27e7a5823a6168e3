/** Notices of a device's inbox that this client acts upon; each only says what to fetch (spec 03, "Inbox"; spec 08). */
import type { Bytes } from '~/protocol/bytes';
import { type AnyId, type ConsultId, ID_BYTES, idOf, type PageId } from '~/protocol/ids';
import { Misfit, unpack, type Value } from '~/protocol/pack';

export type Notice =
    /** A page to this member. */
    | { readonly kind: 'page'; readonly page: PageId; readonly consult: ConsultId }
    /** A consult changed, or its alarm is up. */
    | { readonly kind: 'consult'; readonly consult: ConsultId }
    /** Somebody came by a link of this device. */
    | { readonly kind: 'guest'; readonly consult: ConsultId }
    | { readonly kind: 'test'; readonly page: PageId }
    /** Who is on call has a gap ahead. */
    | { readonly kind: 'warning' }
    /** A list changed, or a newer kind: look at the lists. */
    | { readonly kind: 'lists' };

const PAGE = 7;
const CONSULT_CHANGED = 8;
const CONSULT_ALARM = 9;
const TEST_PAGE = 11;
const GUEST_WAITS = 10;
const ON_CALL_WARNING = 12;
const LISTS: Notice = { kind: 'lists' };

export function readNotice(payload: Bytes): Notice {
    const [kind, first, second] = elements(payload);
    switch (kind) {
        case PAGE: {
            const page = asId<PageId>(first);
            const consult = asId<ConsultId>(second);
            return page === null || consult === null ? LISTS : { kind: 'page', page, consult };
        }
        case CONSULT_CHANGED:
        case CONSULT_ALARM: {
            const consult = asId<ConsultId>(first);
            return consult === null ? LISTS : { kind: 'consult', consult };
        }
        case GUEST_WAITS: {
            const consult = asId<ConsultId>(second);
            return consult === null ? LISTS : { kind: 'guest', consult };
        }
        case TEST_PAGE: {
            const page = asId<PageId>(first);
            return page === null ? LISTS : { kind: 'test', page };
        }
        case ON_CALL_WARNING:
            return { kind: 'warning' };
        default:
            return LISTS;
    }
}

function elements(payload: Bytes): readonly Value[] {
    try {
        const value = unpack(payload);
        return Array.isArray(value) ? (value as readonly Value[]) : [];
    } catch (error) {
        if (error instanceof Misfit) return [];
        throw error;
    }
}

// eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters -- the caller says whose id it is
function asId<T extends AnyId>(value: Value | undefined): T | null {
    return value instanceof Uint8Array && value.length === ID_BYTES ? idOf<T>(value) : null;
}
