import { describe, expect, it } from 'vitest';
import { codeOf } from '../conformance/vectors';
import { encode, utf8 } from './encoding';
import { enrolmentInput, shortCode, verifyEnrolment } from './enrolment';

describe('enrolment', () => {
    it('proves that the device holds its key, for this code alone', async () => {
        const keys = await crypto.subtle.generateKey('Ed25519', false, ['sign', 'verify']);
        const publicKey = new Uint8Array(await crypto.subtle.exportKey('raw', keys.publicKey));
        const input = enrolmentInput('123456', publicKey);
        const proof = new Uint8Array(await crypto.subtle.sign('Ed25519', keys.privateKey, input));
        await verifyEnrolment(publicKey, '123456', proof);
        expect(await codeOf(() => verifyEnrolment(publicKey, '123457', proof))).toBe('E_SIG');
    });

    // Made by `short_code` of `protocol/leeside_protocol/sealing/public/enrolment.py`.
    it('shows the same short code as every other client', async () => {
        const publicKey = new Uint8Array(32).fill(1);
        expect(await shortCode(publicKey, encode([1, utf8('key')]))).toBe('XJ61-26D7-TBDN');
        expect(await shortCode(publicKey, encode([1, utf8('kez')]))).not.toBe('XJ61-26D7-TBDN');
    });
});
