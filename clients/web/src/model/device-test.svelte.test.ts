import { beforeEach, describe, expect, it } from 'vitest';
import { DeviceTest, LOOK_MS, PATIENCE_MS } from './device-test.svelte';
import type { PagePath } from './on-call';
import { pageId } from './sample';

let later: (() => void) | null;
let answers: (readonly PagePath[] | Error)[];
let said: string[];
let key: string;
let test: DeviceTest;

const path = (of: PagePath['path'], state: PagePath['state']): PagePath => ({
    path: of,
    state,
    atMs: 0,
    attempts: 1,
});

beforeEach(() => {
    later = null;
    answers = [];
    said = [];
    key = 'key';
    const engine = {
        testPage: () => Promise.resolve(pageId(1)),
        pagePaths: () => {
            const answer = answers.shift() ?? [];
            return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
        },
        pushKey: () => Promise.resolve(key),
        pushSubscribed: () => Promise.resolve(void said.push('subscribed')),
    };
    const device = {
        armSound: () => Promise.resolve(!!said.push('armed')),
        sound: () => void said.push('sound'),
        push: () => Promise.resolve('on' as const),
        subscribePush: () => Promise.resolve({ endpoint: 'x' }),
    };
    test = new DeviceTest(engine, device, (work, ms) => {
        expect(ms).toBe(LOOK_MS);
        later = work;
        return () => (later = null);
    });
});

const isWaiting = (): boolean => later !== null;

/** Let it look once more; false: it looks no more. */
async function look(): Promise<boolean> {
    const work = later;
    later = null;
    work?.();
    for (let n = 0; n < 4; n += 1) await Promise.resolve();
    return isWaiting();
}

describe('the sound', () => {
    it('is what the person says of it', async () => {
        await test.play();
        expect([said, test.sound]).toEqual([['armed', 'sound'], 'asking']);
        test.heard(false);
        expect(test.sound).toBe('unheard');
        test.heard(true);
        expect(test.sound).toBe('heard');
    });
});

describe('notifications', () => {
    it('are subscribed to, or said to be none of this server', async () => {
        await test.notify();
        expect([said, test.push]).toEqual([['subscribed'], 'on']);
        key = '';
        await test.notify();
        expect(test.push).toBe('none');
    });
});

describe('a test page', () => {
    it('arrived once a device has it; ways that are still under way are looked at', async () => {
        answers = [
            [path('socket', 'sent'), path('push', 'queued')],
            [path('socket', 'delivered'), path('push', 'sent')],
            new Error('offline'),
            [path('socket', 'seen'), path('push', 'delivered')],
        ];
        await test.sendPage();
        expect(await look()).toBe(true);
        expect(test.page).toBe('waiting');
        expect(await look()).toBe(true);
        expect(test.page).toBe('arrived');
        expect(await look()).toBe(true);
        expect(test.paths.map((one) => one.state)).toEqual(['delivered', 'sent']);
        expect(await look()).toBe(false);
        expect(test.paths.map((one) => one.state)).toEqual(['seen', 'delivered']);
    });

    it('is said not to have come after a minute, and not before', async () => {
        await test.sendPage();
        for (let ms = LOOK_MS; ms < PATIENCE_MS; ms += LOOK_MS) {
            expect(await look()).toBe(true);
            expect(test.page).toBe('waiting');
        }
        expect(await look()).toBe(false);
        expect(test.page).toBe('nothing');
    });

    it('arrived when it rings here, and not when another one does', async () => {
        await test.sendPage();
        test.rang(pageId(2));
        expect(test.page).toBe('waiting');
        test.rang(pageId(1));
        expect(test.page).toBe('arrived');
    });

    it('is no longer looked at once the screen is gone', async () => {
        await test.sendPage();
        test.stop();
        expect(later).toBeNull();
    });
});
