import { expect, test } from 'vitest';

import { consultId } from '~/model/sample';
import type { CallModel } from './call';
import { LazyCall } from './lazy-call.svelte';

const CONSULT = consultId(1);

class Real {
    consult: string | null = null;
    phase = 'off';
    readonly asked: string[] = [];
    open(consult: string): void {
        this.consult = consult;
        this.asked.push('open');
    }
    close(): void {
        this.asked.push('close');
    }
    test(): Promise<void> {
        this.asked.push('test');
        return Promise.resolve();
    }
    join(): Promise<void> {
        this.asked.push('join');
        this.phase = 'live';
        return Promise.resolve();
    }
    leave(): void {
        this.asked.push('leave');
    }
}

function lazy() {
    const real = new Real();
    let come: () => void = () => undefined;
    let fail: () => void = () => undefined;
    const waiting = new Promise<CallModel>((resolve, reject) => {
        come = () => resolve(real as unknown as CallModel);
        fail = () => reject(new Error('gone'));
    });
    let loads = 0;
    const call = new LazyCall(
        () => {
            loads += 1;
            return waiting;
        },
        () => 5_000,
    );
    return { call, real, come, fail, loads: () => loads };
}
const HOW = { person: false, signs: false };

test('nothing is loaded until a call is opened, and then once', async () => {
    const { call, real, come, loads } = lazy();
    expect([call.phase, loads()]).toEqual(['off', 0]);
    call.open(CONSULT);
    expect(call.consult).toBe(CONSULT);
    const joined = call.join(HOW);
    expect([call.phase, call.sinceMs]).toEqual(['joining', 5_000]);
    come();
    await joined;
    expect([call.phase, loads()]).toEqual(['live', 1]);
    expect(real.asked).toEqual(['open', 'join']);
});

test('what was stopped meanwhile is not begun', async () => {
    const { call, real, come } = lazy();
    call.open(CONSULT);
    const joined = call.join(HOW);
    call.leave();
    expect([call.phase, call.why]).toEqual(['ended', 'left']);
    come();
    await joined;
    expect(real.asked).toEqual(['open']);
});

test('one that cannot be loaded says so, and is tried again when asked', async () => {
    const { call, fail, loads } = lazy();
    fail();
    call.open(CONSULT);
    await call.join(HOW);
    expect([call.phase, call.why, call.consult]).toEqual(['failed', 'unavailable', CONSULT]);
    await expect(call.withdrawConsent()).rejects.toThrow('gone');
    expect(loads()).toBeGreaterThan(1);
});
