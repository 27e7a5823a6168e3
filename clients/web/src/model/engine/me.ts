/** Who this device's person is, as screens show it: the certificate's word where there is one, else the server's. */
import { CLINICAL } from '~/sealing/public/entries';

import type { Me } from '../engine';
import type { Vault } from '../ports';
import { AUTHORITY } from './authority';
import type { Home } from './home';
import type { Identity, KnownMe } from './identity';

export async function meOf(identity: Identity, known: KnownMe, home: Home, vault: Vault): Promise<Me> {
    const { directories } = home;
    const certificate = directories.certificate(identity.device);
    const authorities = directories.own
        .authorities()
        .filter((one) => one.revokedSeq === null && one.limits === null && one.notAfterMs > home.nowMs());
    return {
        agency: identity.agency,
        agencyLabel: known.agencyLabel,
        member: identity.member,
        device: identity.device,
        roles: known.roles,
        clinical: certificate !== null && ((certificate.compartments >> CLINICAL) & 1) === 1,
        authority: (await vault.key(AUTHORITY)) !== null,
        oneAuthority: authorities.length === 1,
        shiftUntilMs: known.shiftUntilMs,
        screenLock: identity.pin ? 'pin' : known.personBy === 'passkey' ? 'passkey' : 'none',
        video: known.video,
        videoPhone: known.videoPhone,
    };
}
