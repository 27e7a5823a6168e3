import { describe, expect, test } from 'vitest';
import { Clock } from '~/model/clock.svelte';
import type { Engine } from '~/model/engine';
import * as a from '~/model/sample';
import type { World } from '~/model/world.svelte';
import type { ConsentView } from './call';
import { WorldHost } from './world-host';

const CONSULT = a.consultId(1);
const consent = { state: 'in_force', expiresMs: 10_000 } as ConsentView;

function hostAt(deviceMs: () => number) {
    const clock = new Clock(deviceMs);
    const world = {
        clock,
        consults: new Map([[CONSULT, { channel: a.channelId(1) }]]),
        consents: new Map([[a.channelId(1), consent]]),
    };
    return { clock, host: new WorldHost({} as Engine, world as unknown as World) };
}

describe('consent', () => {
    test('is over when its time is, by the clock of the server', () => {
        let deviceMs = 4_999;
        const { clock, host } = hostAt(() => deviceMs);
        clock.correct(5_000);
        expect(host.consentOf(CONSULT)).toBe(consent);
        deviceMs = 5_000;
        clock.tick();
        expect(host.consentOf(CONSULT)?.state).toBe('over');
    });

    test('of a consult that has none, or that is not known, is none', () => {
        expect(hostAt(() => 0).host.consentOf(a.consultId(2))).toBeNull();
    });
});
