import { beforeEach, describe, expect, it } from 'vitest';
import { HOUR_MS, NOW_MS, PERIODIC, type World, body, smallWorld } from '../conformance/world';
import { codeOf } from '../conformance/vectors';
import { REASON_MEMBER } from '../public/commit';
import { type Bytes, type Hex, concat, hex } from '../public/encoding';
import { CAP_ADMIT, DURABLE, EPHEMERAL, MEDIA } from '../public/entries';
import { HEADER_BYTES, parseFrame } from '../public/frame';
import type { Body } from './body';
import { SealedChannel } from './channel';
import type { MadeCommit } from './committer';
import { FrameSender, type OpenedFrame } from './frames';
import { DeviceKeys } from './keys';
import { ReplayState } from './replay';

const SID = hex(new Uint8Array(16).fill(1));
const OTHER_SID = hex(new Uint8Array(16).fill(2));
let world: World;
let genesis: MadeCommit;
let dispatcher: SealedChannel;
let unit: SealedChannel;

beforeEach(async () => {
    world = await smallWorld();
    genesis = await world.genesis(['dispatcher', 'lead', 'unit']);
    dispatcher = await world.view('dispatcher', genesis);
    unit = await world.view('unit', genesis);
});

const open = (frame: Bytes, options = {}): Promise<OpenedFrame> =>
    unit.open(frame, world.directories, options);
const heard = async (frame: Bytes, options = {}): Promise<Body['data']> =>
    (await open(frame, options)).body.data;
const refusal = (frame: Bytes, options = {}): Promise<string | null> => codeOf(() => open(frame, options));

function sender(sid: Hex, keyClass = EPHEMERAL as number, first = 0n): FrameSender {
    const { identity, deviceId } = world.keysOf('dispatcher');
    const secrets = dispatcher.secrets(dispatcher.head.epoch);
    return new FrameSender(identity, deviceId, dispatcher.head, secrets, { keyClass, sid, first });
}

/** As a store would: the head, and each epoch. */
function again(channel: SealedChannel): Promise<SealedChannel> {
    const epochs = [...channel.line.commits.keys()].map((epoch) => channel.exportEpoch(epoch));
    return SealedChannel.restore(channel.exportHead(), epochs);
}

