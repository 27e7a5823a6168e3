import { beforeEach, describe, expect, it } from 'vitest';
import { HOUR_MS, NOW_MS, PERIODIC, type World, smallWorld } from '../conformance/world';
import { codeOf } from '../conformance/vectors';
import { live } from '../public/acceptance';
import { REASON_MEMBER } from '../public/commit';
import { type Value, encode, hex } from '../public/encoding';
import { DURABLE, EPHEMERAL } from '../public/entries';
import {
    type SealedGrant,
    decodeSealedGrant,
    encodeGrant,
    encodeSealedGrant,
    verifyGrant,
} from '../public/grant';
import type { SealedChannel } from './channel';
import { acceptGrant, grantInfo, makeGrant, openGrant } from './grants';
import { hpkeSeal } from './hpke';

const DURABLE_ONLY = 1 << DURABLE;
let world: World;
let dispatcher: SealedChannel;
let unit: SealedChannel;
/** Joined at epoch 1. */
let lead: SealedChannel;

beforeEach(async () => {
    world = await smallWorld();
    const genesis = await world.genesis(['dispatcher', 'unit'], true);
    dispatcher = await world.view('dispatcher', genesis);
    unit = await world.view('unit', genesis);
    const admit = { reason: REASON_MEMBER, admit: [world.seat('lead')] } as const;
    const joined = await world.commit('dispatcher', dispatcher, admit);
    await world.process('dispatcher', dispatcher, joined);
    await world.process('unit', unit, joined);
    lead = await world.view('lead', genesis, joined);
});

interface Asked {
    readonly by?: string;
    readonly to?: string;
    readonly epochs?: readonly number[];
    readonly classMask?: number;
    readonly nowMs?: number;
}

function granted({ by = 'dispatcher', to = 'lead', ...asked }: Asked = {}): Promise<SealedGrant> {
    const channel = by === 'unit' ? unit : by === 'lead' ? lead : dispatcher;
    return makeGrant(channel, world.keysOf(by), {
        to: to === 'records' ? world.records.recordsId : world.id(to),
        epochs: [0],
        classMask: DURABLE_ONLY,
        directories: world.directories,
        deviceKeys: world.book,
        nowMs: NOW_MS,
        ...asked,
    });
}

const taken = (sealed: SealedGrant, by: SealedChannel = lead, name = 'lead', receipt = live(NOW_MS)) =>
    acceptGrant(by, sealed, world.keysOf(name), world.directories, receipt);

/** A grant whose signature holds, of whatever content its maker likes. */
async function liar(content: Value, epochs: readonly number[] = [0]): Promise<SealedGrant> {
    const { head, channelId } = dispatcher;
    const keys = world.keysOf('dispatcher');
    const to = world.id('lead');
    const key = world.book.current(to, NOW_MS);
    if (key === null) throw new Error('lead has a key');
    const fields = { channelId, epoch: head.epoch, headHash: head.hash, to, kid: key.kid, epochs };
    const payload = encodeGrant({ ...fields, classMask: DURABLE_ONLY, tsMs: NOW_MS });
    const signed = await keys.identity.sign('grant', keys.deviceId, payload);
    const { hash } = await verifyGrant(dispatcher.line, signed, world.directories);
    const box = await hpkeSeal(1, key.public, grantInfo(hash, to, key.kid), encode(content));
    return { signed, suite: 1, box };
}

