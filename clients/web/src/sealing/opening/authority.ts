/**
 * Signing an agency's directory: the root, its authorities, and the second signature. Spec 04, "Directory".
 *
 * These keys live with an admin's enrolled browser or in a file that the command line keeps; never on the server.
 */

import type { Directory } from '../public/directory';
import type { Hex } from '../public/encoding';
import {
    type Operation,
    type SignedEntry,
    agencyIdOf,
    authorityIdOf,
    cosigningInput,
    encodeEntry,
} from '../public/entries';
import type { SigningKey } from './signing-key';

/** A key that signs directory entries: an agency's root, or one of its authorities. */
export class AuthorityKey {
    private constructor(
        readonly key: SigningKey,
        readonly signerId: Hex,
    ) {}

    static async of(key: SigningKey): Promise<AuthorityKey> {
        return new AuthorityKey(key, await authorityIdOf(key.public));
    }

    static async root(key: SigningKey): Promise<AuthorityKey> {
        return new AuthorityKey(key, await agencyIdOf(key.public));
    }

    /**
     * The entry that follows the directory's head; its time is never before the head's.
     *
     * The caller applies it to a directory (which says whether this authority may) and posts it; where two must sign
     * (`dualControl`), another authority adds `cosign` first.
     */
    async signEntry(directory: Directory, operation: Operation, tsMs: number): Promise<SignedEntry> {
        const payload = encodeEntry({
            agencyId: directory.agencyId,
            seq: directory.seq + 1,
            prevHash: directory.head,
            tsMs: Math.max(tsMs, directory.tsMs),
            operation,
        });
        return { signed: await this.key.sign('dir', this.signerId, payload), cosigned: null };
    }

    /** The same entry with this authority's second signature. Read what it says first. */
    async cosign({ signed }: SignedEntry): Promise<SignedEntry> {
        const signature = await this.key.signRaw(cosigningInput(signed, this.signerId));
        return { signed, cosigned: { signer: this.signerId, signature } };
    }
}
