import { beforeEach, describe, expect, it } from 'vitest';
import { DAY_MS, HOUR_MS, NOW_MS, PERIODIC, type World, smallWorld } from '../conformance/world';
import { codeOf } from '../conformance/vectors';
import { type SealingCode } from '../errors';
import { live } from '../public/acceptance';
import { type Box, type BoxList, boxListInput, hashOfBox } from '../public/boxes';
import { REASON_MEMBER, REASON_PERIODIC, REASON_REVOKE, encodeCommit, rosterEntry } from '../public/commit';
import { NO_KID } from '../public/device-key';
import { type Bytes, ZERO32, concat, hex, unhex } from '../public/encoding';
import { DURABLE, EPHEMERAL, FULL_CLASS_MASK, MEDIA } from '../public/entries';
import { headAfter } from '../public/seen';
import type { Signed } from '../public/signed';
import { sealBox, someClasses, wholeEpoch } from './boxes';
import { type Installed, SHORT_LIVED_MS, SealedChannel } from './channel';
import { type MadeCommit, boxFor } from './committer';
import type { Delivery } from './delivery';
import { DeviceKeys } from './keys';

const NOTHING: Delivery = { box: null, boxList: null };
let world: World;
let genesis: MadeCommit;
let dispatcher: SealedChannel;
let unit: SealedChannel;

beforeEach(async () => {
    world = await smallWorld();
    genesis = await world.genesis(['dispatcher', 'lead', 'unit', 'spare']);
    dispatcher = await world.view('dispatcher', genesis);
    unit = await world.view('unit', genesis);
});

function records(channel: SealedChannel): readonly Bytes[] {
    return [...channel.line.commits.keys()].map((epoch) => channel.exportEpoch(epoch));
}

/** All that a channel keeps. */
function kept(channel: SealedChannel): string {
    return [channel.exportHead(), ...records(channel)].map(hex).join(' ');
}

function again(channel: SealedChannel): Promise<SealedChannel> {
    return SealedChannel.restore(channel.exportHead(), records(channel));
}

/** The dispatcher commits, and both take it. */
async function rekey(nowMs = NOW_MS): Promise<MadeCommit> {
    const made = await world.commit('dispatcher', dispatcher, PERIODIC, nowMs);
    await world.process('dispatcher', dispatcher, made, { nowMs });
    await world.process('unit', unit, made, { nowMs });
    return made;
}

function install(channel: SealedChannel, signed: Signed, delivery: Delivery = NOTHING): Promise<Installed> {
    return channel.processCommit(signed, delivery, world.keysOf('unit'), world.directories, {
        nowMs: NOW_MS,
    });
}

