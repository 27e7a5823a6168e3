/**
 * Leehaven: a town that does not exist, for trying the map. The same on every run, made of arithmetic.
 *
 * Its layers and their `kind`s are those of the Protomaps basemap (version 4), so that the one style of the client draws
 * this town and an operator's own extract alike. The two streets that the demo's units walk are streets here.
 *
 * Everything is laid out in metres east and north of the middle, and turned into degrees at the end.
 */
import type { Feature, FeatureCollection, Geometry, Position } from 'geojson';

export type LayerName = 'earth' | 'water' | 'landuse' | 'roads' | 'buildings' | 'places';
export type Town = Readonly<Record<LayerName, FeatureCollection>>;

/** The middle of the town, and how far it reaches from there. */
export const MIDDLE: Position = [19.119, 47.565];
const HALF_M = 2_200;
/** Metres in a degree at this latitude. */
const LAT_M = 111_195;
const LON_M = LAT_M * Math.cos((47.565 * Math.PI) / 180);

/** The demo's tracks (clients/python/leeside/demo/drill.py), longitude first. */
const QUAY: readonly Position[] = [
    [19.1234, 47.5621],
    [19.1242, 47.5627],
    [19.1251, 47.5634],
    [19.1263, 47.564],
    [19.1278, 47.5644],
];
const MILL: readonly Position[] = [
    [19.1101, 47.5702],
    [19.1109, 47.5697],
    [19.1114, 47.569],
    [19.1122, 47.5684],
    [19.1127, 47.5677],
];

/** Streets lie along the quay, and across it. */
const ANGLE = (38 * Math.PI) / 180;
const [ALONG_X, ALONG_Y] = [Math.cos(ANGLE), Math.sin(ANGLE)];

type Metres = readonly [x: number, y: number];

const metres = ([lon = 0, lat = 0]: Position): Metres => [
    (lon - (MIDDLE[0] ?? 0)) * LON_M,
    (lat - (MIDDLE[1] ?? 0)) * LAT_M,
];
const degrees = ([x, y]: Metres): Position => [
    round((MIDDLE[0] ?? 0) + x / LON_M),
    round((MIDDLE[1] ?? 0) + y / LAT_M),
];
const round = (value: number): number => Math.round(value * 1e6) / 1e6;
/** A place by its distance along the quay's direction and inland from it; the start of the quay is the origin. */
const START = metres(QUAY[0] ?? [0, 0]);
const at = (along: number, inland: number): Metres => [
    START[0] + along * ALONG_X - inland * ALONG_Y,
    START[1] + along * ALONG_Y + inland * ALONG_X,
];

/** A number from 0 to 1 that is the same for the same two numbers. */
function chance(a: number, b: number): number {
    const x = Math.sin(a * 127.1 + b * 311.7) * 43_758.5453;
    return x - Math.floor(x);
}

// ---- water

/** Where the river's middle is, for a distance inland: it comes from the hills and widens into the harbour. */
const riverAlong = (inland: number): number => -420 + 130 * Math.sin(inland / 380) + inland * 0.12;
const riverWidth = (inland: number): number => 42 + 70 * Math.exp(-Math.max(0, inland + 80) / 160);
const SHORE = -70;

function inRiver(along: number, inland: number, margin = 0): boolean {
    return inland > SHORE - 200 && Math.abs(along - riverAlong(inland)) < riverWidth(inland) + margin;
}

function water(): Feature[] {
    const bank = (side: number): Position[] => {
        const found: Position[] = [];
        for (let inland = SHORE - 40; inland <= 3_200; inland += 40) {
            found.push(degrees(at(riverAlong(inland) + side * riverWidth(inland), inland)));
        }
        return found;
    };
    const river = [...bank(-1), ...bank(1).reverse()];
    const shore: Position[] = [];
    for (let along = -3_200; along <= 3_200; along += 80) {
        shore.push(
            degrees(
                at(along, SHORE + 14 * Math.sin(along / 130) - (along < -900 ? (along + 900) * 0.15 : 0)),
            ),
        );
    }
    const sea = [...shore, degrees(at(3_200, -3_400)), degrees(at(-3_200, -3_400))];
    const basin = [at(620, SHORE - 20), at(620, 20), at(900, 20), at(900, SHORE - 20)].map(degrees);
    return [
        polygon(river, { kind: 'river', name: 'Lee' }),
        polygon(sea, { kind: 'ocean', name: 'Lee Roads' }),
        polygon(basin, { kind: 'basin', name: 'Inner Basin' }),
    ];
}

