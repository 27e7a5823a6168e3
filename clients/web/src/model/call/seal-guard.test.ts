import { describe, expect, it } from 'vitest';
import { SealGuard } from './seal-guard';

describe('the guard of what is sent', () => {
    it('holds while what was encoded came by the worker', () => {
        const guard = new SealGuard();
        expect(guard.holds(0, 0)).toBe(true);
        for (let encoded = 1; encoded < 500; encoded += 7)
            expect(guard.holds(encoded, encoded + 5)).toBe(true);
    });

    it('does not hold when a first frame left and the worker was given none', () => {
        expect(new SealGuard().holds(1, 0)).toBe(false);
    });

    it('does not hold when frames go past the worker later', () => {
        const guard = new SealGuard();
        expect(guard.holds(100, 100)).toBe(true);
        expect(guard.holds(105, 100)).toBe(true);
        expect(guard.holds(130, 100)).toBe(true);
        expect(guard.holds(160, 100)).toBe(false);
    });

    it('does not hold when most frames go past the worker', () => {
        const guard = new SealGuard();
        expect(guard.holds(30, 30)).toBe(true);
        expect(guard.holds(60, 40)).toBe(true);
        expect(guard.holds(90, 50)).toBe(false);
    });

    it('holds while nothing is sent, and when sending goes on', () => {
        const guard = new SealGuard();
        expect(guard.holds(50, 52)).toBe(true);
        expect(guard.holds(50, 52)).toBe(true);
        expect(guard.holds(90, 91)).toBe(true);
    });
});