describe('whom to blame', () => {
    const flip = (box: Box): Box => {
        const sealed = box.sealed.slice();
        sealed[40] = (sealed[40] ?? 0) ^ 1;
        return { ...box, sealed };
    };
    const holding =
        (plaintext: Bytes) =>
        (box: Box): Promise<Box> => {
            const key = world.book.newest(world.id('unit'));
            return sealBox(genesis.commit, box.recipient, box.kid, key?.public ?? plaintext, plaintext);
        };
    const zeros = new Map([1, 2, 3].map((c) => [c, new Uint8Array(32)]));

    /** The unit installs genesis with its box changed; `relisted`: the committer signed it so. */
    async function boxed(change: (box: Box) => Box | Promise<Box>, relisted: boolean): Promise<Installed> {
        const mine = boxFor(genesis, world.id('unit'));
        if (mine === null) throw new Error('a box was made for the unit');
        const changed = await change(mine);
        let boxList: BoxList = genesis.boxList;
        if (relisted) {
            const boxes = genesis.boxes.map((box) => (box.recipient === mine.recipient ? changed : box));
            const hashes = await Promise.all(boxes.map(hashOfBox));
            const { identity } = world.keysOf('dispatcher');
            boxList = { hashes, signature: await identity.signRaw(boxListInput(genesis.commit, hashes)) };
        }
        const channel = new SealedChannel(genesis.commit.channelId, world.id('unit'));
        const installed = await install(channel, genesis.commit.signed, { box: changed, boxList });
        expect(channel.line.epoch).toBe(0); // the chain advances all the same
        expect(installed.opened).toBe(channel.secrets(0).size > 0);
        return installed;
    }

    it.each<[string, SealingCode, (box: Box) => Box | Promise<Box>]>([
        ['altered', 'E_BOX', flip],
        ['of another secret', 'E_COMMITMENT', holding(wholeEpoch(new Uint8Array(32)))],
        ['of half a secret', 'E_BOX', holding(wholeEpoch(new Uint8Array(31)))],
        ['of noise', 'E_BOX', holding(Uint8Array.of(0xff))],
        ['of another kind', 'E_BOX', holding(someClasses(zeros, FULL_CLASS_MASK))],
        ['under another key', 'E_BOX', (box) => ({ ...box, kid: NO_KID })],
        ['in another suite', 'E_BOX', (box) => ({ ...box, suite: 2 })],
    ])('for a box %s', async (_, code, change) => {
        const served = (await boxed(change, false)).alarm;
        expect(served).toEqual({ code, epoch: 0, atFault: 'server' });
    });

    it('is the committer when its list names the bad box', async () => {
        expect((await boxed(flip, true)).alarm).toEqual({ code: 'E_BOX', epoch: 0, atFault: 'committer' });
    });

    it('is the server when a box is withheld, and nobody without a list', async () => {
        const fresh = (): SealedChannel => new SealedChannel(genesis.commit.channelId, world.id('unit'));
        const withheld = await install(fresh(), genesis.commit.signed, {
            box: null,
            boxList: genesis.boxList,
        });
        expect(withheld.alarm).toEqual({ code: 'E_BOX', epoch: 0, atFault: 'server' });
        const bare = await install(fresh(), genesis.commit.signed);
        expect(bare.alarm).toEqual({ code: 'E_BOX', epoch: 0, atFault: 'unknown' });
    });

    it('is the server when a right box comes beside a wrong list', async () => {
        const wrong = { ...genesis.boxList, signature: new Uint8Array(64) };
        const channel = new SealedChannel(genesis.commit.channelId, world.id('unit'));
        const box = boxFor(genesis, world.id('unit'));
        const installed = await install(channel, genesis.commit.signed, { box, boxList: wrong });
        expect(installed.opened).toBe(true);
        expect(installed.alarm).toEqual({ code: 'E_BOXLIST', epoch: 0, atFault: 'server' });
    });
});

describe('sending', () => {
    it('needs a secret: the victim of a bad box commits the next epoch', async () => {
        const victim = new SealedChannel(genesis.commit.channelId, world.id('unit'));
        await install(victim, genesis.commit.signed);
        expect(await codeOf(() => world.say('unit', victim))).toBe('E_NO_KEY');
        expect(victim.needsRekey(world.directories, NOW_MS)).toBe(REASON_PERIODIC);
        const following = await world.commit('unit', victim, PERIODIC);
        expect((await world.process('unit', victim, following)).opened).toBe(true);
        await world.process('dispatcher', dispatcher, following);
        const frame = await world.say('unit', victim);
        expect((await dispatcher.open(frame, world.directories)).body.data).toBe('on my way');
    });

    it('to a revoked device is refused; the sender drops it and goes on', async () => {
        const spare = await world.view('spare', genesis);
        await world.revoke('spare');
        expect(await codeOf(() => world.say('unit', unit))).toBe('E_REVOKED');
        expect(unit.needsRekey(world.directories, NOW_MS)).toBe(REASON_REVOKE);
        const following = await world.commit('unit', unit, { reason: REASON_REVOKE });
        expect(rosterEntry(following.commit, world.id('spare'))).toBeNull();
        await world.process('unit', unit, following);
        await world.process('spare', spare, following);
        const frame = await world.say('unit', unit);
        expect(spare.secrets(1).size).toBe(0);
        expect(await codeOf(() => spare.open(frame, world.directories))).toBe('E_NO_KEY');
    });

    it('makes a new epoch due after four hours', () => {
        expect(unit.needsRekey(world.directories, NOW_MS)).toBeNull();
        expect(unit.needsRekey(world.directories, NOW_MS + 4 * HOUR_MS)).toBe(REASON_PERIODIC);
    });

    it('waits by own rank among those online', () => {
        const online = new Set([world.id('dispatcher'), world.id('unit')]);
        const delays = [unit, dispatcher].map((channel) => channel.rekeyDelayMs(online, 7));
        expect(new Set(delays)).toEqual(new Set([7, 307]));
    });

    it('is refused to who is no member', async () => {
        const clinician = await world.view('clinician', genesis);
        expect(await codeOf(() => world.say('clinician', clinician))).toBe('E_AUTHZ');
        expect(clinician.needsRekey(world.directories, NOW_MS)).toBeNull();
    });
});

