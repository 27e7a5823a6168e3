import { Aes256Gcm, CipherSuite, DhkemX25519HkdfSha256, HkdfSha256 } from '@hpke/core';
import { describe, expect, it } from 'vitest';
import { openingVectors } from '../conformance/opening-vectors';
import { VECTORS } from '../conformance/read-vectors';
import { codeOf, un } from '../conformance/vectors';
import { type Bytes, concat, hex, utf8 } from '../public/encoding';
import { SUITE_X25519, recordsIdOf } from '../public/entries';
import { generateHpkeKeyPair, hpkeOpen, hpkeSeal, importHpkeKeyPair } from './hpke';

const INFO = utf8('info');
const PLAIN = utf8('a secret');

describe('HPKE', () => {
    it('opens what was sealed, with a private key that cannot be read out', async () => {
        const pair = structuredClone(await generateHpkeKeyPair());
        expect(pair.privateKey.extractable).toBe(false);
        const sealed = await hpkeSeal(SUITE_X25519, pair.public, INFO, PLAIN);
        expect(sealed.length).toBe(32 + PLAIN.length + 16);
        expect(await hpkeOpen(SUITE_X25519, pair, INFO, sealed)).toEqual(PLAIN);
    });

    it('takes a custodian whose key came as bytes, and does not let it out again', async () => {
        const { records } = openingVectors(VECTORS).channel;
        const pair = await importHpkeKeyPair(un(records.private));
        expect(await recordsIdOf(pair.public)).toBe(records.id);
        expect(pair.privateKey.extractable).toBe(false);
        const sealed = await hpkeSeal(SUITE_X25519, pair.public, INFO, PLAIN);
        expect(await hpkeOpen(SUITE_X25519, pair, INFO, sealed)).toEqual(PLAIN);
    });

    it('refuses what was altered, cut short, or sealed for something else', async () => {
        const [pair, other] = [await generateHpkeKeyPair(), await generateHpkeKeyPair()];
        const sealed = await hpkeSeal(SUITE_X25519, pair.public, INFO, PLAIN);
        const flipped = sealed.slice();
        flipped[40] = (flipped[40] ?? 0) ^ 1;
        const open = (keys: typeof pair, info: Bytes, box: Bytes): Promise<string | null> =>
            codeOf(() => hpkeOpen(SUITE_X25519, keys, info, box));
        expect(await open(pair, INFO, flipped)).toBe('E_BOX');
        expect(await open(pair, INFO, sealed.slice(0, -1))).toBe('E_BOX');
        expect(await open(pair, INFO, sealed.slice(0, 20))).toBe('E_BOX');
        expect(await open(pair, INFO, new Uint8Array(0))).toBe('E_BOX');
        expect(await open(pair, utf8('other'), sealed)).toBe('E_BOX');
        expect(await open(other, INFO, sealed)).toBe('E_BOX');
        expect(await open(pair, INFO, concat([new Uint8Array(32), sealed.slice(32)]))).toBe('E_BOX');
    });

    it('does not seal to a point of low order, nor in another suite', async () => {
        const { public: to } = await generateHpkeKeyPair();
        expect(await codeOf(() => hpkeSeal(SUITE_X25519, new Uint8Array(32), INFO, PLAIN))).toBe('E_DEVKEY');
        expect(await codeOf(() => hpkeSeal(SUITE_X25519, to.slice(1), INFO, PLAIN))).toBe('E_DEVKEY');
        expect(await codeOf(() => hpkeSeal(2, to, INFO, PLAIN))).toBe('E_FORMAT');
        const pair = await generateHpkeKeyPair();
        expect(await codeOf(() => hpkeOpen(2, pair, INFO, new Uint8Array(80)))).toBe('E_FORMAT');
    });

    it('says the same as another implementation of RFC 9180, both ways', async () => {
        const suite = new CipherSuite({
            kem: new DhkemX25519HkdfSha256(),
            kdf: new HkdfSha256(),
            aead: new Aes256Gcm(),
        });
        const pair = await generateHpkeKeyPair();
        const theirs = await suite.seal(
            { recipientPublicKey: pair.publicKey, info: INFO.buffer },
            PLAIN.buffer,
        );
        const box = concat([new Uint8Array(theirs.enc), new Uint8Array(theirs.ct)]);
        expect(hex(await hpkeOpen(SUITE_X25519, pair, INFO, box))).toBe(hex(PLAIN));
        const ours = await hpkeSeal(SUITE_X25519, pair.public, INFO, PLAIN);
        const opened = await suite.open(
            { recipientKey: pair, info: INFO.buffer, enc: ours.slice(0, 32).buffer },
            ours.slice(32).buffer,
        );
        expect(hex(new Uint8Array(opened))).toBe(hex(PLAIN));
    });
});
