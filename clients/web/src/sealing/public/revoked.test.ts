/** Who was revoked gives nothing any more; who lacks a right may still give back what was another's. */

import { beforeEach, describe, expect, it } from 'vitest';
import { codeOf } from '../conformance/vectors';
import { NOW_MS, World } from '../conformance/world';
import type { SealedChannel } from '../opening/channel';
import { type Receipt, REPLAY, live } from './acceptance';
import { type Archive, encodeArchiveLabel, verifyArchive } from './archive';
import { sha256 } from './encoding';
import { CAP_SEND, DURABLE } from './entries';
import { encodeGrant, verifyGrant } from './grant';

let world: World;
let channel: SealedChannel;

beforeEach(async () => {
    world = await World.of();
    await world.enrol('lead');
    await world.enrol('unit', { caps: CAP_SEND });
    await world.enrol('late', { caps: CAP_SEND });
    await world.addRecords();
    channel = await world.view('lead', await world.genesis(['lead', 'unit', 'late'], true));
});

async function grantOutcome(by: string, to: string, receipt: Receipt): Promise<string | null> {
    const { head } = channel;
    const keys = world.keysOf(by);
    const payload = encodeGrant({
        channelId: head.channelId,
        epoch: head.epoch,
        headHash: head.hash,
        to: world.id(to),
        kid: head.roster.find((entry) => entry.deviceId === world.id(to))?.kid ?? world.id(to),
        epochs: [0],
        classMask: 1 << DURABLE,
        tsMs: NOW_MS,
    });
    const signed = await keys.identity.sign('grant', keys.deviceId, payload);
    return codeOf(() => verifyGrant(channel.line, signed, world.directories, receipt));
}

describe('a grant', () => {
    it('without GRANT gives back what the receiver could read', async () => {
        expect(await grantOutcome('unit', 'late', live(NOW_MS))).toBeNull();
    });

    it('by a revoked device is refused from the revocation on, and holds where it stands in history', async () => {
        await world.revoke('lead');
        expect(await grantOutcome('lead', 'late', live(NOW_MS))).toBe('E_REVOKED');
        expect(await grantOutcome('lead', 'late', REPLAY)).toBeNull();
    });

    it('to a revoked device is refused likewise', async () => {
        await world.revoke('late');
        expect(await grantOutcome('lead', 'late', live(NOW_MS))).toBe('E_REVOKED');
        expect(await grantOutcome('lead', 'late', REPLAY)).toBeNull();
    });
});

describe('an archive', () => {
    it('by a revoked device is refused on live receipt', async () => {
        const keys = world.keysOf('lead');
        const wrapped = new Uint8Array(40);
        const payload = encodeArchiveLabel(channel.head, {
            recordsId: world.records.recordsId,
            classMask: 1 << DURABLE,
            epochs: [0],
            tsMs: NOW_MS,
            wrappedHash: await sha256(wrapped),
        });
        const signed = await keys.identity.sign('archive', keys.deviceId, payload);
        const archive: Archive = { signed, suite: 1, keyBox: new Uint8Array(48), wrapped };
        const outcome = (receipt: Receipt): Promise<string | null> =>
            codeOf(() => verifyArchive(channel.line, archive, world.directories, receipt));
        expect(await outcome(live(NOW_MS))).toBeNull();
        await world.revoke('lead');
        expect(await outcome(live(NOW_MS))).toBe('E_REVOKED');
        expect(await outcome(REPLAY)).toBeNull();
    });
});

describe('a commit', () => {
    it('by a revoked device is refused by who stores it, whatever head it names', async () => {
        const made = await world.committer('lead').commit(channel, { reason: 3 }, NOW_MS);
        const attempt = (storing: boolean): Promise<string | null> =>
            codeOf(() =>
                channel.line.accept(made.commit.signed, world.directories, { ...live(NOW_MS), storing }),
            );
        await world.revoke('lead');
        expect(await attempt(true)).toBe('E_REVOKED');
        expect(channel.line.epoch).toBe(0);
        expect(await attempt(false)).toBeNull();
        expect(channel.line.epoch).toBe(1);
    });
});
