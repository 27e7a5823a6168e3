import { describe, expect, it } from 'vitest';
import { Restriction, SAY_AGAIN_MS, SURE_MS } from './restriction';

describe('whom media may reach', () => {
    it('is not spoken of while the channel and the bridge agree', () => {
        const watch = new Restriction();
        expect(watch.look(true, false, 0)).toBeNull();
        expect(watch.look(false, true, 1)).toBeNull();
    });

    it('is said at once when a consent ends, and until the bridge holds it', () => {
        const watch = new Restriction();
        watch.look(true, false, 0);
        expect(watch.look(false, false, 100)).toBe(true);
        expect(watch.look(false, false, 200)).toBeNull();
        expect(watch.look(false, false, 100 + SAY_AGAIN_MS)).toBe(true);
        expect(watch.look(false, true, 200 + SAY_AGAIN_MS)).toBeNull();
    });

    it('is said again when the room forgot it', () => {
        const watch = new Restriction();
        watch.look(false, true, 0);
        expect(watch.look(false, false, 1)).toBe(true);
    });

    it('is lifted at once by whoever saw the newer consent come', () => {
        const watch = new Restriction();
        watch.look(false, true, 0);
        expect(watch.look(true, true, 1)).toBe(false);
        expect(watch.look(true, true, 2)).toBeNull();
        expect(watch.look(true, true, 1 + SAY_AGAIN_MS)).toBe(false);
        expect(watch.look(true, false, 2 + SAY_AGAIN_MS)).toBeNull();
    });

    it('is not lifted by who may not have read the withdrawal yet', () => {
        const watch = new Restriction();
        watch.look(true, false, 0);
        // Somebody else read it, and said so.
        expect(watch.look(true, true, 1)).toBeNull();
        expect(watch.look(false, true, 500)).toBeNull();
        expect(watch.look(true, true, 600)).toBe(false);
    });

    it('is lifted in the end where nobody else is there to do it', () => {
        const watch = new Restriction();
        expect(watch.look(true, true, 0)).toBeNull();
        expect(watch.look(true, true, SURE_MS - 1)).toBeNull();
        expect(watch.look(true, true, SURE_MS)).toBe(false);
    });
});
