import { beforeAll, describe, expect, it } from 'vitest';
import { type Bytes, fromHex } from '~/protocol/bytes';
import { codeOf } from '../conformance/vectors';
import { concat, encode, hex } from './encoding';
import {
    type Signed,
    decodeSigned,
    encodeSigned,
    hashOfSigned,
    signingInput,
    verifyRaw,
    verifySigned,
} from './signed';

const SIGNER = hex(new Uint8Array(16).fill(3));
const PAYLOAD = encode([1, 'hello']);
let keys: CryptoKeyPair;
let publicKey: Bytes;
let signed: Signed;

async function sign(message: Bytes): Promise<Bytes> {
    return new Uint8Array(await crypto.subtle.sign('Ed25519', keys.privateKey, message));
}

beforeAll(async () => {
    keys = await crypto.subtle.generateKey('Ed25519', false, ['sign', 'verify']);
    publicKey = new Uint8Array(await crypto.subtle.exportKey('raw', keys.publicKey));
    signed = {
        payload: PAYLOAD,
        signer: SIGNER,
        signature: await sign(signingInput('grant', SIGNER, PAYLOAD)),
    };
});

describe('a signed object', () => {
    it('holds as what it was signed', async () => {
        await verifySigned(signed, publicKey, 'grant');
        await verifySigned(decodeSigned(encodeSigned(signed)), publicKey, 'grant');
    });

    it('never passes for another type, signer, payload or key', async () => {
        const other = hex(new Uint8Array(16).fill(4));
        const otherKey = new Uint8Array(32).fill(9);
        const attempts: [Signed, Bytes, 'grant' | 'commit'][] = [
            [signed, publicKey, 'commit'],
            [{ ...signed, signer: other }, publicKey, 'grant'],
            [{ ...signed, payload: encode([1, 'hellp']) }, publicKey, 'grant'],
            [{ ...signed, signature: new Uint8Array(64) }, publicKey, 'grant'],
            [{ ...signed, signature: signed.signature.slice(0, 63) }, publicKey, 'grant'],
            [signed, otherKey, 'grant'],
            [signed, publicKey.slice(1), 'grant'],
        ];
        for (const [object, key, kind] of attempts) {
            expect(await codeOf(() => verifySigned(object, key, kind))).toBe('E_SIG');
        }
    });

    it('is refused in any other shape', async () => {
        const { payload, signature } = signed;
        const id = new Uint8Array(16);
        const shapes = [
            encode([payload, id]),
            encode([payload, id, signature, null]),
            encode([payload, new Uint8Array(15), signature]),
            encode([payload, id, new Uint8Array(65)]),
            encode(['payload', id, signature]),
            concat([encodeSigned(signed), new Uint8Array(1)]),
        ];
        for (const data of shapes) {
            expect(await codeOf(() => Promise.resolve().then(() => decodeSigned(data)))).toBe('E_ENCODING');
        }
    });

    it('has another name with another signature', async () => {
        const name = await hashOfSigned('grant', signed);
        expect(name).toMatch(/^[0-9a-f]{64}$/);
        expect(await hashOfSigned('grant', { ...signed, signature: new Uint8Array(64) })).not.toBe(name);
    });
});

describe('Ed25519', () => {
    // RFC 8032, section 7.1, TEST 2.
    const rfc = {
        publicKey: fromHex('3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c'),
        message: fromHex('72'),
        signature: fromHex(
            '92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da' +
                '085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00',
        ),
    };

    it('is that of the RFC', async () => {
        await verifyRaw(rfc.publicKey, rfc.signature, rfc.message);
    });

    it('has no second signature for one message: S is below the order', async () => {
        // S + L, L being the order of the group, would hold too if it were not held against it.
        const order = BigInt('0x1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3ed');
        const s = BigInt(`0x${hex(rfc.signature.slice(32).reverse())}`) + order;
        const high = fromHex(s.toString(16).padStart(64, '0')).reverse();
        const signature = concat([rfc.signature.slice(0, 32), high]);
        expect(await codeOf(() => verifyRaw(rfc.publicKey, signature, rfc.message))).toBe('E_SIG');
    });
});
