import { afterEach, expect, test, vi } from 'vitest';

import { BrowserCaptioner } from './captions';

afterEach(() => vi.unstubAllGlobals());

class Local {
    static found = 'available';
    static asked: unknown[] = [];
    static available(asked: unknown): Promise<string> {
        Local.asked.push(asked);
        return Promise.resolve(Local.found);
    }
    get processLocally(): boolean {
        return true;
    }
}

test.each([
    ['available', 'here'],
    ['downloadable', 'fetchable'],
    ['downloading', 'fetchable'],
    ['unavailable', 'never'],
])('a browser that says %s', async (found, state) => {
    Local.found = found;
    Local.asked = [];
    vi.stubGlobal('SpeechRecognition', Local);
    expect(await new BrowserCaptioner().state('es')).toBe(state);
    expect(Local.asked).toEqual([{ langs: ['es'], processLocally: true }]);
});

test('one that could only ask its maker is never used', async () => {
    class Remote {
        static available = () => Promise.resolve('available');
        start(): void {
            throw new Error('it asked its maker');
        }
    }
    vi.stubGlobal('SpeechRecognition', Remote);
    expect(await new BrowserCaptioner().state('en')).toBe('never');
    vi.stubGlobal('SpeechRecognition', undefined);
    expect(await new BrowserCaptioner().state('en')).toBe('never');
});