describe('a frame', () => {
    it.each([DURABLE, EPHEMERAL])('of class %i is heard as it was said', async (keyClass) => {
        const frame = await world.say('dispatcher', dispatcher, ['a', Uint8Array.of(1)], { keyClass });
        const opened = await open(frame);
        expect(opened.body.data).toEqual(['a', Uint8Array.of(1)]);
        expect(opened.header.sender).toBe(world.id('dispatcher'));
        expect([opened.oldEpoch, opened.missing]).toEqual([false, 0]);
        expect(new TextDecoder('latin1').decode(frame)).not.toContain('chat');
    });

    it('tells little by its size', async () => {
        const sizes = new Set<number>();
        for (let n = 1; n < 40; n++)
            sizes.add((await world.say('dispatcher', dispatcher, 'x'.repeat(n))).length);
        expect(sizes).toEqual(new Set([228, 164 + 128]));
    });

    const put =
        (at: number, ...bytes: number[]) =>
        (frame: Bytes): Bytes => {
            const changed = frame.slice();
            changed.set(bytes, at);
            return changed;
        };
    const zeros = (count: number): number[] => Array<number>(count).fill(0);
    it.each<[string, string, (frame: Bytes) => Bytes]>([
        ['version', 'E_FORMAT', put(0, 2)],
        ['class media', 'E_FORMAT', put(1, 3)],
        ['other class', 'E_AEAD', put(1, 2)],
        ['suite', 'E_FORMAT', put(2, 2)],
        ['flags', 'E_FORMAT', put(3, 1)],
        ['channel', 'E_FORMAT', put(4, ...zeros(16))],
        ['epoch', 'E_UNKNOWN_EPOCH', put(27, 9)],
        ['epoch beyond any number', 'E_UNKNOWN_EPOCH', put(20, ...Array<number>(8).fill(255))],
        ['commit', 'E_FORK', put(28, ...zeros(16))],
        ['sender', 'E_AUTHZ', put(44, ...zeros(16))],
        ['sid', 'E_AEAD', put(60, ...zeros(16))],
        ['seq', 'E_AEAD', put(83, 7)],
        ['ciphertext', 'E_AEAD', put(HEADER_BYTES, 0, 0, 0, 0)],
        ['last byte gone', 'E_FORMAT', (f) => f.slice(0, -1)],
        ['a bucket gone', 'E_FORMAT', (f) => f.slice(0, -64)],
        ['a bucket more', 'E_AEAD', (f) => concat([f, new Uint8Array(64)])],
    ])('with another %s is %s, and leaves no trace', async (_, code, change) => {
        const good = await world.say('dispatcher', dispatcher);
        const before = unit.exportEpoch(0);
        expect(await refusal(change(good))).toBe(code);
        expect(unit.exportEpoch(0)).toEqual(before);
        expect(await heard(good)).toBe('on my way');
    });

    it('by an insider who speaks as another is refused', async () => {
        const secrets = unit.secrets(0);
        const [mine, theirs] = [world.keysOf('unit').identity, world.id('dispatcher')];
        const forger = new FrameSender(mine, theirs, unit.head, secrets, { keyClass: DURABLE, sid: SID });
        expect(await refusal(await forger.seal(body('send them home')))).toBe('E_SIG');
    });

    it('is not heard from a device without SEND', async () => {
        await world.enrol('listener', { caps: CAP_ADMIT });
        const made = await world.genesis(['dispatcher', 'unit', 'listener']);
        const listener = await world.view('listener', made);
        expect(await codeOf(() => world.say('listener', listener))).toBe('E_AUTHZ');
        const { identity, deviceId } = world.keysOf('listener');
        const secrets = listener.secrets(0);
        const rogue = new FrameSender(identity, deviceId, made.commit, secrets, {
            keyClass: DURABLE,
            sid: SID,
        });
        unit = await world.view('unit', made);
        expect(await refusal(await rogue.seal(body()))).toBe('E_AUTHZ');
    });

    it('is not heard without the directory of who sent it', async () => {
        const frame = await world.say('dispatcher', dispatcher);
        expect(await codeOf(() => unit.open(frame, new Map()))).toBe('E_UNKNOWN_DEVICE');
        expect(await heard(frame)).toBe('on my way');
    });

    it('too large is refused before it is sealed, and takes no counter', async () => {
        const large = new Uint8Array(60_000);
        expect(await codeOf(() => world.say('dispatcher', dispatcher, large))).toBe('E_FORMAT');
        expect(parseFrame(await world.say('dispatcher', dispatcher)).seq).toBe(0n);
    });

    it('of a masked device or guest is heard in its classes alone', async () => {
        const guest = await DeviceKeys.createGuest(NOW_MS + HOUR_MS);
        world.keys.set('guest', guest);
        const entry = guest.guestEntry(world.agency, 1 << DURABLE);
        const made = await world.commit('dispatcher', dispatcher, { reason: REASON_MEMBER, guests: [entry] });
        await world.process('unit', unit, made);
        const visitor = await world.view('guest', genesis, made);
        expect(await heard(await world.say('guest', visitor, 'hello'))).toBe('hello');
        expect(await codeOf(() => world.say('guest', visitor, 'x', { keyClass: EPHEMERAL }))).toBe('E_AUTHZ');
        const stranger = world.keysOf('unit').identity;
        const options = { keyClass: DURABLE, sid: OTHER_SID };
        const forged = new FrameSender(stranger, guest.deviceId, visitor.head, visitor.secrets(1), options);
        expect(await refusal(await forged.seal(body()))).toBe('E_SIG');
    });
});

