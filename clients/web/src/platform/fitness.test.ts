import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { lacks } from './fitness';

/** What a page asked to run. */
let made: string[];

/** Reads its options before it makes anything, as browsers do. */
class ModuleWorker {
    constructor(url: string, options?: WorkerOptions) {
        const type = options?.type;
        made.push(`${type} ${url}`);
    }

    terminate(): void {}
}

class OldWorker {
    constructor(url: string) {
        made.push(url);
    }

    terminate(): void {}
}

beforeEach(() => {
    made = [];
    vi.stubGlobal('isSecureContext', true);
    vi.stubGlobal('navigator', {});
    vi.stubGlobal('location', new URL('https://relay.example/#enrol=1'));
});

afterEach(() => vi.unstubAllGlobals());

describe('module workers', () => {
    it('are found out about without loading anything', async () => {
        vi.stubGlobal('Worker', ModuleWorker);
        expect(await lacks()).not.toContain('workers');
        expect(made).toEqual([]);
    });

    it('are missed in an old browser', async () => {
        vi.stubGlobal('Worker', OldWorker);
        expect(await lacks()).toContain('workers');
    });
});
