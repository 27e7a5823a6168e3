/**
 * In which sizes a picture is sent: simulcast, the smallest first (spec 09; `LAYERS` of the bridge). The bridge picks for each
 * receiver; what fits none is not sent.
 */
import type { CallMode } from './call';

export interface Layer {
    readonly rid: 'q' | 'h' | 'f';
    readonly active: boolean;
    /** The camera's picture is made smaller by this, at least 1. */
    readonly scale: number;
    readonly maxBps: number;
    readonly maxFps: number;
}

const LADDER = [
    { rid: 'q', lines: 180, maxBps: 150_000 },
    { rid: 'h', lines: 360, maxBps: 500_000 },
    { rid: 'f', lines: 720, maxBps: 1_400_000 },
] as const;
/** A camera of 540 lines fills the largest well enough: its own size goes out. */
const ENOUGH = 0.75;
const FPS = 25;
const SMALL_FPS = 15;

/**
 * The layers for a camera of so many lines (of the shorter side). One that the camera cannot fill is off, and the smallest is
 * always there: a camera of 240 lines sends one picture, as it is.
 */
export function layersFor(lines: number, mode: CallMode): readonly Layer[] {
    const picture = mode === 'video' || mode === 'smaller';
    return LADDER.map(({ rid, lines: wanted, maxBps }) => {
        const fits = rid === 'q' || lines >= wanted * ENOUGH;
        return {
            rid,
            active: picture && fits && (mode === 'video' || rid === 'q'),
            scale: Math.max(1, lines / wanted),
            maxBps,
            maxFps: mode === 'smaller' ? SMALL_FPS : FPS,
        };
    });
}
