/** HPKE: RFC 9180's vectors, and another library, each opening what the other sealed. */

import { Aes256Gcm, CipherSuite as OtherSuite, DhkemX25519HkdfSha256, HkdfSha256 } from '@hpke/core';
import {
    AEAD_AES_128_GCM,
    AEAD_AES_256_GCM,
    CipherSuite,
    KDF_HKDF_SHA256,
    KEM_DHKEM_X25519_HKDF_SHA256,
} from 'hpke';
import { fromHex } from '~/protocol/bytes';
import { generateHpkeKeyPair, hpkeOpen, hpkeSeal, importHpkeKeyPair } from '~/sealing/opening/hpke';
import { concat, hex, sameBytes, utf8 } from '~/sealing/public/encoding';
import type { Rfc9180Vector } from './published';
import { type Checks, same } from './report';

const AEADS = new Map([
    [1, AEAD_AES_128_GCM],
    [2, AEAD_AES_256_GCM],
]);
const NOT_SPOKEN = new Map([
    [3, 'ChaCha20-Poly1305: sealing has none, and no browser of today knows it'],
    [0xffff, 'the export-only mode: sealing has none'],
]);

export async function checkHpke(checks: Checks, vectors: readonly Rfc9180Vector[] | null): Promise<void> {
    await checkRfc9180(checks, vectors);
    await checkAgainstOther(checks);
}

async function checkRfc9180(checks: Checks, vectors: readonly Rfc9180Vector[] | null): Promise<void> {
    const group = 'RFC 9180';
    if (vectors === null) {
        checks.skip(group, 'the file of vectors is not there');
        return;
    }
    for (const vector of vectors) {
        const aead = AEADS.get(vector.aead_id);
        if (aead === undefined) {
            checks.skip(group, NOT_SPOKEN.get(vector.aead_id) ?? 'an unknown cipher');
            continue;
        }
        await checks.check(group, `cipher ${vector.aead_id}`, async () => {
            const suite = new CipherSuite(KEM_DHKEM_X25519_HKDF_SHA256, KDF_HKDF_SHA256, aead);
            const pair = await importHpkeKeyPair(fromHex(vector.skRm));
            same(hex(pair.public), vector.pkRm);
            const info = fromHex(vector.info);
            const context = await suite.SetupRecipient(pair, fromHex(vector.enc), { info });
            for (const { aad, ct, pt } of vector.encryptions) {
                same(hex(await context.Open(fromHex(ct), fromHex(aad))), pt);
            }
        });
    }
}

async function checkAgainstOther(checks: Checks): Promise<void> {
    const group = 'HPKE against another library';
    const other = new OtherSuite({
        kem: new DhkemX25519HkdfSha256(),
        kdf: new HkdfSha256(),
        aead: new Aes256Gcm(),
    });
    for (const size of [0, 1, 33, 1000]) {
        const [plain, info] = [new Uint8Array(size).fill(7), utf8('info'.repeat(size % 7))];
        await checks.check(group, `it opens ${size} bytes of ours`, async () => {
            const recipient = await other.kem.generateKeyPair();
            const to = new Uint8Array(await other.kem.serializePublicKey(recipient.publicKey));
            const sealed = await hpkeSeal(1, to, info, plain);
            const enc = sealed.slice(0, 32);
            const opener = { recipientKey: recipient.privateKey, enc: enc.buffer, info };
            const opened = new Uint8Array(await other.open(opener, sealed.slice(32)));
            same(sameBytes(opened, plain), true);
        });
        await checks.check(group, `we open ${size} bytes of its own`, async () => {
            const pair = await generateHpkeKeyPair();
            const recipientPublicKey = await other.kem.deserializePublicKey(pair.public);
            const { enc, ct } = await other.seal({ recipientPublicKey, info }, plain);
            const sealed = concat([new Uint8Array(enc), new Uint8Array(ct)]);
            same(sameBytes(await hpkeOpen(1, pair, info, sealed), plain), true);
        });
    }
}
