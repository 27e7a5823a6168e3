/**
 * Identifiers: 16 bytes each, random or derived from a public key, never meaningful (spec 01, "Identifiers").
 *
 * Everywhere in this client an id is its 32 lowercase hexadecimal digits, as HTTP writes it: so it compares with `===`,
 * is a key of a `Map` and of IndexedDB, and crosses to a worker. The codec turns the socket's `bin` into it and
 * back. A log is named by a *channel address*: one kind byte, then the id that it belongs to, 34 digits.
 */

import { type Bytes, fromHex, type Hex, toHex } from '~/protocol/bytes';
import { ProtocolError, WireError } from '~/protocol/errors';

declare const brand: unique symbol;
/** 32 lowercase hexadecimal digits that name one kind of thing. */
export type Id<Name extends string> = Hex & { readonly [brand]: Name };
export type AgencyId = Id<'agency'>;
export type MemberId = Id<'member'>;
export type DeviceId = Id<'device'>;
export type UnitId = Id<'unit'>;
export type IncidentId = Id<'incident'>;
export type ChannelId = Id<'channel'>;
export type ConsultId = Id<'consult'>;
export type RotaId = Id<'rota'>;
export type LadderId = Id<'ladder'>;
export type PageId = Id<'page'>;
export type PasskeyId = Id<'passkey'>;
export type MessageId = Id<'message'>;
export type BlobId = Id<'blob'>;
export type AnyId =
    | AgencyId
    | MemberId
    | DeviceId
    | UnitId
    | IncidentId
    | ChannelId
    | MessageId
    | BlobId
    | ConsultId
    | RotaId
    | LadderId
    | PageId
    | PasskeyId;

/** 34 digits: a kind byte (`ChannelKind`) and the id of the channel, agency or device that the log belongs to. */
export type ChannelAddress = Id<'address'>;
/** 34 digits: a kind byte (`StateKind`) and an id; empty in the `log` lane. */
export type StateKey = Id<'key'>;

export const ID_BYTES = 16;
export const ADDRESS_BYTES = 17;
export const NO_KEY = '' as StateKey;
/** The sender of what the server itself wrote. */
export const SERVER_DEVICE = '0'.repeat(32) as DeviceId;

/** What a log holds; the value is the first byte of its address in hexadecimal (spec 01, "Addresses"). */
export const ChannelKind = {
    content: '63',
    epochs: '65',
    grants: '67',
    directory: '64',
    access: '61',
    inbox: '69',
} as const;
export type ChannelKind = keyof typeof ChannelKind;

/** What a key of the `state` and `stream` lanes names; the value is its first byte (spec 01, "Keys"). */
export const StateKind = {
    status: '73',
    incident: '69',
    name: '6e',
    position: '70',
    receipt: '72',
    typing: '74',
} as const;
export type StateKind = keyof typeof StateKind;

const ID = /^[0-9a-f]{32}$/;
const STATE_KINDS = new Map(
    Object.entries(StateKind).map(([kind, byte]) => [byte as string, kind as StateKind]),
);

/** Take a text as the id of one kind of thing; anything but 32 lowercase hexadecimal digits is `invalid`. */
// eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters -- the caller says whose id it is
export function asId<T extends AnyId>(text: string): T {
    if (!ID.test(text))
        throw new ProtocolError(WireError.invalid, 'an id is 32 lowercase hexadecimal digits');
    return text as T;
}

/** The id of 16 bytes. */
// eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters -- the caller says whose id it is
export function idOf<T extends AnyId>(bytes: Uint8Array): T {
    if (bytes.length !== ID_BYTES) throw new ProtocolError(WireError.invalid, 'an id has 16 bytes');
    return toHex(bytes) as T;
}

/** The bytes of an id, an address or a key, as they stand on the socket and under signatures. */
export function idBytes(id: AnyId | ChannelAddress | StateKey): Bytes {
    return fromHex(id);
}

/** Name a log. `owner` is a channel, agency or device, as the kind demands. */
export function address(kind: ChannelKind, owner: AnyId): ChannelAddress {
    return (ChannelKind[kind] + asId(owner)) as ChannelAddress;
}

/** Name one value of the `state` or `stream` lane. */
export function stateKey(kind: StateKind, owner: AnyId): StateKey {
    return (StateKind[kind] + asId(owner)) as StateKey;
}

/** Take a key apart; null for one of a kind that this client does not know. */
export function splitKey(value: StateKey): { kind: StateKind; owner: AnyId } | null {
    const kind = STATE_KINDS.get(value.slice(0, 2));
    const owner = value.slice(2);
    return kind !== undefined && ID.test(owner) ? { kind, owner: owner as AnyId } : null;
}
