/**
 * Who this device is, and its keys, as the vault keeps them.
 *
 * Private keys go in extractable and come back as handles that nobody can read out (see `Vault`): so a device goes on with
 * what the vault gives, never with what it made. The agency's root is pinned here at enrolment, and never taken from
 * the server afterwards.
 *
 *     identity            agency, member, root; whether the device was approved; until when a shift lasts
 *     device/public       the identity's public half
 *     device/identity     its private half
 *     device/keys         the HPKE keys without their private halves, which stand at device/hpke/<kid>
 *     authority           the authority's private half, in an administrator's browser; authority/public
 *     session             the session's secrets
 *     me                  what the server said of this member last
 */
import { type Bytes, fromHex, toHex } from '~/protocol/bytes';
import type { AgencyId, DeviceId, MemberId } from '~/protocol/ids';
import type { KeptSession, SessionShelf } from '~/link/session';
import { DeviceKeys, type HeldKey } from '~/sealing/opening/keys';
import type { Hex } from '~/sealing/public/encoding';
import { decodeSigned, encodeSigned } from '~/sealing/public/signed';

import type { PersonBy } from '~/protocol/words';

import type { Role } from '../engine';
import { StoreFull, type Vault } from '../ports';
import { noteOf, readNote } from './notes';

export interface Identity {
    readonly agency: AgencyId;
    readonly member: MemberId;
    readonly device: DeviceId;
    readonly rootPublic: Bytes;
    readonly approved: boolean;
    /** A PIN opens the store. */
    readonly pin: boolean;
}

/** What the server said of this member last; shown while there is no link. */
export interface KnownMe {
    readonly agencyLabel: string;
    readonly roles: readonly Role[];
    readonly shiftUntilMs: number;
    /** What the agency asks for besides the device's key. */
    readonly personBy: PersonBy;
    /** Whether there are calls, and the telephone conference for when one cannot be had. */
    readonly video: boolean;
    readonly videoPhone: string;
}

const NOBODY: KnownMe = {
    agencyLabel: '',
    roles: [],
    shiftUntilMs: 0,
    personBy: 'device',
    video: false,
    videoPhone: '',
};

interface KeptHeld {
    readonly kid: string;
    readonly suite: number;
    readonly kseq: number;
    readonly notAfterMs: number;
    readonly signed: string | null;
    readonly replacedMs: number | null;
    readonly public: string;
}

const IDENTITY = 'identity';
const PUBLIC = 'device/public';
const PRIVATE = 'device/identity';
const KEYS = 'device/keys';
const HPKE = 'device/hpke/';
const SESSION = 'session';
const ME = 'me';

export async function loadIdentity(vault: Vault): Promise<Identity | null> {
    const kept = readNote(await vault.bytes(IDENTITY)) as
        (Omit<Identity, 'rootPublic'> & { root: string }) | null;
    if (kept === null) return null;
    const { root, ...identity } = kept;
    return { ...identity, rootPublic: fromHex(root) };
}

export async function keepIdentity(vault: Vault, identity: Identity): Promise<void> {
    const { rootPublic, ...rest } = identity;
    await vault.update(new Map([[IDENTITY, noteOf({ ...rest, root: toHex(rootPublic) })]]));
}

export async function loadMe(vault: Vault): Promise<KnownMe> {
    // What a version before wrote lacks what it did not know.
    return { ...NOBODY, ...(readNote(await vault.bytes(ME)) as Partial<KnownMe> | null) };
}

export async function keepMe(vault: Vault, me: KnownMe): Promise<void> {
    await vault.update(new Map([[ME, noteOf(me)]]));
}

/** Write the device's keys down: on disk when it resolves. From then on `keys` holds HPKE keys that nobody can read out. */
export async function keepKeys(vault: Vault, keys: DeviceKeys): Promise<void> {
    const record = keys.export();
    const held: KeptHeld[] = record.held.map((key) => ({
        kid: key.kid,
        suite: key.suite,
        kseq: key.kseq,
        notAfterMs: key.notAfterMs,
        signed: key.signed === null ? null : toHex(encodeSigned(key.signed)),
        replacedMs: key.replacedMs,
        public: toHex(key.pair.public),
    }));
    const changes = new Map<string, Bytes | CryptoKey | null>([
        [KEYS, noteOf({ version: record.version, kseq: record.kseq, held })],
    ]);
    if ((await vault.bytes(PUBLIC)) === null) {
        changes.set(PUBLIC, record.identity.public);
        changes.set(PRIVATE, record.identity.privateKey);
    }
    const standing = new Set(await vault.names(HPKE));
    const fresh = record.held.filter(({ kid }) => !standing.delete(HPKE + kid));
    for (const { kid, pair } of fresh) changes.set(HPKE + kid, pair.privateKey);
    for (const name of standing) changes.set(name, null);
    await vault.update(changes);
    for (const key of fresh) {
        const privateKey = await vault.key(HPKE + key.kid);
        if (privateKey !== null) keys.hold({ ...key, pair: { ...key.pair, privateKey } });
    }
}

export async function loadKeys(vault: Vault): Promise<DeviceKeys | null> {
    const kept = readNote(await vault.bytes(KEYS)) as {
        readonly version: number;
        readonly kseq: number;
        readonly held: readonly KeptHeld[];
    } | null;
    const publicBytes = await vault.bytes(PUBLIC);
    const privateKey = await vault.key(PRIVATE);
    if (kept === null || publicBytes === null || privateKey === null) return null;
    const held: HeldKey[] = [];
    for (const key of kept.held) {
        const hpke = await vault.key(HPKE + key.kid);
        if (hpke === null) continue;
        const raw = fromHex(key.public);
        const publicKey = await crypto.subtle.importKey('raw', raw, 'X25519', true, []);
        held.push({
            kid: key.kid as Hex,
            suite: key.suite,
            kseq: key.kseq,
            notAfterMs: key.notAfterMs,
            signed: key.signed === null ? null : decodeSigned(fromHex(key.signed)),
            replacedMs: key.replacedMs,
            pair: { privateKey: hpke, publicKey, public: raw },
        });
    }
    return await DeviceKeys.restore({
        version: kept.version,
        kseq: kept.kseq,
        identity: { privateKey, public: publicBytes },
        held,
    });
}

export function sessionShelf(vault: Vault): SessionShelf {
    return {
        load: async () => readNote(await vault.bytes(SESSION)) as KeptSession | null,
        keep: async (session) => {
            try {
                await vault.update(new Map([[SESSION, session === null ? null : noteOf(session)]]));
            } catch (error) {
                if (!(error instanceof StoreFull)) throw error;
                // The link must not end for that. The older one is spent: without any, the next start signs in anew.
                await vault.update(new Map([[SESSION, null]])).catch(unlessFull);
            }
        },
    };
}

function unlessFull(error: unknown): void {
    if (!(error instanceof StoreFull)) throw error;
}