describe('commits', () => {
    it('bring a dormant device back, once its key is out again', async () => {
        const later = NOW_MS + 9 * DAY_MS;
        await world.keysOf('dispatcher').rotate(later);
        await world.publish('dispatcher');
        const without = await world.commit('dispatcher', dispatcher, PERIODIC, later);
        expect(boxFor(without, world.id('unit'))).toBeNull();
        await world.process('dispatcher', dispatcher, without, { nowMs: later });
        const installed = await world.process('unit', unit, without, { nowMs: later });
        expect([installed.dormant, installed.alarm]).toEqual([true, null]);
        await world.keysOf('unit').rotate(later);
        await world.publish('unit');
        const back = await world.commit('dispatcher', dispatcher, PERIODIC, later);
        expect((await world.process('unit', unit, back, { nowMs: later })).opened).toBe(true);
    });

    it('that fail change nothing', async () => {
        const made = await world.commit('dispatcher', dispatcher, PERIODIC);
        const before = kept(unit);
        const forged = { ...made.commit.signed, signature: new Uint8Array(64) };
        expect(await codeOf(() => install(unit, forged))).toBe('E_SIG');
        const late = NOW_MS + HOUR_MS;
        const offered = world.process('unit', unit, made, { nowMs: late, receipt: live(late) });
        expect(await codeOf(() => offered)).toBe('E_CLOCK');
        expect(kept(unit)).toBe(before);
        expect((await world.process('unit', unit, made, { nowMs: late })).opened).toBe(true);
    });

    it('on two signed branches stop the channel, and both are kept', async () => {
        const made = await world.commit('dispatcher', dispatcher, PERIODIC);
        const other = await world.commit('lead', await world.view('lead', genesis), PERIODIC);
        await world.process('unit', unit, made);
        expect(await codeOf(() => world.process('unit', unit, other))).toBe('E_FORK');
        expect(unit.forkEvidence).toEqual([made.commit.signed, other.commit.signed]);
        for (const channel of [unit, await again(unit)]) {
            expect(await codeOf(() => world.say('unit', channel))).toBe('E_FORK');
        }
    });

    it('by who did not create the channel cannot fork its beginning', async () => {
        const sign = async (name: string, tsMs: number): Promise<Signed> => {
            const { identity, deviceId } = world.keysOf(name);
            return identity.sign(
                'commit',
                deviceId,
                encodeCommit({ ...genesis.commit, committer: deviceId, tsMs }),
            );
        };
        expect(await codeOf(async () => install(unit, await sign('lead', NOW_MS)))).toBe('E_AUTHZ');
        expect(unit.forkEvidence).toBeNull();
        expect(await codeOf(async () => install(unit, await sign('dispatcher', NOW_MS + 1)))).toBe('E_FORK');
    });

    it('of another branch show in a frame, which is no proof', async () => {
        const lead = await world.view('lead', genesis);
        await world.process('unit', unit, await world.commit('dispatcher', dispatcher, PERIODIC));
        await world.process('lead', lead, await world.commit('lead', lead, PERIODIC));
        const frame = await world.say('lead', lead);
        expect(await codeOf(() => unit.open(frame, world.directories))).toBe('E_FORK');
        expect(unit.forkEvidence).toBeNull();
    });

    it('vouch for a guest, who reads what it was vouched for and no more', async () => {
        const guest = await DeviceKeys.createGuest(NOW_MS + HOUR_MS);
        world.keys.set('guest', guest);
        const guests = [guest.guestEntry(world.agency, 1 << MEDIA)];
        const made = await world.commit('dispatcher', dispatcher, { reason: REASON_MEMBER, guests });
        await world.process('dispatcher', dispatcher, made);
        const channel = await world.view('guest', genesis, made);
        expect([...channel.secrets(1).keys()]).toEqual([MEDIA]);
        expect(channel.chain).toBeNull();
        const later = NOW_MS + HOUR_MS + 1;
        expect(await codeOf(() => dispatcher.canSend(world.directories, later))).toBe('E_EXPIRED');
        expect(dispatcher.needsRekey(world.directories, later)).toBe(REASON_MEMBER);
        const gone = await world.commit('dispatcher', dispatcher, { reason: REASON_MEMBER }, later);
        expect(rosterEntry(gone.commit, guest.deviceId)).toBeNull();
    });

    it('carry what their maker has seen', async () => {
        await dispatcher.sawEntry(4, ZERO32);
        const made = await world.commit('dispatcher', dispatcher, PERIODIC);
        expect(made.commit.seen).toEqual(await headAfter({ seq: 0, hash: ZERO32 }, 4, ZERO32));
        unit.startSeen(made.commit.seen);
        expect(unit.compareSeen(dispatcher.seen.head)).toBe('agrees');
        expect(await codeOf(() => unit.compareSeen({ seq: 4, hash: ZERO32 }))).toBe('E_LOG_FORK');
    });
});

