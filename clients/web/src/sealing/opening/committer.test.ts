import { beforeEach, describe, expect, it } from 'vitest';
import { DAY_MS, HOUR_MS, NOW_MS, PERIODIC, World, smallWorld } from '../conformance/world';
import { codeOf } from '../conformance/vectors';
import { verifyBoxes } from '../public/boxes';
import {
    AUTH_CONSENT,
    MAX_ROSTER,
    NO_INCIDENT,
    REASON_CONSENT,
    REASON_CREATE,
    REASON_MEMBER,
    headOf,
    rosterEntry,
} from '../public/commit';
import { NO_KID } from '../public/device-key';
import { ZERO32, encode } from '../public/encoding';
import { CAP_SEND, CLINICAL, DURABLE, MEDIA, OPERATIONS } from '../public/entries';
import type { SealedChannel } from './channel';
import { type MadeCommit, boxFor, channelFor, seatsOf } from './committer';
import { DeviceKeys } from './keys';
import { openRecordsBox } from './records';

const CONSENT = [{ kind: AUTH_CONSENT, recordHash: ZERO32 }] as const;
let world: World;
let genesis: MadeCommit;
let dispatcher: SealedChannel;

beforeEach(async () => {
    world = await smallWorld();
    genesis = await world.genesis(['dispatcher', 'unit'], true);
    dispatcher = await world.view('dispatcher', genesis);
});

describe('genesis', () => {
    it('names a channel of its own, and has a box for each device and records key', async () => {
        const { commit, boxes, boxList } = genesis;
        expect([commit.epoch, commit.reason, commit.prevHash]).toEqual([0, REASON_CREATE, ZERO32]);
        expect((await world.genesis(['dispatcher', 'unit'])).commit.channelId).not.toBe(commit.channelId);
        const { public: publicKey } = world.keysOf('dispatcher').identity;
        expect(await verifyBoxes(commit, boxes, boxList.signature, publicKey)).toEqual(boxList);
        expect(boxes.map((box) => box.recipient)).toEqual(
            [world.id('dispatcher'), world.id('unit'), world.records.recordsId].sort(),
        );
        const unit = channelFor(genesis, world.id('unit'));
        expect((await world.process('unit', unit, genesis)).opened).toBe(true);
    });

    it('of a standing channel has no incident', async () => {
        const seats = seatsOf(world.directories, world.agency, [world.id('dispatcher'), world.id('unit')]);
        const made = await world.committer('dispatcher').create({ seats, policy: world.policy() }, NOW_MS);
        expect([made.commit.incidentId, made.commit.compartment]).toEqual([NO_INCIDENT, OPERATIONS]);
        const stranger = 'ab'.repeat(16) as never;
        expect(await codeOf(() => seatsOf(world.directories, world.agency, [stranger]))).toBe(
            'E_UNKNOWN_DEVICE',
        );
    });

    it('of a clinical channel needs its legal ground', async () => {
        const plan = { seats: [world.seat('clinician')], policy: world.policy(), compartment: CLINICAL };
        const clinician = world.committer('clinician');
        expect(await codeOf(() => clinician.create(plan, NOW_MS))).toBe('E_AUTH');
        expect((await clinician.create({ ...plan, auth: CONSENT }, NOW_MS)).commit.auth).toEqual(CONSENT);
    });

    it('needs CREATE, and the creator among its members', async () => {
        const seats = [world.seat('dispatcher'), world.seat('unit')];
        const policy = world.policy();
        expect(await codeOf(() => world.committer('unit').create({ seats, policy }, NOW_MS))).toBe('E_AUTHZ');
        expect(await codeOf(() => world.committer('lead').create({ seats, policy }, NOW_MS))).toBe('E_AUTHZ');
    });
});

