/**
 * How the ground looks: quiet, so that units and incidents stand out, in light and dark. Layers and kinds are those of the
 * Protomaps basemap (version 4). No glyphs and no sprite are fetched: words are drawn with the device's own font.
 */
import type { ExpressionSpecification, FilterSpecification, StyleSpecification } from 'maplibre-gl';

interface Palette {
    readonly ground: string;
    readonly water: string;
    readonly green: string;
    readonly works: string;
    readonly care: string;
    readonly building: string;
    readonly road: string;
    readonly roadEdge: string;
    readonly main: string;
    readonly rail: string;
    readonly words: string;
    readonly halo: string;
}

const LIGHT: Palette = {
    ground: '#eef0f1',
    water: '#bcd6e6',
    green: '#d5e5d2',
    works: '#e2e0e6',
    care: '#f3dedd',
    building: '#dcdfe2',
    road: '#ffffff',
    roadEdge: '#c3cad1',
    main: '#fbe7b4',
    rail: '#a3abb4',
    words: '#2b333c',
    halo: '#ffffff',
};

const DARK: Palette = {
    ground: '#10161d',
    water: '#0b2940',
    green: '#14251a',
    works: '#1b1c27',
    care: '#2e1b20',
    building: '#1d2630',
    road: '#323d49',
    roadEdge: '#0b1016',
    main: '#5a4a20',
    rail: '#46525f',
    words: '#c3ccd6',
    halo: '#0b1016',
};

const FONT = ['sans-serif'];

/** `tiles`: the source's address, `pmtiles://` and the key of the archive. */
export function styleOf(theme: 'light' | 'dark', tiles: string): StyleSpecification {
    const c = theme === 'dark' ? DARK : LIGHT;
    const words = { 'text-color': c.words, 'text-halo-color': c.halo, 'text-halo-width': 1.5 };
    /** Width in pixels by zoom, doubling as streets do. */
    const width = (at12: number, at17: number): ExpressionSpecification => [
        'interpolate',
        ['exponential', 1.6],
        ['zoom'],
        12,
        at12,
        17,
        at17,
    ];
    const kinds = (...names: string[]): FilterSpecification => ['in', ['get', 'kind'], ['literal', names]];
    const big = kinds('highway', 'major_road');
    const small = kinds('minor_road', 'other');
    const from = { source: 'town' } as const;
    return {
        version: 8,
        sources: { town: { type: 'vector', url: tiles } },
        layers: [
            { id: 'ground', type: 'background', paint: { 'background-color': c.ground } },
            ...(
                [
                    [
                        'green',
                        c.green,
                        ['park', 'forest', 'wood', 'grass', 'cemetery', 'nature_reserve', 'golf_course'],
                    ],
                    ['works', c.works, ['industrial', 'railway', 'pier', 'military']],
                    ['care', c.care, ['hospital']],
                ] as const
            ).map(([id, colour, names]) => ({
                id,
                type: 'fill' as const,
                ...from,
                'source-layer': 'landuse',
                filter: kinds(...names),
                paint: { 'fill-color': colour },
            })),
            {
                id: 'water',
                type: 'fill',
                ...from,
                'source-layer': 'water',
                filter: ['==', ['geometry-type'], 'Polygon'],
                paint: { 'fill-color': c.water },
            },
            {
                id: 'buildings',
                type: 'fill',
                ...from,
                'source-layer': 'buildings',
                minzoom: 14,
                paint: { 'fill-color': c.building },
            },
            {
                id: 'rail',
                type: 'line',
                ...from,
                'source-layer': 'roads',
                filter: kinds('rail'),
                paint: { 'line-color': c.rail, 'line-width': 1.5, 'line-dasharray': [4, 2] },
            },
            {
                id: 'path',
                type: 'line',
                ...from,
                'source-layer': 'roads',
                minzoom: 14,
                filter: kinds('path'),
                paint: { 'line-color': c.roadEdge, 'line-width': 1, 'line-dasharray': [3, 2] },
            },
            {
                id: 'small-edge',
                type: 'line',
                ...from,
                'source-layer': 'roads',
                filter: small,
                layout: { 'line-cap': 'round', 'line-join': 'round' },
                paint: { 'line-color': c.roadEdge, 'line-width': width(1.2, 17) },
            },
            {
                id: 'big-edge',
                type: 'line',
                ...from,
                'source-layer': 'roads',
                filter: big,
                layout: { 'line-cap': 'round', 'line-join': 'round' },
                paint: { 'line-color': c.roadEdge, 'line-width': width(3, 24) },
            },
            {
                id: 'small',
                type: 'line',
                ...from,
                'source-layer': 'roads',
                filter: small,
                layout: { 'line-cap': 'round', 'line-join': 'round' },
                paint: { 'line-color': c.road, 'line-width': width(0.6, 14) },
            },
            {
                id: 'big',
                type: 'line',
                ...from,
                'source-layer': 'roads',
                filter: big,
                layout: { 'line-cap': 'round', 'line-join': 'round' },
                paint: { 'line-color': c.main, 'line-width': width(2, 20) },
            },
            {
                id: 'street-names',
                type: 'symbol',
                ...from,
                'source-layer': 'roads',
                minzoom: 13,
                filter: ['has', 'name'],
                layout: {
                    'symbol-placement': 'line',
                    'text-field': ['get', 'name'],
                    'text-font': FONT,
                    'text-size': ['interpolate', ['linear'], ['zoom'], 13, 11, 17, 15],
                },
                paint: words,
            },
            {
                id: 'place-names',
                type: 'symbol',
                ...from,
                'source-layer': 'places',
                filter: kinds('locality', 'neighbourhood', 'macrohood'),
                layout: {
                    'text-field': ['get', 'name'],
                    'text-font': FONT,
                    'text-size': ['match', ['get', 'kind'], 'locality', 18, 14],
                    'text-transform': 'uppercase',
                    'text-letter-spacing': 0.08,
                },
                paint: { ...words, 'text-opacity': ['interpolate', ['linear'], ['zoom'], 15, 1, 16.5, 0] },
            },
        ],
    };
}