describe('at the same time', () => {
    it('commits that follow each other are taken in the order of the calls', async () => {
        const [one, two] = [await rekeyedByDispatcher(), await rekeyedByDispatcher()];
        const installed = await Promise.all([one, two].map((made) => world.process('unit', unit, made)));
        expect(installed.map(({ commit, opened }) => [commit.epoch, opened])).toEqual([
            [1, true],
            [2, true],
        ]);
    });

    it('the same commit twice stands once', async () => {
        const made = await rekeyedByDispatcher();
        const codes = [1, 2].map(() => codeOf(() => world.process('unit', unit, made)));
        expect(await Promise.all(codes)).toEqual([null, 'E_DUPLICATE']);
    });

    it('a frame and the commit before it: the frame is asked for again', async () => {
        const made = await rekeyedByDispatcher();
        const frame = await world.say('dispatcher', dispatcher);
        const process = world.process('unit', unit, made);
        expect(await codeOf(() => unit.open(frame, world.directories))).toBe('E_UNKNOWN_EPOCH');
        await process;
        expect((await unit.open(frame, world.directories)).body.data).toBe('on my way');
    });

    it('a frame that is being sealed and a commit: it stays of its epoch, and the next is of the new one', async () => {
        const made = await world.commit('dispatcher', dispatcher, PERIODIC);
        const process = world.process('unit', unit, made);
        const [frame] = await Promise.all([world.say('unit', unit, 'before'), process]);
        expect((await dispatcher.open(frame, world.directories)).oldEpoch).toBe(false);
        await world.process('dispatcher', dispatcher, made);
        const next = await dispatcher.open(await world.say('unit', unit, 'after'), world.directories);
        expect([next.header.epoch, next.header.seq]).toEqual([1, 0n]);
    });

    it('a commit that is being made and another that wins: no fork, the server has the word', async () => {
        const making = world.commit('unit', unit, PERIODIC);
        const winner = await rekeyedByDispatcher();
        await world.process('unit', unit, winner);
        const lost = await making;
        expect([lost.commit.epoch, unit.line.epoch, unit.forkEvidence]).toEqual([1, 1, null]);
        expect((await world.commit('unit', unit, PERIODIC)).commit.epoch).toBe(2);
    });

    it('a frame that is being opened and its secrets deleted: no key of it is kept', async () => {
        const [one, two] = [
            await world.say('dispatcher', dispatcher),
            await world.say('dispatcher', dispatcher),
        ];
        const opening = unit.open(one, world.directories);
        unit.forgetAll();
        await opening;
        expect(await codeOf(() => unit.open(two, world.directories))).toBe('E_NO_KEY');
    });

    it('log entries are taken in turn', async () => {
        const entries = [3, 5, 9].map((seq) => unit.sawEntry(seq, ZERO32));
        expect((await Promise.all(entries)).map(({ seq }) => seq)).toEqual([3, 5, 9]);
    });

    async function rekeyedByDispatcher(): Promise<MadeCommit> {
        const made = await world.commit('dispatcher', dispatcher, PERIODIC);
        await world.process('dispatcher', dispatcher, made);
        return made;
    }
});

