/** Where this device is, from the browser's geolocation, as the fix of spec 06. Coarsening is the engine's. */
import type { Fix } from '~/model/engine';
import type { PlaceTrouble } from '~/model/handset';

const LAST_MS = 10 * 60_000;

/** `coords` has floats; spec 06 has integers, in ranges of its own. */
export function fixOf(position: GeolocationPosition): Fix {
    const { latitude, longitude, accuracy, heading, speed } = position.coords;
    return {
        latE7: Math.round(latitude * 1e7),
        lonE7: Math.round(longitude * 1e7),
        accuracyM: Math.min(100_000, Math.max(0, Math.round(accuracy))),
        fixMs: Math.round(position.timestamp),
        coarseM: 0,
        headingDeg: heading === null || Number.isNaN(heading) ? null : Math.round(heading) % 360,
        speedCmS: speed === null || Number.isNaN(speed) ? null : Math.min(20_000, Math.round(speed * 100)),
        batteryPercent: null,
    };
}

export function watchPlace(tell: (fix: Fix) => void, trouble: (what: PlaceTrouble) => void): () => void {
    if (!('geolocation' in navigator)) {
        trouble('missing');
        return () => undefined;
    }
    const id = navigator.geolocation.watchPosition(
        (position) => tell(fixOf(position)),
        (error) => trouble(error.code === error.PERMISSION_DENIED ? 'refused' : 'unavailable'),
        { enableHighAccuracy: true, maximumAge: 5_000, timeout: 30_000 },
    );
    return () => navigator.geolocation.clearWatch(id);
}

/**
 * A place that is there without waiting and without asking: a question about permission on the screen of a person in
 * danger would give them away.
 */
export async function lastPlace(): Promise<Fix | null> {
    if (!('geolocation' in navigator)) return null;
    try {
        const permission = await navigator.permissions.query({ name: 'geolocation' });
        if (permission.state !== 'granted') return null;
    } catch {
        return null;
    }
    return new Promise((resolve) => {
        navigator.geolocation.getCurrentPosition(
            (position) => resolve(fixOf(position)),
            () => resolve(null),
            { maximumAge: LAST_MS, timeout: 2_000 },
        );
    });
}
