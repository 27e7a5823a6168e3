import { expect, test } from 'vitest';
import { Clock } from './clock.svelte';
import type { Fix } from './engine';
import type { PlaceTrouble } from './handset';
import { channel, channelId, fix, incident, incidentId, snapshot } from './sample';
import { Sharing } from './sharing.svelte';
import { World } from './world.svelte';

function setUp(kept = '') {
    const said: string[] = [];
    const store = new Map([['sharing', kept]]);
    let time = 1_000;
    let paint: () => void = () => undefined;
    const frame = (work: () => void) => void (paint = work);
    const world = new World({ history: () => Promise.resolve([]) }, frame, new Clock(() => time));
    let tell: ((fix: Fix) => void) | null = null;
    let trouble: ((what: PlaceTrouble) => void) | null = null;
    const engine = {
        kept: (name: string) => Promise.resolve(store.get(name) ?? ''),
        keep: (name: string, text: string) => Promise.resolve(void store.set(name, text)),
        position: (at: Fix) => Promise.resolve(void said.push(`place ${at.latE7}`)),
        sharePosition: (id: string, on: boolean) =>
            Promise.resolve(void said.push(`${on ? 'on' : 'off'} ${Number(id)}`)),
    };
    const handset = {
        watchPlace: (t: typeof tell, w: typeof trouble) => {
            [tell, trouble] = [t, w];
            said.push('watch');
            return () => void said.push('rest');
        },
    };
    const sharing = new Sharing(engine, world, handset);
    world.load(
        snapshot({
            channels: [channel(1, { subject: incidentId(7) })],
            incidents: [incident(7)],
        }),
    );
    const pass = (ms: number) => {
        paint();
        time += ms;
        world.clock.tick();
        sharing.check();
    };
    return {
        said,
        store,
        world,
        sharing,
        pass,
        place: (f: Fix) => tell?.(f),
        refuse: () => trouble?.('refused'),
    };
}
const one = channelId(1);

test('tells places while it is on, and says why none comes', async () => {
    const { said, sharing, place, refuse } = setUp();
    await sharing.begin({ channel: one, untilMs: 0, coarseM: 0 });
    place(fix({ latE7: 5 }));
    refuse();
    expect(sharing.trouble).toBe('refused');
    await sharing.end(one);
    expect(said).toEqual(['on 1', 'watch', 'place 5', 'rest', 'off 1']);
    expect([sharing.trouble, sharing.shares]).toEqual([null, []]);
});

test('ends after its hours', async () => {
    const { sharing, pass } = setUp();
    await sharing.begin({ channel: one, untilMs: 5_000, coarseM: 0 });
    pass(3_999);
    expect(sharing.in(one)).not.toBeNull();
    pass(1);
    expect(sharing.in(one)).toBeNull();
});

test.each(['closed', 'cancelled'] as const)('ends when the incident is %s', async (state) => {
    const { sharing, world, pass } = setUp();
    await sharing.begin({ channel: one, untilMs: 0, coarseM: 500 });
    pass(1_000_000);
    expect(sharing.in(one)?.coarseM).toBe(500);
    world.receive([{ kind: 'incident', incident: incident(7, { state }) }]);
    pass(0);
    expect(sharing.in(one)).toBeNull();
});

test('ends when this device is no longer in the channel', async () => {
    const { sharing, world, pass } = setUp();
    await sharing.begin({ channel: one, untilMs: 0, coarseM: 0 });
    world.receive([{ kind: 'channel_gone', channel: one, why: 'left' }]);
    pass(0);
    expect(sharing.shares).toEqual([]);
});

test('goes on over a reload, and is over after one when its time came meanwhile', async () => {
    const { sharing, said, pass } = setUp(JSON.stringify([{ channel: one, untilMs: 2_000, coarseM: 0 }]));
    await sharing.load();
    expect(said).toEqual(['watch']);
    pass(1_000);
    expect(sharing.shares).toEqual([]);
});

test.each(['[{"channel":1}]', '{}', 'not JSON'])('what was kept badly is nothing: %s', async (kept) => {
    const { sharing } = setUp(kept);
    await sharing.load();
    expect(sharing.shares).toEqual([]);
});
