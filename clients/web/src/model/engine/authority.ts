/**
 * The agency's authority key, where an administrator took it into this browser: it certifies and revokes devices.
 *
 * Its seed is read once; what stays is a handle of the vault's that nobody can read out.
 */
import { type Bytes, fromHex } from '~/protocol/bytes';
import { AuthorityKey } from '~/sealing/opening/authority';
import { SigningKey } from '~/sealing/opening/signing-key';
import { authorityIdOf } from '~/sealing/public/entries';

import type { Vault } from '../ports';
import type { Directories } from './directories';
import { EngineFailure } from './errors';

export const AUTHORITY = 'authority';
const AUTHORITY_PUBLIC = `${AUTHORITY}/public`;
const OFFERED = 'authority/offered';

/** Keep the key of a seed (64 hexadecimal digits). Fails with `wrong_code` for what is no authority of the agency. */
export async function takeAuthority(vault: Vault, directories: Directories, seed: string): Promise<void> {
    const key = await authorityKeyOf(seed);
    if (!(await holds(directories, key.public))) throw new EngineFailure('wrong_code');
    await vault.update(entries(AUTHORITY, key));
}

/** Keep the key that came with an enrolment link. Whether it is the agency's, the directory says after the approval. */
export async function offerAuthority(vault: Vault, key: SigningKey): Promise<void> {
    await vault.update(entries(OFFERED, key));
}

/** Take the key that was offered, once the directory names it; until then it waits, and signs nothing. */
export async function acceptOffered(vault: Vault, directories: Directories): Promise<void> {
    const privateKey = await vault.key(OFFERED);
    const publicBytes = await vault.bytes(`${OFFERED}/public`);
    if (privateKey === null || publicBytes === null || !(await holds(directories, publicBytes))) return;
    await vault.update(
        new Map([
            ...entries(AUTHORITY, SigningKey.restore({ privateKey, public: publicBytes })),
            [OFFERED, null],
            [`${OFFERED}/public`, null],
        ]),
    );
}

/** The key of a seed (64 hexadecimal digits), for the vault. Fails with `wrong_code`. */
export async function authorityKeyOf(seed: string): Promise<SigningKey> {
    if (!/^[0-9a-f]{64}$/.test(seed)) throw new EngineFailure('wrong_code');
    // Extractable for the moment in which the vault takes it: a handle would open without the PIN.
    return await SigningKey.fromSeed(fromHex(seed), true);
}

async function holds(directories: Directories, publicBytes: Bytes): Promise<boolean> {
    const authority = directories.own.authority(await authorityIdOf(publicBytes));
    return authority !== null && authority.revokedSeq === null;
}

function entries(name: string, key: SigningKey): Map<string, CryptoKey | Bytes | null> {
    const { privateKey, public: publicBytes } = key.export();
    return new Map<string, CryptoKey | Bytes | null>([
        [name, privateKey],
        [`${name}/public`, publicBytes],
    ]);
}

/** The key that stands here. Fails with `not_permitted` where there is none. */
export async function loadAuthority(vault: Vault): Promise<AuthorityKey> {
    const privateKey = await vault.key(AUTHORITY);
    const publicBytes = await vault.bytes(AUTHORITY_PUBLIC);
    if (privateKey === null || publicBytes === null) throw new EngineFailure('not_permitted');
    return await AuthorityKey.of(SigningKey.restore({ privateKey, public: publicBytes }));
}
