/** Vector tiles of the town in one PMTiles file (version 3), byte for byte the same on every run. */
import { gzipSync } from 'node:zlib';
import { GeoJSONVT } from '@maplibre/geojson-vt';
import { fromGeojsonVt } from '@maplibre/vt-pbf';
import { zxyToTileId } from 'pmtiles';
import { BOUNDS, MIDDLE, town, type LayerName } from './geography.ts';

const LEAST_ZOOM = 10;
const MOST_ZOOM = 15;
/** What is too small to see below a zoom is left out of it. */
const FROM_ZOOM: Readonly<Record<LayerName, number>> = {
    earth: LEAST_ZOOM,
    water: LEAST_ZOOM,
    landuse: 12,
    roads: 11,
    buildings: 14,
    places: LEAST_ZOOM,
};
const HEADER_BYTES = 127;
const GZIP = 2;
const MVT = 1;

interface Tile {
    readonly id: number;
    readonly bytes: Uint8Array;
}

function tiles(): Tile[] {
    const layers = Object.entries(town()).map(
        ([name, data]) =>
            [
                name as LayerName,
                new GeoJSONVT(data, {
                    maxZoom: MOST_ZOOM,
                    indexMaxZoom: MOST_ZOOM,
                    tolerance: 3,
                    buffer: 64,
                }),
            ] as const,
    );
    const found: Tile[] = [];
    for (let z = LEAST_ZOOM; z <= MOST_ZOOM; z += 1) {
        const [west, south, east, north] = BOUNDS;
        const [left, right] = [column(west, z), column(east, z)];
        const [top, bottom] = [row(north, z), row(south, z)];
        for (let x = left; x <= right; x += 1) {
            for (let y = top; y <= bottom; y += 1) {
                const here = layers.flatMap(([name, index]) => {
                    const tile = z < FROM_ZOOM[name] ? null : index.getTile(z, x, y);
                    return tile === null ? [] : [[name, tile] as const];
                });
                if (here.length === 0) continue;
                const bytes = gzipSync(
                    fromGeojsonVt(Object.fromEntries(here), { version: 2, extent: 4096 }),
                    { level: 9 },
                );
                found.push({ id: zxyToTileId(z, x, y), bytes });
            }
        }
    }
    return found.sort((a, b) => a.id - b.id);
}

function column(lon: number, z: number): number {
    return Math.floor(((lon + 180) / 360) * 2 ** z);
}

function row(lat: number, z: number): number {
    const y = Math.log(Math.tan(Math.PI / 4 + (lat * Math.PI) / 360));
    return Math.floor(((1 - y / Math.PI) / 2) * 2 ** z);
}

/** LEB128, as the format's directories have it. */
function varints(values: readonly number[]): Uint8Array {
    const bytes: number[] = [];
    for (let value of values) {
        while (value >= 0x80) {
            bytes.push((value % 0x80) | 0x80);
            value = Math.floor(value / 0x80);
        }
        bytes.push(value);
    }
    return Uint8Array.from(bytes);
}

/** The one directory: ids as steps, run lengths of 1, sizes, offsets (0: right behind the one before). */
function directory(found: readonly Tile[]): Uint8Array {
    return varints([
        found.length,
        ...found.map((tile, n) => tile.id - (found[n - 1]?.id ?? 0)),
        ...found.map(() => 1),
        ...found.map((tile) => tile.bytes.length),
        ...found.map((_, n) => (n === 0 ? 1 : 0)),
    ]);
}

export function archive(): Uint8Array {
    const found = tiles();
    const root = gzipSync(directory(found), { level: 9 });
    const metadata = gzipSync(
        JSON.stringify({
            name: 'Leehaven',
            description: 'A town that does not exist.',
            vector_layers: Object.entries(FROM_ZOOM).map(([id, minzoom]) => ({
                id,
                minzoom,
                maxzoom: MOST_ZOOM,
                fields: { kind: 'String', name: 'String' },
            })),
        }),
        { level: 9 },
    );
    const dataBytes = found.reduce((sum, tile) => sum + tile.bytes.length, 0);
    const metadataAt = HEADER_BYTES + root.length;
    const dataAt = metadataAt + metadata.length;
    const header = Buffer.alloc(HEADER_BYTES);
    header.write('PMTiles', 0, 'latin1');
    header[7] = 3;
    const lengths = [HEADER_BYTES, root.length, metadataAt, metadata.length, 0, 0, dataAt, dataBytes];
    for (const [n, value] of [...lengths, found.length, found.length, found.length].entries()) {
        header.writeBigUInt64LE(BigInt(value), 8 + n * 8);
    }
    header.set([1, GZIP, GZIP, MVT, LEAST_ZOOM, MOST_ZOOM], 96);
    for (const [n, value] of BOUNDS.entries()) header.writeInt32LE(Math.round(value * 1e7), 102 + n * 4);
    header[118] = 14;
    for (const [n, value] of MIDDLE.entries()) header.writeInt32LE(Math.round(value * 1e7), 119 + n * 4);
    return Buffer.concat([header, root, metadata, ...found.map((tile) => tile.bytes)]);
}
