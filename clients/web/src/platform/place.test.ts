import { expect, test } from 'vitest';
import { fixOf } from './place';

function position(coords: Partial<GeolocationCoordinates>): GeolocationPosition {
    const all = {
        latitude: 0,
        longitude: 0,
        accuracy: 1,
        altitude: null,
        altitudeAccuracy: null,
        heading: null,
    };
    return { coords: { ...all, speed: null, ...coords }, timestamp: 5.4 } as GeolocationPosition;
}

test('floats become the integers of spec 06', () => {
    const fix = fixOf(
        position({ latitude: -33.12345678, longitude: 151.2, accuracy: 7.6, heading: 359.9, speed: 1.234 }),
    );
    expect(fix).toEqual({
        latE7: -331234568,
        lonE7: 1512000000,
        accuracyM: 8,
        fixMs: 5,
        coarseM: 0,
        headingDeg: 0,
        speedCmS: 123,
        batteryPercent: null,
    });
});

test('what a receiver does not know, or knows wildly, stays in its range', () => {
    const fix = fixOf(position({ accuracy: 1e9, heading: NaN, speed: 9_999 }));
    expect([fix.accuracyM, fix.headingDeg, fix.speedCmS]).toEqual([100_000, null, 20_000]);
});