// ---- streets

const ALONG_NAMES = [
    'Quay Street',
    'Ropewalk',
    'Chandler Street',
    'High Street',
    'Chapel Street',
    'Weaver Street',
    'Garden Road',
    'Orchard Road',
    'Upper Road',
    'Moor Road',
];
const ACROSS_NAMES = [
    'Lighthouse Lane',
    'Cooper Lane',
    'Salt Lane',
    'Bell Lane',
    'Mill Lane',
    'Bridge Street',
    'Ferry Road',
    'Market Lane',
    'Station Road',
    'Tanner Lane',
    'School Lane',
    'Chapel Hill',
    'Heron Lane',
    'Larch Lane',
    'Kiln Lane',
    'Pilot Lane',
];
const ROW_M = 130;
const COLUMN_M = 170;
const FIRST_COLUMN = -1_360;

interface Street {
    readonly name: string;
    readonly kind: 'major_road' | 'minor_road';
    readonly bridge: boolean;
    readonly line: readonly (readonly [along: number, inland: number])[];
}

function streets(): Street[] {
    const found: Street[] = [];
    const bend = (n: number): number => 9 * Math.sin(n * 1.7);
    for (const [row, name] of ALONG_NAMES.entries()) {
        const line: [number, number][] = [];
        for (let along = -1_500; along <= 1_500; along += 30) {
            // The quay itself is the demo's track, which is not quite straight.
            line.push([along, row * ROW_M + (row === 0 ? 0 : bend(row) * Math.sin(along / 400))]);
        }
        const major = row === 3 || row === 8;
        found.push({ name, kind: major ? 'major_road' : 'minor_road', bridge: row === 0 || major, line });
    }
    for (const [column, name] of ACROSS_NAMES.entries()) {
        const along = FIRST_COLUMN + column * COLUMN_M;
        const line: [number, number][] = [];
        const end = (ALONG_NAMES.length - 1) * ROW_M + (column % 3 === 0 ? 260 : 0);
        for (let inland = 0; inland <= end; inland += 30) {
            line.push([along + bend(column) * Math.sin(inland / 300), inland]);
        }
        found.push({ name, kind: column === 8 ? 'major_road' : 'minor_road', bridge: false, line });
    }
    return found;
}

/** In pieces that do not lie in water, unless there is a bridge. */
function dry(street: Street): Position[][] {
    if (street.bridge) return [street.line.map(([along, inland]) => degrees(at(along, inland)))];
    const pieces: Position[][] = [[]];
    for (const [along, inland] of street.line) {
        if (inRiver(along, inland, 12)) pieces.push([]);
        else pieces.at(-1)?.push(degrees(at(along, inland)));
    }
    return pieces.filter((piece) => piece.length > 1);
}

function roads(): Feature[] {
    const found = streets().flatMap((street) =>
        dry(street).map((piece) => line(piece, { kind: street.kind, name: street.name })),
    );
    found.push(line(QUAY, { kind: 'minor_road', name: 'Quay Street' }));
    found.push(line(MILL, { kind: 'minor_road', name: 'Mill Rise' }));
    const rail: Position[] = [];
    for (let along = -2_600; along <= 2_600; along += 60) {
        rail.push(degrees(at(along, 1_290 + 90 * Math.sin(along / 900))));
    }
    found.push(line(rail, { kind: 'rail' }));
    const ring: Position[] = [];
    for (let along = -2_700; along <= 2_700; along += 60) {
        ring.push(degrees(at(along, 1_560 + 160 * Math.cos(along / 1_100))));
    }
    found.push(line(ring, { kind: 'highway', name: 'Northern Road' }));
    for (const [x, y] of [
        [900, 500],
        [1_000, 700],
    ] as const) {
        found.push(line([at(x, y), at(x + 60, y + 40), at(x + 120, y + 20)].map(degrees), { kind: 'path' }));
    }
    return found;
}

// ---- what stands between

const GREEN: readonly (readonly [
    column: number,
    row: number,
    columns: number,
    rows: number,
    kind: string,
    name: string,
])[] = [
    [2, 5, 2, 2, 'park', 'Weavers Park'],
    [10, 2, 1, 1, 'park', 'Chandler Green'],
    [12, 6, 2, 1, 'cemetery', 'Upper Cemetery'],
    [11, 4, 2, 1, 'hospital', 'Leehaven General Hospital'],
    [7, 7, 1, 1, 'school', 'Orchard School'],
    [0, 0, 3, 1, 'industrial', 'West Yard'],
    [14, 0, 1, 2, 'industrial', 'East Yard'],
];

