/**
 * A guest's link: what ties the keys that come by it to whoever was given it (spec 08, "Guests").
 *
 * The server makes the link's code and the client a secret of its own, which stands behind the address's `#` and which the
 * server never sees. So a server that lets somebody else come by the link cannot make their `mac`.
 */
import { fromBase64Url, toBase64Url } from '~/protocol/bytes';
import type { AgencyId } from '~/protocol/ids';
import { MEDIA_MASK } from '../public/acceptance';
import type { RosterEntry } from '../public/commit';
import { type Bytes, PREFIX, pae, utf8 } from '../public/encoding';
import { deviceIdOf, kidOf } from '../public/entries';
import type { DeviceKeys } from './keys';

export const LINK_SECRET_BYTES = 32;
/** Where the page of guests stands. */
export const GUEST_PATH = '/guest';
const HMAC = { name: 'HMAC', hash: 'SHA-256' } as const;

/** What a link carries. */
export interface GuestSecret {
    readonly code: string;
    readonly secret: Bytes;
}

/** The public halves of a guest's keys. */
export interface GuestPublic {
    readonly publicKey: Bytes;
    readonly hpkePublic: Bytes;
}

/** The path of a link, with what no browser sends behind the `#`. */
export function guestPath({ code, secret }: GuestSecret): string {
    return `${GUEST_PATH}#${code}.${toBase64Url(secret)}`;
}

/** What stands behind the `#` of a link; null for one that is not whole. */
export function readGuestFragment(hash: string): GuestSecret | null {
    const [, code, written] = /^#?([\w-]{4,64})\.([\w-]{43})$/.exec(hash) ?? [];
    if (code === undefined || written === undefined) return null;
    return { code, secret: fromBase64Url(written) };
}

/** That whoever came by the link holds its secret: over their keys, so that nobody can put other keys in their place. */
export async function guestMac(secret: Bytes, keys: GuestPublic): Promise<Bytes> {
    const key = await crypto.subtle.importKey('raw', secret, HMAC, false, ['sign']);
    return new Uint8Array(await crypto.subtle.sign(HMAC, key, macInput(keys)));
}

/** Whether `guestMac` made this of these keys, compared in constant time. */
export async function isGuestMac(secret: Bytes, keys: GuestPublic, mac: Bytes): Promise<boolean> {
    const key = await crypto.subtle.importKey('raw', secret, HMAC, false, ['verify']);
    return await crypto.subtle.verify(HMAC, key, mac, macInput(keys));
}

/** What a guest presents at the server: the same bytes as often as it is asked for. `keys` are a guest's (`createGuest`). */
export async function guestPost(
    { code, secret }: GuestSecret,
    keys: DeviceKeys,
): Promise<GuestPublic & { readonly code: string; readonly proof: Bytes; readonly mac: Bytes }> {
    const { public: publicKey, hpkePublic } = keys.guestPublic();
    const proof = await keys.identity.signRaw(pae(utf8(`${PREFIX}guest`), utf8(code), hpkePublic));
    const mac = await guestMac(secret, { publicKey, hpkePublic });
    return { code, publicKey, hpkePublic, proof, mac };
}

/** The roster entry by which a member vouches for these keys: for calls alone. Ids are computed here, not taken from a server. */
export async function guestSeat(
    { publicKey, hpkePublic }: GuestPublic,
    agencyId: AgencyId,
    notAfterMs: number,
): Promise<RosterEntry> {
    return {
        deviceId: await deviceIdOf(publicKey),
        agencyId,
        kid: await kidOf(hpkePublic),
        classMask: MEDIA_MASK,
        guest: { public: publicKey, hpkePublic, notAfterMs },
    };
}

function macInput({ publicKey, hpkePublic }: GuestPublic): Bytes {
    return pae(utf8(`${PREFIX}guest keys`), publicKey, hpkePublic);
}
