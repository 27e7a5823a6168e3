import { PMTiles, type RangeResponse, type Source } from 'pmtiles';
import { expect, test } from 'vitest';
import { archive } from './archive.ts';
import { BOUNDS, town } from './geography.ts';

/** The bytes, read by ranges as a browser does. */
function source(bytes: Uint8Array): Source {
    return {
        getKey: () => 'town',
        getBytes: (offset, length): Promise<RangeResponse> =>
            Promise.resolve({ data: new Uint8Array(bytes.subarray(offset, offset + length)).buffer }),
    };
}

test('is the same on every run, and small', () => {
    const [first, second] = [archive(), archive()];
    expect(Buffer.compare(first, second)).toBe(0);
    expect(first.length).toBeLessThan(300_000);
});

test('is read by the library that maps are drawn with', async () => {
    const map = new PMTiles(source(archive()));
    const header = await map.getHeader();
    expect([header.minZoom, header.maxZoom, header.tileType]).toEqual([10, 15, 1]);
    expect([header.minLon, header.minLat, header.maxLon, header.maxLat]).toEqual([...BOUNDS]);
    // The tile at the foot of Quay Street.
    const tile = await map.getZxy(15, 18_124, 11_449);
    expect(new TextDecoder('latin1').decode(tile?.data)).toContain('Quay Street');
    expect(await map.getZxy(15, 1, 1)).toBeUndefined();
});

test('has the streets that the demo’s units walk', () => {
    const walked = town().roads.features.map((road) => JSON.stringify(road.geometry));
    expect(walked.some((road) => road.includes('[19.1234,47.5621],[19.1242,47.5627]'))).toBe(true);
    expect(walked.some((road) => road.includes('[19.1101,47.5702],[19.1109,47.5697]'))).toBe(true);
});
