import { expect, test } from 'vitest';

import { Awake } from './awake.svelte';
import type { IncidentView, Me } from './engine';
import * as a from './sample';
import { World } from './world.svelte';

const ME = { member: a.memberId(1) } as Me;

function awake(change: Partial<IncidentView>, setting = ''): Awake {
    const world = new World({ history: () => Promise.resolve([]) });
    world.load(
        a.snapshot({
            standing: { kind: 'active', me: ME },
            units: [a.unit(1, { members: [a.memberId(1)] }), a.unit(2, { members: [a.memberId(2)] })],
            incidents: [a.incident(1, { units: [a.unitId(1)], ...change })],
        }),
    );
    return new Awake({ setting: () => setting, keepSetting: () => undefined }, world);
}

test.each([
    [{ state: 'open' }, false],
    [{ state: 'assigned' }, true],
    [{ state: 'on_scene' }, true],
    [{ state: 'closed', closedMs: 1 }, false],
    [{ state: 'assigned', units: [a.unitId(2)] }, false],
] as const)('while the own unit works an incident: %o', (change, wanted) => {
    expect(awake(change).wanted).toBe(wanted);
});

test('not where the person turned it off, and again where they turn it on', () => {
    const off = awake({ state: 'assigned' }, 'off');
    expect(off.wanted).toBe(false);
    off.allow(true);
    expect(off.wanted).toBe(true);
});
