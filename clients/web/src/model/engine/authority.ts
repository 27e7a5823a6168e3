/**
 * The agency's authority key, where an administrator took it into this browser: it certifies and revokes devices.
 *
 * Its seed is read once; what stays is a handle of the vault's that nobody can read out.
 */
import { fromHex } from '~/protocol/bytes';
import { AuthorityKey } from '~/sealing/opening/authority';
import { SigningKey } from '~/sealing/opening/signing-key';
import { authorityIdOf } from '~/sealing/public/entries';

import type { Vault } from '../ports';
import type { Directories } from './directories';
import { EngineFailure } from './errors';

export const AUTHORITY = 'authority';
const AUTHORITY_PUBLIC = 'authority/public';

/** Keep the key of a seed (64 hexadecimal digits). Fails with `wrong_code` for what is no authority of the agency. */
export async function takeAuthority(vault: Vault, directories: Directories, seed: string): Promise<void> {
    if (!/^[0-9a-f]{64}$/.test(seed)) throw new EngineFailure('wrong_code');
    // Extractable for the moment in which the vault takes it: a handle would open without the PIN.
    const key = await SigningKey.fromSeed(fromHex(seed), true);
    const authority = directories.own.authority(await authorityIdOf(key.public));
    if (authority === null || authority.revokedSeq !== null) throw new EngineFailure('wrong_code');
    const { privateKey, public: publicBytes } = key.export();
    await vault.update(
        new Map<string, CryptoKey | typeof publicBytes>([
            [AUTHORITY, privateKey],
            [AUTHORITY_PUBLIC, publicBytes],
        ]),
    );
}

/** The key that stands here. Fails with `not_permitted` where there is none. */
export async function loadAuthority(vault: Vault): Promise<AuthorityKey> {
    const privateKey = await vault.key(AUTHORITY);
    const publicBytes = await vault.bytes(AUTHORITY_PUBLIC);
    if (privateKey === null || publicBytes === null) throw new EngineFailure('not_permitted');
    return await AuthorityKey.of(SigningKey.restore({ privateKey, public: publicBytes }));
}
