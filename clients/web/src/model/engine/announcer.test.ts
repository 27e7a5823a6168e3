import { expect, test } from 'vitest';
import type { EngineEvent } from '../engine';
import { channelId, status, text } from '../sample';
import { Announcer } from './announcer';

const HERE = channelId(1);
const row: EngineEvent = { kind: 'row', row: text(1, { channel: HERE }) };
const said: EngineEvent = { kind: 'status', status: status(1, { channel: HERE }) };

/** What the screen hears of these, put within one moment. */
function heard(...events: readonly EngineEvent[]): readonly EngineEvent[] {
    const batches: (readonly EngineEvent[])[] = [];
    const announcer = new Announcer(() => undefined);
    announcer.start((batch) => batches.push(batch));
    for (const event of events) announcer.put(event);
    announcer.flush();
    return batches.flat();
}

test('of two values of one thing the newest is told', () => {
    const later: EngineEvent = { kind: 'row', row: text(1, { channel: HERE, text: 'later' }) };
    expect(heard(row, said, later)).toEqual([said, later]);
});

test('a channel that begins anew loses its rows, and nothing of the present', () => {
    const reset: EngineEvent = { kind: 'reset', channel: HERE };
    expect(heard(row, said, reset)).toEqual([said, reset]);
});

test('of a channel that is gone nothing is told behind the news of it', () => {
    const gone: EngineEvent = { kind: 'channel_gone', channel: HERE, why: 'left' };
    expect(heard(row, said, gone)).toEqual([gone]);
});
