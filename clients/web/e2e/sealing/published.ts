/** Wycheproof's vectors, held against the functions by which the client verifies, derives, agrees and opens. */

import { type Bytes, fromHex } from '~/protocol/bytes';
import { codeOf } from '~/sealing/conformance/vectors';
import { aesKey, aesOpen } from '~/sealing/opening/aes';
import { hpkeSeal } from '~/sealing/opening/hpke';
import { importPrivateKey } from '~/sealing/opening/private-key';
import { lowOrder, withoutTopBit } from '~/sealing/public/curve';
import { hex } from '~/sealing/public/encoding';
import { verifyRaw } from '~/sealing/public/signed';
import { type Checks, same } from './report';

interface File<Group, Test> {
    readonly testGroups: readonly (Group & { readonly tests: readonly (Test & Outcome)[] })[];
}
interface Outcome {
    readonly tcId: number;
    readonly result: 'valid' | 'invalid' | 'acceptable';
}
type Texts<Name extends string> = Readonly<Record<Name, string>>;

export interface Wycheproof {
    readonly wycheproof_ed25519: File<{ readonly publicKey: Texts<'pk'> }, Texts<'sig' | 'msg'>> | null;
    readonly wycheproof_x25519: File<object, Texts<'public' | 'private' | 'shared'>> | null;
    readonly wycheproof_aes_gcm: File<AesGroup, Texts<'key' | 'iv' | 'aad' | 'msg' | 'ct' | 'tag'>> | null;
    readonly wycheproof_hkdf_sha256: File<
        object,
        Texts<'ikm' | 'salt' | 'info' | 'okm'> & { size: number }
    > | null;
}
interface AesGroup {
    readonly ivSize: number;
    readonly keySize: number;
    readonly tagSize: number;
}

export interface Rfc9180Vector {
    readonly aead_id: number;
    readonly info: string;
    readonly skRm: string;
    readonly pkRm: string;
    readonly enc: string;
    readonly encryptions: readonly Texts<'aad' | 'ct' | 'pt'>[];
}

const MISSING = 'the file of vectors is not there';

export async function checkPublished(checks: Checks, files: Wycheproof): Promise<void> {
    await checkEd25519(checks, files.wycheproof_ed25519);
    await checkX25519(checks, files.wycheproof_x25519);
    await checkAesGcm(checks, files.wycheproof_aes_gcm);
    await checkHkdf(checks, files.wycheproof_hkdf_sha256);
}

async function checkEd25519(checks: Checks, file: Wycheproof['wycheproof_ed25519']): Promise<void> {
    const name = 'wycheproof: Ed25519';
    if (file === null) {
        checks.skip(name, MISSING);
        return;
    }
    for (const group of file.testGroups) {
        for (const test of group.tests) {
            await checks.check(name, `test ${test.tcId}`, async () => {
                const [key, signature, message] = [group.publicKey.pk, test.sig, test.msg].map(fromHex);
                if (key === undefined || signature === undefined || message === undefined)
                    throw new Error('cut');
                const code = await codeOf(() => verifyRaw(key, signature, message));
                same(code, test.result === 'valid' ? null : 'E_SIG');
            });
        }
    }
}

async function checkX25519(checks: Checks, file: Wycheproof['wycheproof_x25519']): Promise<void> {
    const name = 'wycheproof: X25519';
    if (file === null) {
        checks.skip(name, MISSING);
        return;
    }
    for (const test of file.testGroups.flatMap((group) => group.tests)) {
        await checks.check(name, `test ${test.tcId}`, async () => {
            const zero = test.shared === '0'.repeat(64);
            same(lowOrder(fromHex(test.public)), zero);
            same(await sealsTo(fromHex(test.public)), !zero);
            const shared = await agree(fromHex(test.private), fromHex(test.public));
            // A secret that is no secret is refused (RFC 7748 section 6.1): by Chromium when it is asked for, by Firefox
            // when the key comes in.
            same(shared, zero ? null : test.shared);
        });
    }
}

/** Whether this browser seals to a key, as it must to every key that the rules admit. */
async function sealsTo(publicBytes: Bytes): Promise<boolean> {
    return (await codeOf(() => hpkeSeal(1, publicBytes, new Uint8Array(0), new Uint8Array(1)))) === null;
}

/** The shared secret in hexadecimal; null where the browser refuses. */
async function agree(privateBytes: Bytes, publicBytes: Bytes): Promise<string | null> {
    const { privateKey } = await importPrivateKey('X25519', privateBytes);
    try {
        const canonical = withoutTopBit(publicBytes);
        const publicKey = await crypto.subtle.importKey('raw', canonical, 'X25519', false, []);
        const bits = await crypto.subtle.deriveBits({ name: 'X25519', public: publicKey }, privateKey, 256);
        return hex(new Uint8Array(bits));
    } catch {
        return null;
    }
}

async function checkAesGcm(checks: Checks, file: Wycheproof['wycheproof_aes_gcm']): Promise<void> {
    const name = 'wycheproof: AES-GCM';
    if (file === null) {
        checks.skip(name, MISSING);
        return;
    }
    for (const { ivSize, keySize, tagSize, tests } of file.testGroups) {
        for (const test of tests) {
            if (keySize === 192) {
                checks.skip(name, 'keys of 192 bits: sealing has none, and Chromium refuses them');
                continue;
            }
            if (ivSize !== 96 || tagSize !== 128) {
                checks.skip(name, 'nonces other than 96 bits, or tags other than 128: sealing has none');
                continue;
            }
            await checks.check(name, `test ${test.tcId}`, async () => {
                const key = await aesKey(fromHex(test.key));
                const sealed = fromHex(test.ct + test.tag);
                const plain = await aesOpen(key, fromHex(test.iv), sealed, fromHex(test.aad));
                same(plain && hex(plain), test.result === 'valid' ? test.msg : null);
            });
        }
    }
}

async function checkHkdf(checks: Checks, file: Wycheproof['wycheproof_hkdf_sha256']): Promise<void> {
    const name = 'wycheproof: HKDF-SHA-256';
    if (file === null) {
        checks.skip(name, MISSING);
        return;
    }
    for (const test of file.testGroups.flatMap((group) => group.tests)) {
        await checks.check(name, `test ${test.tcId}`, async () => {
            const key = await crypto.subtle.importKey('raw', fromHex(test.ikm), 'HKDF', false, [
                'deriveBits',
            ]);
            const inputs = { salt: fromHex(test.salt), info: fromHex(test.info) };
            const parameters = { name: 'HKDF', hash: 'SHA-256', ...inputs };
            const derived = await crypto.subtle.deriveBits(parameters, key, test.size * 8).then(
                (bits) => hex(new Uint8Array(bits)),
                () => null,
            );
            same(derived, test.result === 'valid' ? test.okm : null);
        });
    }
}
