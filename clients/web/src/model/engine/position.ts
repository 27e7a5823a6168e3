/**
 * Sharing one's position: off unless a person turns it on, coarsened here, paced here. Pure. Spec chapter 06.
 *
 * A fix is coarsened before it leaves the device: moved to the middle of a cell of `coarseM`, so that the finer place is
 * nowhere in what is sent. Speed and heading would tell it again, so they are left out then.
 */
import type { Fix } from '../engine';

export const EVERY_MS = 10_000;
/** How often the kept last position is written while sharing: age and place outlive the device. */
export const LAST_POSITION_MS = 60_000;
/** Below this a device stands still, and its position is sent at a quarter of the pace. */
const MOVED_M = 10;
const STILL_FACTOR = 4;
const E7_PER_M = 1e7 / 111_320;

/** The same fix no finer than `coarseM`; 0 leaves it as it is. */
export function coarsen(fix: Fix, coarseM: number): Fix {
    if (coarseM <= 0) return fix;
    const step = Math.max(1, Math.round(coarseM * E7_PER_M));
    const latE7 = middle(fix.latE7, step, 900_000_000);
    // A degree of longitude shrinks towards the poles; the cell does not. By the cell's latitude, not the fix's:
    // otherwise the longitude would tell it.
    const shrink = Math.max(0.01, Math.cos(radians(latE7 / 1e7)));
    const lonE7 = middle(fix.lonE7, Math.max(1, Math.round(step / shrink)), 1_800_000_000);
    return {
        ...fix,
        latE7,
        lonE7,
        accuracyM: Math.max(fix.accuracyM, coarseM),
        coarseM,
        headingDeg: null,
        speedCmS: null,
    };
}

function middle(value: number, step: number, bound: number): number {
    return Math.max(-bound, Math.min(bound, Math.floor(value / step) * step + Math.floor(step / 2)));
}

/** The distance between two places, good to a percent at the distances of a city. */
export function distanceM(
    one: { readonly latE7: number; readonly lonE7: number },
    other: { readonly latE7: number; readonly lonE7: number },
): number {
    const latM = (one.latE7 - other.latE7) / E7_PER_M;
    const shrink = Math.cos(radians((one.latE7 + other.latE7) / 2e7));
    return Math.hypot(latM, ((one.lonE7 - other.lonE7) / E7_PER_M) * shrink);
}

function radians(degrees: number): number {
    return (degrees * Math.PI) / 180;
}

/**
 * Decides which fixes are sent live, and when the last position is written. Standing still, a fix goes out four times
 * as seldom, so that others see the device is alive. Times are of a monotonic clock.
 */
export class Pacer {
    /** The newest fix offered, coarsened: what `last_position` says. */
    newest: Fix | null = null;
    private sent: Fix | null = null;
    private sentMs = -Infinity;
    private keptMs = -Infinity;

    constructor(readonly coarseM: number) {}

    /** A fix from the device: what to send live now, or null. */
    offer(fix: Fix, nowMs: number): Fix | null {
        if (this.newest !== null && fix.fixMs < this.newest.fixMs) return null;
        const coarse = coarsen(fix, this.coarseM);
        this.newest = coarse;
        const moved = this.sent === null || distanceM(coarse, this.sent) >= MOVED_M;
        if (nowMs - this.sentMs < (moved ? EVERY_MS : EVERY_MS * STILL_FACTOR)) return null;
        this.sent = coarse;
        this.sentMs = nowMs;
        return coarse;
    }

    /** Whether the last position is to be written now; asking counts as done. */
    keepDue(nowMs: number): boolean {
        if (this.newest === null || nowMs - this.keptMs < LAST_POSITION_MS) return false;
        this.keptMs = nowMs;
        return true;
    }
}