describe('forgetting', () => {
    it('takes ephemeral and media secrets 60 s after their epoch', async () => {
        const old = await world.say('dispatcher', dispatcher, 'x', { keyClass: EPHEMERAL });
        await rekey();
        expect((await unit.open(old, world.directories)).oldEpoch).toBe(true);
        expect(unit.forgetShortLived(NOW_MS + SHORT_LIVED_MS - 1)).toBe(0);
        expect(unit.forgetShortLived(NOW_MS + SHORT_LIVED_MS)).toBe(2);
        expect([...unit.secrets(0).keys()]).toEqual([DURABLE]);
        expect([...unit.secrets(1).keys()]).toEqual([DURABLE, EPHEMERAL, MEDIA]);
        expect(await codeOf(() => unit.open(old, world.directories, { again: true }))).toBe('E_NO_KEY');
        expect(unit.forgetDurable(1)).toBe(1);
        expect(unit.epochsHeld()).toEqual([1]);
        unit.forgetAll();
        expect([unit.epochsHeld(), unit.chain]).toEqual([[], null]);
        expect(await codeOf(() => world.say('unit', unit))).toBe('E_NO_KEY');
    });

    it('takes them after a restart too, though nobody was there to see the epoch end', async () => {
        await rekey();
        unit = await again(unit);
        expect(unit.forgetShortLived(NOW_MS + SHORT_LIVED_MS)).toBe(2);
    });

    it('replaces the chain by each commit', async () => {
        const first = unit.chain;
        expect(first).toEqual(dispatcher.chain);
        await rekey();
        expect(unit.chain).toEqual(dispatcher.chain);
        expect(unit.chain).not.toEqual(first);
        expect(kept(unit)).not.toContain(hex(first ?? unhex(ZERO32)));
    });
});