/** A block's corners, `inset` metres from the middle of the streets around it. */
function block(column: number, row: number, columns = 1, rows = 1, inset = 10): Metres[] {
    const [left, right] = [
        FIRST_COLUMN + column * COLUMN_M + inset,
        FIRST_COLUMN + (column + columns) * COLUMN_M - inset,
    ];
    const [low, high] = [row * ROW_M + inset, (row + rows) * ROW_M - inset];
    return [at(left, low), at(right, low), at(right, high), at(left, high)];
}

function landuse(): Feature[] {
    const found = GREEN.map(([column, row, columns, rows, kind, name]) =>
        polygon(block(column, row, columns, rows).map(degrees), { kind, name }),
    );
    const wood = [at(-2_400, 1_750), at(-900, 1_720), at(-700, 2_400), at(-2_400, 2_500)];
    found.push(polygon(wood.map(degrees), { kind: 'forest', name: 'Lee Wood' }));
    return found;
}

function buildings(): Feature[] {
    const found: Feature[] = [];
    const open = new Set(
        GREEN.filter(([, , , , kind]) => kind === 'park' || kind === 'cemetery').flatMap(
            ([column, row, columns, rows]) =>
                Array.from(
                    { length: columns * rows },
                    (_, n) => `${column + (n % columns)} ${row + Math.floor(n / columns)}`,
                ),
        ),
    );
    for (let column = 0; column < ACROSS_NAMES.length - 1; column += 1) {
        for (let row = 0; row < ALONG_NAMES.length - 1; row += 1) {
            if (open.has(`${column} ${row}`)) continue;
            for (let side = 0; side < 2; side += 1) {
                for (let plot = 0; plot < 4; plot += 1) {
                    const seed = column * 100 + row * 10 + side * 5 + plot;
                    const width = 22 + 12 * chance(seed, 1);
                    const depth = 14 + 12 * chance(seed, 2);
                    const along = FIRST_COLUMN + column * COLUMN_M + 16 + plot * 37;
                    const near = row * ROW_M + (side === 0 ? 16 : ROW_M - 16 - depth);
                    if (inRiver(along + width / 2, near + depth / 2, 34)) continue;
                    const corners = [
                        at(along, near),
                        at(along + width, near),
                        at(along + width, near + depth),
                        at(along, near + depth),
                    ];
                    found.push(polygon(corners.map(degrees), { kind: 'building' }));
                }
            }
        }
    }
    return found;
}

function places(): Feature[] {
    const named = (name: string, kind: string, where: Metres): Feature => ({
        type: 'Feature',
        properties: { kind, name },
        geometry: { type: 'Point', coordinates: degrees(where) },
    });
    return [
        named('Leehaven', 'locality', at(150, 420)),
        named('Harbour', 'neighbourhood', at(350, 65)),
        named('Old Town', 'neighbourhood', at(300, 640)),
        named('Millside', 'neighbourhood', at(-900, 700)),
        named('Eastgate', 'neighbourhood', at(1_080, 380)),
        named('Northbank', 'neighbourhood', at(250, 1_400)),
    ];
}

// ---- put together

function polygon(ring: readonly Position[], properties: Record<string, string>): Feature {
    const [first] = ring;
    return feature({ type: 'Polygon', coordinates: [[...ring, ...(first ? [first] : [])]] }, properties);
}

function line(points: readonly Position[], properties: Record<string, string>): Feature {
    return feature({ type: 'LineString', coordinates: [...points] }, properties);
}

function feature(geometry: Geometry, properties: Record<string, string>): Feature {
    return { type: 'Feature', properties, geometry };
}

/** West, south, east, north in degrees. */
export const BOUNDS: readonly [number, number, number, number] = [
    ...(degrees([-HALF_M, -HALF_M]) as [number, number]),
    ...(degrees([HALF_M, HALF_M]) as [number, number]),
];

export function town(): Town {
    const [west, south, east, north] = BOUNDS;
    const ground: Position[] = [
        [west, south],
        [east, south],
        [east, north],
        [west, north],
    ];
    const all = (features: Feature[]): FeatureCollection => ({ type: 'FeatureCollection', features });
    return {
        earth: all([polygon(ground, { kind: 'earth' })]),
        water: all(water()),
        landuse: all(landuse()),
        roads: all(roads()),
        buildings: all(buildings()),
        places: all(places()),
    };
}
