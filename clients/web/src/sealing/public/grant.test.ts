import { beforeAll, describe, expect, it } from 'vitest';
import { fromHex } from '~/protocol/bytes';
import type { ChannelId, DeviceId } from '~/protocol/ids';
import { openingVectors } from '../conformance/opening-vectors';
import { channelLine } from '../conformance/public-cases';
import { VECTORS } from '../conformance/read-vectors';
import { codeOf } from '../conformance/vectors';
import { SigningKey } from '../opening/signing-key';
import { type ChannelLine, type Directories, live } from './acceptance';
import { type Hex, encode } from './encoding';
import { DURABLE, MEDIA } from './entries';
import {
    type Grant,
    type GrantFields,
    MAX_GRANT_EPOCHS,
    decodeSealedGrant,
    encodeGrant,
    encodeSealedGrant,
    parseGrant,
    verifyGrant,
} from './grant';
import type { Signed } from './signed';

const vectors = openingVectors(VECTORS);
/** What only the receiver can find, who opens the box. */
const INSIDE = ['E_COMMITMENT', 'E_BOX'];
let line: ChannelLine;
let directories: Directories;
let good: Grant;
let granter: SigningKey;

beforeAll(async () => {
    ({ line, directories } = await channelLine(vectors));
    const given = vectors.grants.find((one) => one.code === null);
    if (given === undefined) throw new Error('the vectors have no good grant');
    good = await parseGrant(decodeSealedGrant(fromHex(given.grant)).signed);
    const device = Object.values(vectors.channel.devices).find((one) => one.device_id === good.granter);
    granter = await SigningKey.fromSeed(fromHex(device?.identity_seed ?? ''));
});

function signed(changes: Partial<GrantFields>): Promise<Signed> {
    return granter.sign('grant', good.granter, encodeGrant({ ...good, ...changes }));
}

describe('the grants of the vectors', () => {
    it.each(vectors.grants)('$name: $code', async (given) => {
        const sealed = decodeSealedGrant(fromHex(given.grant));
        expect(encodeSealedGrant(sealed)).toEqual(fromHex(given.grant));
        const due = given.code !== null && INSIDE.includes(given.code) ? null : given.code;
        expect(await codeOf(() => verifyGrant(line, sealed.signed, directories))).toBe(due);
    });
});

describe('a grant', () => {
    it('is refused by what it says', async () => {
        const attempts: [string, Partial<GrantFields>][] = [
            ['E_CHAIN', { channelId: '1'.repeat(32) as ChannelId }],
            ['E_UNKNOWN_EPOCH', { epoch: 9 }],
            ['E_CHAIN', { headHash: '1'.repeat(64) as Hex }],
            ['E_GRANT', { to: '1'.repeat(32) as Hex }],
            ['E_GRANT', { epochs: [0, 2] }],
            ['E_ENCODING', { epochs: [1, 0] }],
            ['E_ENCODING', { epochs: [0, 0] }],
            ['E_ENCODING', { epochs: [] }],
            ['E_ENCODING', { classMask: 1 }],
            ['E_EXPIRED', { tsMs: Number.MAX_SAFE_INTEGER }],
            ['E_ENCODING', { epochs: Array.from({ length: MAX_GRANT_EPOCHS + 1 }, (_, n) => n) }],
        ];
        for (const [code, changes] of attempts) {
            const object = await signed(changes);
            expect([changes, await codeOf(() => verifyGrant(line, object, directories))]).toEqual([
                changes,
                code,
            ]);
        }
    });

    it('gives no more than the receiver may see', async () => {
        const commit = line.commits.get(good.epoch);
        if (commit === undefined) throw new Error('no such commit');
        const to = commit.records[0]?.recordsId;
        if (to === undefined) throw new Error('the vectors have no records key');
        const within = await signed({ to, classMask: 1 << DURABLE });
        expect(await codeOf(() => verifyGrant(line, within, directories))).toBeNull();
        const beyond = await signed({ to, classMask: (1 << DURABLE) | (1 << MEDIA) });
        expect(await codeOf(() => verifyGrant(line, beyond, directories))).toBe('E_GRANT');
    });

    it('is by a device of the roster that is certified', async () => {
        const stranger = { ...(await signed({})), signer: '2'.repeat(32) as DeviceId };
        expect(await codeOf(() => verifyGrant(line, stranger, directories))).toBe('E_AUTHZ');
        const object = await signed({});
        expect(await codeOf(() => verifyGrant(line, object, new Map()))).toBe('E_UNKNOWN_DEVICE');
    });

    it('is less than ten minutes off on live receipt', async () => {
        const object = await signed({});
        for (const [nowMs, code] of [
            [good.tsMs + 600_000, 'E_CLOCK'],
            [good.tsMs - 600_000, 'E_CLOCK'],
            [good.tsMs + 599_999, null],
        ] as const) {
            expect(await codeOf(() => verifyGrant(line, object, directories, live(nowMs)))).toBe(code);
        }
    });

    it('of another version or shape is refused', async () => {
        const { signer, signature } = good.signed;
        const shapes: [string, Signed][] = [
            ['E_FORMAT', { payload: encode([2, 0, 0, 0, 0, 0, 0, 0, 0]), signer, signature }],
            ['E_ENCODING', { payload: encode([1, 0]), signer, signature }],
        ];
        for (const [code, object] of shapes) {
            expect(await codeOf(() => verifyGrant(line, object, directories))).toBe(code);
        }
    });
});