describe('a sender', () => {
    it('needs a secret, a class of frames and a whole sid', async () => {
        for (const [sid, keyClass, code] of [
            ['' as Hex, DURABLE, 'E_FORMAT'],
            [SID.slice(2) as Hex, DURABLE, 'E_FORMAT'],
            [SID, MEDIA, 'E_FORMAT'],
        ] as const) {
            expect(await codeOf(() => sender(sid, keyClass))).toBe(code);
        }
        const { identity, deviceId } = world.keysOf('dispatcher');
        const options = { keyClass: DURABLE, sid: SID };
        const none = new Map<number, Bytes>();
        const make = (): FrameSender => new FrameSender(identity, deviceId, genesis.commit, none, options);
        expect(await codeOf(() => make())).toBe('E_NO_KEY');
    });

    it('gives each frame a counter of its own, however many are sealed at once', async () => {
        const said = Array.from({ length: 50 }, (_, n) => world.say('dispatcher', dispatcher, n));
        const headers = (await Promise.all(said)).map(parseFrame);
        expect(new Set(headers.map((h) => h.sid)).size).toBe(1);
        expect(headers.map((h) => h.seq)).toEqual(Array.from({ length: 50 }, (_, n) => BigInt(n)));
    });

    it('never takes a counter again when sealing fails half way', async () => {
        const failing = sender(SID, DURABLE);
        const sign = crypto.subtle.sign.bind(crypto.subtle);
        crypto.subtle.sign = () => Promise.reject(new Error('no key store'));
        await expect(failing.seal(body())).rejects.toThrow('no key store');
        crypto.subtle.sign = sign;
        expect(parseFrame(await failing.seal(body())).seq).toBe(1n);
    });

    it('ends with its counter', async () => {
        const last = sender(SID, DURABLE, 2n ** 64n - 1n);
        expect((await open(await last.seal(body()))).missing).toBe(Number(2n ** 64n - 1n));
        expect(await codeOf(() => last.seal(body()))).toBe('E_STATE');
    });

    it('that was restarted never meets its old nonces', async () => {
        const one = parseFrame(await world.say('dispatcher', dispatcher));
        dispatcher = await again(dispatcher);
        const two = parseFrame(await world.say('dispatcher', dispatcher));
        expect(one.sid).not.toBe(two.sid);
        expect([one.seq, two.seq]).toEqual([0n, 0n]);
    });
});

describe('replay', () => {
    it('is refused, now and after a restart; a stored entry is read again', async () => {
        const frame = await world.say('dispatcher', dispatcher);
        await open(frame);
        expect(await refusal(frame)).toBe('E_REPLAY');
        expect(await heard(frame, { again: true })).toBe('on my way');
        unit = await again(unit);
        expect(await refusal(frame)).toBe('E_REPLAY');
    });

    it('of a frame opened twice at once opens it once', async () => {
        const frame = await world.say('dispatcher', dispatcher);
        const codes = await Promise.all([1, 2, 3].map(() => refusal(frame)));
        expect(codes).toEqual([null, 'E_REPLAY', 'E_REPLAY']);
    });

    it('has a window of 64', async () => {
        const frames: Bytes[] = [];
        for (let n = 0; n < 130; n++) frames.push(await world.say('dispatcher', dispatcher, n));
        const at = (n: number): Bytes => frames[n] ?? new Uint8Array(0);
        await open(at(100));
        for (let n = 99; n > 36; n--) expect(await heard(at(n))).toBe(n);
        expect(await refusal(at(36))).toBe('E_REPLAY');
        expect(await heard(at(129))).toBe(129);
        expect(await refusal(at(65))).toBe('E_REPLAY');
        expect(await refusal(at(70))).toBe('E_REPLAY');
    });

    it.each([DURABLE, EPHEMERAL])(
        'a member who counts from far up locks nobody out: class %i',
        async (keyClass) => {
            const frame = await sender(SID, keyClass, 2n ** 64n - 1n).seal(body());
            await open(frame);
            unit = await again(unit);
            expect(await refusal(frame)).toBe('E_REPLAY');
            expect((await again(unit)).exportEpoch(0)).toEqual(unit.exportEpoch(0));
        },
    );

    it('holds so many windows, of which the least used goes first', async () => {
        const state = new ReplayState(3);
        const instances = [1, 2, 3, 4].map((n) => sender(hex(new Uint8Array(16).fill(n)), DURABLE));
        const headers = await Promise.all(instances.map(async (s) => parseFrame(await s.seal(body()))));
        const [busy, second, third, fourth] = headers;
        if (!busy || !second || !third || !fourth) throw new Error('four were sealed');
        for (const header of [busy, second, third]) state.keep(header, body());
        state.keep({ ...busy, seq: 1n }, body());
        state.keep(fourth, body());
        expect(() => state.checkFresh(busy)).toThrow('E_REPLAY');
        expect(() => state.checkFresh(second)).not.toThrow();
        expect(state.exportEpoch(0)).toHaveLength(3);
    });

    it('tells gaps', async () => {
        const frames = [0, 1, 2, 3].map((n) => world.say('dispatcher', dispatcher, n));
        const [first, , , last] = await Promise.all(frames);
        if (first === undefined || last === undefined) throw new Error('four were sealed');
        expect([(await open(first)).missing, (await open(last)).missing]).toEqual([0, 2]);
    });

    it('takes effect in the order of the calls, so that frames opened at once show no gap', async () => {
        const frames = await Promise.all(
            Array.from({ length: 20 }, (_, n) =>
                world.say('dispatcher', dispatcher, n, { keyClass: EPHEMERAL }),
            ),
        );
        const opened = await Promise.all(frames.map((frame) => open(frame)));
        expect(opened.map((o) => o.missing)).toEqual(frames.map(() => 0));
    });

    it('is not held up by a frame that fails', async () => {
        const [one, two] = [
            await world.say('dispatcher', dispatcher),
            await world.say('dispatcher', dispatcher),
        ];
        const bad = one.slice();
        bad[100] = (bad[100] ?? 0) ^ 1;
        const codes = await Promise.all([
            refusal(new Uint8Array(3)),
            refusal(bad),
            refusal(one),
            refusal(two),
        ]);
        expect(codes).toEqual(['E_FORMAT', 'E_AEAD', null, null]);
    });
});

