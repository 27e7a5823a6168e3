/** When a channel is all here: what the server named as its head was read, also what waited for its keys. */
import { expect, test } from 'vitest';

import { FakeClock, settle } from '~/link/testing/doubles';
import type { ChannelAddress, DeviceId, MessageId } from '~/protocol/ids';
import type { Batch, Entry } from '~/protocol/messages';
import { SealingError } from '~/sealing/errors';

import type { History } from '../ports';
import type { Chain } from './chain';
import { ChannelFollow, type FollowListener } from './follow';
import { Life } from './life';

const LOGS = { epochsLog: 'epochs', grantsLog: 'grants', contentLog: 'content' } as unknown as Pick<
    Chain,
    'epochsLog' | 'grantsLog' | 'contentLog'
>;

function batch(channel: ChannelAddress, after: number, to: number): Batch {
    const entries = Array.from(
        { length: to - after },
        (_, place) =>
            ({ offset: after + place + 1, device: 'd' as DeviceId, id: `m${place}` as MessageId }) as Entry,
    );
    return { kind: 'batch', channel, after, to, entries };
}

test('a channel is not all here while what arrived waits for its keys', async () => {
    const chain = {
        ...LOGS,
        epoch: -1,
        stopped: '',
        seen: { seq: 0, hash: '' },
        sync: () => Promise.resolve(),
        takeEpochs() {
            this.epoch = 0;
            return Promise.resolve();
        },
        async *reopen() {},
        read(entry: Entry) {
            return this.epoch < 0
                ? Promise.reject(new SealingError('E_UNKNOWN_EPOCH', 'its commit has still to come'))
                : Promise.resolve({ entry, body: null, content: null, code: '' });
        },
    };
    const history = { place: () => Promise.resolve(null), take: () => Promise.resolve() };
    const seen = { read: 0, early: [] as boolean[], caughtUp: 0 };
    const listener: Partial<FollowListener> = {
        pressing: () => {
            seen.early.push(follow.caughtUp);
            return [];
        },
        readings: (readings) => {
            seen.read += readings.length;
            seen.early.push(follow.caughtUp);
            return Promise.resolve();
        },
        chained: () => seen.early.push(follow.caughtUp),
        caughtUp: () => seen.caughtUp++,
        newest: () => undefined,
    };
    const life = new Life(
        new FakeClock(),
        (error) => {
            throw error;
        },
        () => Promise.resolve(),
    );
    const heads: Record<string, number> = { epochs: 1, grants: 0, content: 2 };
    const follow: ChannelFollow = await ChannelFollow.restore(
        life,
        chain as unknown as Chain,
        history as unknown as History,
        (log) => {
            const head = heads[log] ?? 0;
            const answer = {
                kind: 'subscribed',
                req: 1,
                channel: log,
                status: 0,
                generation: 7,
                head,
                floor: 0,
            } as const;
            follow.push(log, answer);
            return Promise.resolve(answer);
        },
        listener as FollowListener,
    );
    life.begin(() => follow.run());
    follow.up();
    await settle();
    follow.push(LOGS.contentLog, batch(LOGS.contentLog, 0, 2));
    await settle();
    expect([seen.read, follow.caughtUp]).toEqual([0, false]);
    follow.push(LOGS.epochsLog, batch(LOGS.epochsLog, 0, 1));
    await settle();
    expect(seen).toEqual({ read: 2, early: [false, false, false], caughtUp: 1 });
    expect(follow.caughtUp).toBe(true);
    follow.push(LOGS.contentLog, batch(LOGS.contentLog, 2, 3));
    await settle();
    expect([seen.read, seen.caughtUp, follow.caughtUp]).toEqual([3, 1, true]);
    life.end();
});
