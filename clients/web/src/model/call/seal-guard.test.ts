import { describe, expect, it } from 'vitest';
import { SealGuard } from './seal-guard';

/** A guard that is told the count as it was when the browser was asked, and the one that came later. */
function watched(): (encoded: number, given: number, before?: number) => boolean {
    const guard = new SealGuard();
    let last = 0;
    return (encoded, given, before = last) => {
        last = given;
        return guard.holds(encoded, { before, given });
    };
}

describe('the guard of what is sent', () => {
    it('holds while what was encoded came by the worker', () => {
        const holds = watched();
        expect(holds(0, 0)).toBe(true);
        for (let encoded = 1; encoded < 500; encoded += 7) expect(holds(encoded, encoded + 5)).toBe(true);
    });

    it('does not hold when a first frame left and the worker was given none', () => {
        expect(watched()(1, 0)).toBe(false);
    });

    it('does not hold when frames go past the worker later', () => {
        const holds = watched();
        expect(holds(100, 100)).toBe(true);
        expect(holds(105, 100)).toBe(true);
        expect(holds(130, 100)).toBe(true);
        expect(holds(160, 100)).toBe(true);
        expect(holds(190, 100)).toBe(false);
    });

    it('does not hold when most frames go past the worker', () => {
        const holds = watched();
        expect(holds(30, 30)).toBe(true);
        expect(holds(60, 40)).toBe(true);
        expect(holds(90, 50)).toBe(true);
        expect(holds(120, 60)).toBe(false);
    });

    it('does not hold when more than half of the frames go past the worker', () => {
        const holds = watched();
        expect(holds(30, 30)).toBe(true);
        expect(holds(60, 44)).toBe(true);
        expect(holds(90, 58)).toBe(true);
        expect(holds(120, 72)).toBe(false);
    });

    it('does not hold when frames go past the worker behind an answer that came late', () => {
        const holds = watched();
        expect(holds(100, 180)).toBe(true);
        for (const encoded of [200, 230]) expect(holds(encoded, 180)).toBe(true);
        expect(holds(260, 180)).toBe(false);
    });

    it('holds while nothing is sent, and when sending goes on', () => {
        const holds = watched();
        expect(holds(50, 52)).toBe(true);
        expect(holds(50, 52)).toBe(true);
        expect(holds(90, 91)).toBe(true);
    });

    it('holds when answers came late, and the ones after them in time', () => {
        // Of five browsers on two cores: 2.8 s passed between a count and its answer.
        const holds = watched();
        expect(holds(1066, 1081)).toBe(true);
        expect(holds(1093, 1146)).toBe(true);
        expect(holds(1146, 1289)).toBe(true);
        expect(holds(1288, 1325)).toBe(true);
        expect(holds(1315, 1330)).toBe(true);
        expect(holds(1340, 1355)).toBe(true);
    });

    it('holds when several counts were taken before an answer came', () => {
        const holds = watched();
        expect(holds(100, 110, 90)).toBe(true);
        // The pages looked thrice before any of these answers was there.
        expect(holds(200, 320, 110)).toBe(true);
        expect(holds(215, 321, 110)).toBe(true);
        expect(holds(230, 322, 110)).toBe(true);
        expect(holds(310, 330, 322)).toBe(true);
    });
});