describe('keeping', () => {
    it('holds all, and restores the same', async () => {
        await unit.open(await world.say('dispatcher', dispatcher), world.directories);
        await rekey();
        const position = await world.say('dispatcher', dispatcher, 'x', { keyClass: EPHEMERAL });
        await unit.open(position, world.directories);
        await unit.sawEntry(1, ZERO32);
        const same = await again(unit);
        expect(kept(same)).toBe(kept(unit));
        expect([same.secrets(0), same.secrets(1), same.chain]).toEqual([
            unit.secrets(0),
            unit.secrets(1),
            unit.chain,
        ]);
        expect(same.seen.head).toEqual(unit.seen.head);
        expect(same.unsaved()).toMatchObject({ head: null, epochs: new Map() });
    });

    it('writes what changed and nothing else', async () => {
        const first = unit.unsaved();
        expect([first.head !== null, [...first.epochs.keys()]]).toEqual([true, [0]]);
        unit.saved(first);
        expect([unit.unsaved().head, unit.unsaved().epochs.size]).toEqual([null, 0]);
        await rekey();
        const second = unit.unsaved();
        expect([...second.epochs.keys()].sort()).toEqual([0, 1]);
        // A frame that comes while the records are being written stays unsaved.
        await unit.open(await world.say('dispatcher', dispatcher), world.directories);
        unit.saved(second);
        expect([...unit.unsaved().epochs.keys()]).toEqual([1]);
        expect(unit.unsaved().head).not.toBeNull();
    });

    it('is not undone by a write that failed', async () => {
        unit.saved(unit.unsaved());
        await rekey();
        expect(unit.unsaved()).toEqual(unit.unsaved());
        expect(unit.unsaved().epochs.size).toBe(2);
    });

    it('needs the newest two epochs, and takes older ones when they are wanted', async () => {
        const frame = await world.say('dispatcher', dispatcher);
        await unit.open(frame, world.directories);
        for (let n = 0; n < 3; n++) await rekey();
        const [zero, one, two, three] = records(unit);
        if (!zero || !one || !two || !three) throw new Error('four epochs');
        expect(await codeOf(() => SealedChannel.restore(unit.exportHead(), [three]))).toBe('E_STATE');
        const lean = await SealedChannel.restore(unit.exportHead(), [three, two]);
        expect(lean.line.epoch).toBe(3);
        expect(await codeOf(() => lean.open(frame, world.directories))).toBe('E_UNKNOWN_EPOCH');
        expect([await lean.recall(one), await lean.recall(zero)]).toEqual([1, 0]);
        expect(await codeOf(() => lean.open(frame, world.directories))).toBe('E_REPLAY');
        expect(kept(lean).length).toBe(kept(unit).length);
        expect(await world.say('unit', lean)).toHaveLength(228);
        expect(lean.unsaved().epochs.size).toBe(0);
    });

    it('takes no commit of an outsider for a fork, when the roster before is not at hand', async () => {
        for (let n = 0; n < 3; n++) await rekey();
        const [, , two, three] = records(unit);
        if (!two || !three) throw new Error('four epochs');
        const lean = await SealedChannel.restore(unit.exportHead(), [three, two]);
        const { identity, deviceId } = world.keysOf('clinician');
        for (const epoch of [2, 3]) {
            const standing = unit.line.commits.get(epoch) ?? genesis.commit;
            const payload = encodeCommit({ ...standing, committer: deviceId });
            const signed = await identity.sign('commit', deviceId, payload);
            expect(await codeOf(() => install(lean, signed))).toBe(epoch === 3 ? 'E_AUTHZ' : 'E_CHAIN');
            expect(lean.forkEvidence).toBeNull();
        }
    });

    it('refuses what is no record, or does not belong together', async () => {
        await rekey();
        const [head, zero, one] = [unit.exportHead(), unit.exportEpoch(0), unit.exportEpoch(1)];
        const restored = (h: Bytes, ...epochs: readonly Bytes[]): Promise<string | null> =>
            codeOf(() => SealedChannel.restore(h, epochs));
        expect(await restored(head)).toBe('E_STATE');
        expect(await restored(head, zero)).toBe('E_STATE');
        expect(await restored(new Uint8Array(0), zero, one)).toBe('E_ENCODING');
        expect(await restored(head.slice(0, -1), zero, one)).toBe('E_ENCODING');
        expect(await restored(concat([head, Uint8Array.of(0)]), zero, one)).toBe('E_ENCODING');
        const newer = head.slice();
        newer[1] = 2;
        expect(await restored(newer, zero, one)).toBe('E_STATE');
        const other = await world.view('unit', await world.genesis(['dispatcher', 'unit']));
        expect(await restored(head, other.exportEpoch(0), one)).toBe('E_STATE');
        expect(await restored(other.exportHead(), zero)).toBe('E_STATE');
        expect(await restored(head, zero, one)).toBeNull();
    });

    it('goes before genesis as well', async () => {
        const empty = new SealedChannel(genesis.commit.channelId, world.id('unit'));
        const same = await again(empty);
        expect(same.line.head).toBeNull();
        expect(await codeOf(() => same.head)).toBe('E_STATE');
    });
});
