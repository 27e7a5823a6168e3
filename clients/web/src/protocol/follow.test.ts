import { describe, expect, test } from 'vitest';
import { Follower, type FollowStep } from '~/protocol/follow';
import { address, asId, type MessageId, NO_KEY, SERVER_DEVICE } from '~/protocol/ids';
import type { Entry } from '~/protocol/messages';
import { readVectors, type Vectors } from '~/protocol/read-vectors';

type Pair = readonly [number, number];
interface Case {
    readonly position: Pair;
    readonly inputs: readonly (readonly [object, readonly unknown[]])[];
    readonly end: Pair;
}
const vectors = readVectors('follow') as Vectors<Case, Case>;

const LOG = address('content', asId('11'.repeat(16)));

const entry = (offset: number): Entry => ({
    offset,
    lane: 1,
    key: NO_KEY,
    device: SERVER_DEVICE,
    id: '22'.repeat(16) as MessageId,
    atMs: 0,
    payload: new Uint8Array(0),
    urgency: 0,
    mark: 0,
    hash: new Uint8Array(0),
});

function written(step: FollowStep): unknown {
    switch (step.kind) {
        case 'take':
            return {
                take: [step.entries.map((e) => e.offset), [step.position.generation, step.position.offset]],
            };
        case 'trimmed':
            return { trimmed: [step.since, step.floor] };
        case 'dropped':
            return {
                dropped: [
                    [step.before.generation, step.before.offset],
                    [step.position.generation, step.position.offset],
                ],
            };
        case 'again':
            return { again: true };
        case 'caught_up':
            return { caught_up: step.head };
    }
}

function put(follower: Follower, input: object): readonly FollowStep[] {
    const [name, value] = Object.entries(input)[0] as [string, unknown];
    switch (name) {
        case 'subscribe': {
            const position = follower.subscribe();
            expect([position.generation, position.offset]).toEqual(value);
            return [];
        }
        case 'subscribed': {
            const [status, generation, head, floor] = value as [number, number, number, number];
            return follower.onSubscribed({ status, generation, head, floor });
        }
        case 'batch': {
            const [after, to, offsets] = value as [number, number, number[]];
            return follower.onBatch({ after, to, entries: offsets.map(entry) });
        }
        case 'head':
            return follower.onHead(value as number);
        case 'unnamed':
            return follower.onUnnamed();
        case 'overflow':
            return follower.onOverflow();
        case 'disconnected':
            follower.onDisconnected();
            return [];
        case 'refused':
            follower.onRefused();
            return [];
        default:
            throw new Error(`the vectors have an input that this test does not know: ${name}`);
    }
}

describe('the vectors of following', () => {
    const cases = [...vectors.valid, ...vectors.invalid];
    test.each(cases.map((c) => [c.name, c] as const))('%s', (_, vector) => {
        const [generation, offset] = vector.position;
        const follower = new Follower(LOG, { generation, offset });
        for (const [input, steps] of vector.inputs) {
            expect(put(follower, input).map(written)).toEqual(steps);
        }
        expect([follower.position.generation, follower.position.offset]).toEqual(vector.end);
    });
});