describe('the next commit', () => {
    it('changes what it is told to, and keeps the rest', async () => {
        const made = await world.commit('dispatcher', dispatcher, {
            reason: REASON_MEMBER,
            admit: [world.seat('lead')],
            remove: new Set([world.id('unit')]),
        });
        const { commit } = made;
        expect(commit.roster.map((e) => e.deviceId)).toEqual(
            [world.id('dispatcher'), world.id('lead')].sort(),
        );
        expect([commit.incidentId, commit.policy, commit.records]).toEqual([
            genesis.commit.incidentId,
            genesis.commit.policy,
            genesis.commit.records,
        ]);
        expect(boxFor(made, world.id('unit'))).toBeNull();
        expect(headOf(commit, world.agency)?.hash).toBe(world.directory.head);
    });

    it('names the newest keys, and a device without a valid one is dormant', async () => {
        const later = NOW_MS + 9 * DAY_MS;
        await world.keysOf('dispatcher').rotate(later);
        await world.publish('dispatcher');
        const { commit } = await world.commit('dispatcher', dispatcher, PERIODIC, later);
        expect(rosterEntry(commit, world.id('unit'))?.kid).toBe(NO_KID);
        const newest = world.book.newest(world.id('dispatcher'))?.kid;
        expect(rosterEntry(commit, world.id('dispatcher'))?.kid).toBe(newest);
    });

    it('drops who expired, whoever commits', async () => {
        await world.enrol('brief', { caps: CAP_SEND, notAfterMs: NOW_MS + HOUR_MS });
        const first = await world.genesis(['dispatcher', 'unit', 'brief']);
        const unit = await world.view('unit', first);
        const later = NOW_MS + 2 * HOUR_MS;
        expect(unit.staleMembers(world.directories, later)).toEqual([
            { recipient: world.id('brief'), code: 'E_EXPIRED' },
        ]);
        const { commit } = await world.commit('unit', unit, { reason: REASON_MEMBER }, later);
        expect(rosterEntry(commit, world.id('brief'))).toBeNull();
    });

    it('drops a records key that was withdrawn, which stays in the policy', async () => {
        const { recordsId } = world.records;
        await world.sign(world.first, { op: 'rec-', recordsId, reason: 'lost', tsMs: NOW_MS });
        expect(await codeOf(() => dispatcher.canSend(world.directories, NOW_MS))).toBe('E_RECORDS');
        const { commit, boxes } = await world.commit('dispatcher', dispatcher, PERIODIC);
        expect([commit.records, commit.policy.records]).toEqual([[], [recordsId]]);
        expect(boxes.map((box) => box.recipient)).not.toContain(recordsId);
    });

    it('gives the records key its classes alone', async () => {
        const box = boxFor(genesis, world.records.recordsId);
        if (box === null) throw new Error('the policy names a records key');
        const { classes } = await openRecordsBox(world.records, genesis.commit, box);
        expect(classes).toEqual(new Map([[DURABLE, dispatcher.secrets(0).get(DURABLE)]]));
        const unit = boxFor(genesis, world.id('unit')) ?? box;
        expect(await codeOf(() => openRecordsBox(world.records, genesis.commit, unit))).toBe('E_RECORDS');
    });

    it('never goes back in time, and takes a new legal ground', async () => {
        const made = await world.commit(
            'dispatcher',
            dispatcher,
            { reason: REASON_CONSENT, auth: CONSENT },
            5,
        );
        expect([made.commit.tsMs, made.commit.auth]).toEqual([NOW_MS, CONSENT]);
    });

    it('is refused as members would refuse it', async () => {
        const unit = await world.view('unit', genesis);
        const admit = { reason: REASON_MEMBER, admit: [world.seat('lead')] } as const;
        expect(await codeOf(() => world.commit('unit', unit, admit))).toBe('E_AUTHZ');
        const long = await DeviceKeys.createGuest(NOW_MS + 5 * HOUR_MS);
        const guests = [long.guestEntry(world.agency, 1 << MEDIA)];
        const vouch = { reason: REASON_MEMBER, guests } as const;
        expect(await codeOf(() => world.commit('dispatcher', dispatcher, vouch))).toBe('E_GUEST');
        const foreign = { agencies: ['ff'.repeat(16) as never], records: [] };
        const policy = { reason: REASON_MEMBER, policy: foreign } as const;
        expect(await codeOf(() => world.commit('dispatcher', dispatcher, policy))).toBe('E_AGENCY');
    });

    it('mixes in the chain, and without it makes an epoch all the same', async () => {
        const unit = channelFor(genesis, world.id('unit'));
        const { directories } = world;
        const nothing = { box: null, boxList: null };
        await unit.processCommit(genesis.commit.signed, nothing, world.keysOf('unit'), directories, {
            nowMs: NOW_MS,
        });
        expect(unit.chain).toBeNull();
        const made = await world.commit('unit', unit, PERIODIC);
        expect((await world.process('dispatcher', dispatcher, made)).opened).toBe(true);
    });
});

describe('a full roster', () => {
    it('is committed within bounds, and lets others have their turn', { timeout: 30_000 }, async () => {
        const big = await World.of('big');
        const names = Array.from({ length: MAX_ROSTER }, (_, n) => `d${n}`);
        for (const name of names) await big.enrol(name, { compartments: 1 });
        let turns = 0;
        const ticking = setInterval(() => turns++, 0);
        const made = await big.genesis(names);
        clearInterval(ticking);
        expect(turns).toBeGreaterThan(10);
        expect(made.boxes).toHaveLength(MAX_ROSTER);
        expect(made.commit.signed.payload.length).toBeLessThan(48 * 1024);
        const sealed = made.boxes.map((box) => [box.recipient, box.kid, box.suite, box.sealed] as const);
        expect(encode(sealed).length + made.commit.signed.payload.length).toBeLessThan(262_144);
        const last = await big.view(`d${MAX_ROSTER - 1}`, made);
        expect(last.epochsHeld()).toEqual([0]);
    });
});