describe('order', () => {
    it('is of ephemeral frames alone, and only when they come', async () => {
        const tab = sender(SID);
        const [older, newer] = [await tab.seal(body()), await tab.seal(body('x', NOW_MS + 1000))];
        await open(newer);
        expect(await refusal(older)).toBe('E_STALE_POSITION');
        expect(await heard(older, { again: true })).toBe('on my way');
        expect(await heard(await world.say('dispatcher', dispatcher, 'late'))).toBe('late');
    });

    it('is that of the calls when several are opened at once', async () => {
        const tab = sender(SID);
        const [older, newer] = [await tab.seal(body(1)), await tab.seal(body(2))];
        expect(await Promise.all([refusal(newer), refusal(older)])).toEqual([null, 'E_STALE_POSITION']);
    });

    it('goes by the counter within one sender and by the clock between two', async () => {
        const [one, two] = [sender(SID), sender(OTHER_SID)];
        const [first, second] = [await one.seal(body(1)), await one.seal(body(2, NOW_MS + 1))];
        const otherTab = await two.seal(body(3, NOW_MS + 5));
        const late = await one.seal(body(4, NOW_MS + 4));
        expect(await heard(second)).toBe(2);
        expect(await refusal(first)).toBe('E_STALE_POSITION');
        expect(await heard(otherTab)).toBe(3);
        expect(await refusal(late)).toBe('E_STALE_POSITION');
    });

    it('does not mind a clock that was set back, and a new epoch wins', async () => {
        const tab = sender(SID);
        await open(await tab.seal(body(1, NOW_MS + 24 * HOUR_MS)));
        expect(await heard(await tab.seal(body(2, NOW_MS)))).toBe(2);
        const leftOver = await tab.seal(body(3, NOW_MS + 48 * HOUR_MS));
        const made = await world.commit('dispatcher', dispatcher, PERIODIC);
        await world.process('dispatcher', dispatcher, made);
        await world.process('unit', unit, made);
        expect(await heard(await sender(OTHER_SID).seal(body(4)))).toBe(4);
        expect(await refusal(leftOver)).toBe('E_STALE_POSITION');
        unit = await again(unit);
        expect(await refusal(leftOver)).toBe('E_STALE_POSITION');
    });
});
