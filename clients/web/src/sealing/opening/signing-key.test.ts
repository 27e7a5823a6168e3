import { describe, expect, it } from 'vitest';
import { openingVectors } from '../conformance/opening-vectors';
import { VECTORS } from '../conformance/read-vectors';
import { un } from '../conformance/vectors';
import { decodeSigned, verifySigned } from '../public/signed';
import { SigningKey } from './signing-key';

describe('a signing key', () => {
    it('cannot be read out, and signs still after a structured clone', async () => {
        const key = await SigningKey.create();
        const record = structuredClone(key.export());
        expect(record.privateKey.extractable).toBe(false);
        await expect(crypto.subtle.exportKey('pkcs8', record.privateKey)).rejects.toThrow();
        const { signer, payload } = decodeSigned(un(anyDevice().device_key));
        await verifySigned(
            await SigningKey.restore(record).sign('grant', signer, payload),
            key.public,
            'grant',
        );
    });

    it('of a seed is the one that signed, and is not to be read out either', async () => {
        const device = anyDevice();
        const key = await SigningKey.fromSeed(un(device.identity_seed));
        const signed = decodeSigned(un(device.device_key));
        await verifySigned(signed, key.public, 'devkey');
        // Ed25519 gives one signature for one message (RFC 8032).
        expect(await key.sign('devkey', signed.signer, signed.payload)).toEqual(signed);
        expect(key.export().privateKey.extractable).toBe(false);
    });

    it('of another size is none', async () => {
        await expect(SigningKey.fromSeed(new Uint8Array(31))).rejects.toThrow(RangeError);
    });
});

function anyDevice() {
    const device = openingVectors(VECTORS).channel.devices.unit;
    if (device === undefined) throw new Error('no such device in the vectors');
    return device;
}