describe('a grant', () => {
    it('lets a member who joined later read what was said before', async () => {
        const frame = await world.say('dispatcher', dispatcher, 'now');
        expect((await lead.open(frame, world.directories)).body.data).toBe('now');
        expect(lead.epochsHeld()).toEqual([1]);
        const sealed = decodeSealedGrant(encodeSealedGrant(await granted()));
        expect(await taken(sealed)).toEqual([0]);
        expect(lead.secrets(0)).toEqual(new Map([[DURABLE, dispatcher.secrets(0).get(DURABLE)]]));
        expect([...lead.unsaved().epochs.keys()]).toContain(0);
    });

    it('gives ephemeral secrets only when the giver says so', async () => {
        await taken(await granted({ classMask: DURABLE_ONLY | (1 << EPHEMERAL) }));
        expect([...lead.secrets(0).keys()]).toEqual([DURABLE, EPHEMERAL]);
    });

    it('names each epoch once, in order', async () => {
        const made = await world.commit('dispatcher', dispatcher, PERIODIC);
        for (const [name, channel] of [
            ['dispatcher', dispatcher],
            ['lead', lead],
        ] as const) {
            await world.process(name, channel, made);
        }
        expect(await taken(await granted({ epochs: [1, 0, 1] }))).toEqual([0, 1]);
    });

    it('may be a re-seal without GRANT, of what was theirs', async () => {
        const sealed = await granted({ by: 'unit', to: 'dispatcher', epochs: [0] });
        expect(await taken(sealed, dispatcher, 'dispatcher')).toEqual([0]);
        expect(await codeOf(() => granted({ by: 'unit' }))).toBe('E_AUTHZ');
    });

    it('may be to a records key, which opens it alone', async () => {
        const sealed = await granted({ to: 'records' });
        const grant = await verifyGrant(dispatcher.line, sealed.signed, world.directories);
        const secrets = await openGrant(grant, sealed, world.records.held);
        expect(secrets.get(0)).toEqual(new Map([[DURABLE, dispatcher.secrets(0).get(DURABLE)]]));
        expect(await codeOf(() => taken(sealed))).toBe('E_GRANT');
        const more = { to: 'records', classMask: DURABLE_ONLY | (1 << EPHEMERAL) };
        expect(await codeOf(() => granted(more))).toBe('E_GRANT');
    });

    it('is not made to who is not there, to who is dormant, or of what is not held', async () => {
        expect(await codeOf(() => granted({ to: 'spare' }))).toBe('E_GRANT');
        expect(await codeOf(() => granted({ by: 'lead', to: 'dispatcher' }))).toBe('E_NO_KEY');
        expect(await codeOf(() => granted({ epochs: [2] }))).toBe('E_GRANT');
        expect(await codeOf(() => granted({ nowMs: NOW_MS + 9 * 24 * HOUR_MS }))).toBe('E_DEVKEY');
        await world.revoke('lead');
        expect(await codeOf(() => granted())).toBe('E_REVOKED');
    });

    it('is refused altered, late, or to another, and leaves nothing behind', async () => {
        const sealed = await granted();
        const box = sealed.box.slice();
        box[50] = (box[50] ?? 0) ^ 1;
        const before = [lead.exportHead(), lead.exportEpoch(0)].map(hex);
        expect(await codeOf(() => taken({ ...sealed, box }))).toBe('E_BOX');
        const signed = { ...sealed.signed, signature: new Uint8Array(64) };
        expect(await codeOf(() => taken({ ...sealed, signed }))).toBe('E_SIG');
        expect(await codeOf(() => taken(sealed, unit, 'unit'))).toBe('E_GRANT');
        expect(await codeOf(() => taken(sealed, lead, 'lead', live(NOW_MS + HOUR_MS)))).toBe('E_CLOCK');
        expect(await codeOf(() => taken(sealed, lead, 'unit'))).toBe('E_NO_KEY');
        expect([lead.exportHead(), lead.exportEpoch(0)].map(hex)).toEqual(before);
    });

    it('of other content than it says is refused whole', async () => {
        const [right, zeros] = [dispatcher.secrets(0).get(DURABLE) ?? new Uint8Array(0), new Uint8Array(32)];
        const refused: readonly [Value, readonly number[], string][] = [
            [[[0, [[DURABLE, zeros]]]], [0], 'E_COMMITMENT'],
            [
                [
                    [
                        0,
                        [
                            [DURABLE, right],
                            [EPHEMERAL, zeros],
                        ],
                    ],
                ],
                [0],
                'E_GRANT',
            ],
            [[[1, [[DURABLE, right]]]], [0], 'E_GRANT'],
            [[], [0], 'E_GRANT'],
            [
                [
                    [0, [[DURABLE, right]]],
                    [1, [[DURABLE, zeros]]],
                ],
                [0, 1],
                'E_COMMITMENT',
            ],
            [[[0, [[DURABLE, right.slice(1)]]]], [0], 'E_ENCODING'],
        ];
        for (const [content, epochs, code] of refused) {
            expect(await codeOf(async () => taken(await liar(content, epochs)))).toBe(code);
            expect(lead.epochsHeld()).toEqual([1]);
        }
        expect(await taken(await liar([[0, [[DURABLE, right]]]]))).toEqual([0]);
    });

    it('twice at once is taken as once', async () => {
        const sealed = await granted();
        await Promise.all([taken(sealed), taken(sealed)]);
        expect(lead.epochsHeld()).toEqual([0, 1]);
    });
});
