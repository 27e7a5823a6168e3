/**
 * MapLibre behind a small door: it is loaded here and nowhere else, when a map is first shown. It asks our own server
 * alone: for its worker and for ranges of `/map/town.pmtiles`. Nothing is evaluated, no blob becomes a script.
 */
import type { Map as Ground, Marker } from 'maplibre-gl';
import 'maplibre-gl/dist/maplibre-gl.css';
import workerUrl from 'maplibre-gl/dist/maplibre-gl-worker.mjs?worker&url';
import { mount, unmount } from 'svelte';
import type { Fix } from '~/model/engine';
import type { Look } from '~/views/shared/status';
import MarkView from './Mark.svelte';
import { styleOf } from './style';

type Place = Pick<Fix, 'latE7' | 'lonE7'>;

/** One thing on the map. `key` is its name over changes. */
export interface Mark {
    readonly key: string;
    readonly kind: 'unit' | 'incident';
    readonly place: Place;
    readonly label: string;
    /** All of it in words. */
    readonly title: string;
    readonly look: (Look & { readonly words: string }) | null;
    readonly pale: boolean;
    readonly danger: boolean;
    readonly onopen: () => void;
}

export interface Drawing {
    /** Whose map it is, as its file says, without markup; empty: nobody asks to be named. */
    readonly credit: string;
    marks(marks: readonly Mark[]): void;
    look(place: Place): void;
    everything(): void;
    zoom(by: number): void;
    middle(): Place;
    /** Until the returned function is called, a click gives its place. */
    pick(taken: (place: Place) => void): () => void;
    remove(): void;
}

/** `unavailable`: this browser cannot draw it. `no_tiles`: the ground is missing, the marks are right. */
export type Trouble = 'unavailable' | 'no_tiles';

const MAP = '/map/town.pmtiles';
const CLOSE_ZOOM = 15.5;
/** Words beside marks from here on; wider out they would cover each other. */
const WORDS_ZOOM = 13.5;

const lngLat = (place: Place): [number, number] => [place.lonE7 / 1e7, place.latE7 / 1e7];

/** What `Mark.svelte` shows, so that a change of one repaints one. */
class Shown {
    mark = $state.raw() as Mark;
    readonly marker: Marker;
    readonly #view: Record<string, unknown>;

    constructor(mark: Mark, make: (element: HTMLElement) => Marker) {
        this.mark = mark;
        const element = document.createElement('div');
        this.#view = mount(MarkView, { target: element, props: { shown: this } });
        this.marker = make(element);
        // Marks lie over each other, in no order. Who listens has the board and the list, which say the same in words.
        element.setAttribute('aria-hidden', 'true');
    }

    remove(): void {
        this.marker.remove();
        void unmount(this.#view);
    }
}
export type { Shown };

/** The words of an attribution. The file is data: none of its markup is ever parsed. */
function creditOf(metadata: unknown): string {
    if (typeof metadata !== 'object' || metadata === null || !('attribution' in metadata)) return '';
    const { attribution } = metadata;
    if (typeof attribution !== 'string') return '';
    return attribution
        .replace(/<[^>]*>/gu, '')
        .replace(/&copy;/gu, '©')
        .slice(0, 200);
}

/** Rejects when the library cannot be loaded or the browser has no WebGL. */
export async function drawMap(
    container: HTMLElement,
    theme: 'light' | 'dark',
    tell: (trouble: Trouble) => void,
): Promise<Drawing> {
    const [library, { PMTiles, Protocol }] = await Promise.all([import('maplibre-gl'), import('pmtiles')]);
    library.setWorkerUrl(workerUrl);
    const archive = new PMTiles(new URL(MAP, location.href).href);
    const protocol = new Protocol();
    protocol.add(archive);
    library.addProtocol('pmtiles', protocol.tile);
    let credit = '';
    let bounds: [number, number, number, number] | null = null;
    try {
        const header = await archive.getHeader();
        bounds = [header.minLon, header.minLat, header.maxLon, header.maxLat];
        credit = creditOf(await archive.getMetadata());
    } catch {
        tell('no_tiles');
    }
    const ground: Ground = new library.Map({
        container,
        style: styleOf(theme, `pmtiles://${archive.source.getKey()}`),
        ...(bounds ? { bounds } : { center: [0, 20], zoom: 1 }),
        maxZoom: 19,
        attributionControl: false,
        // Labels appear at once: fading would keep the page painting for ever.
        fadeDuration: 0,
        dragRotate: false,
        pitchWithRotate: false,
        touchPitch: false,
    });
    ground.touchZoomRotate.disableRotation();
    ground.keyboard.disableRotation();
    ground.on('error', () => tell('no_tiles'));
    const canvas = ground.getCanvas();
    canvas.dataset.map = '';
    const words = (): void => {
        container.classList.toggle('with-words', ground.getZoom() >= WORDS_ZOOM);
    };
    ground.on('zoom', words);
    words();

    const shown = new Map<string, Shown>();
    let fitted = false;

    function everything(): void {
        const all = new library.LngLatBounds();
        for (const { mark } of shown.values()) all.extend(lngLat(mark.place));
        if (!all.isEmpty()) ground.fitBounds(all, { padding: 90, maxZoom: CLOSE_ZOOM, animate: false });
        else if (bounds) ground.fitBounds(bounds, { animate: false });
    }

    return {
        credit,
        marks(marks) {
            const now = new Set<string>();
            for (const mark of marks) {
                now.add(mark.key);
                const known = shown.get(mark.key);
                if (known === undefined) {
                    const made = new Shown(mark, (element) => {
                        const marker = new library.Marker({ element, anchor: 'center' });
                        return marker.setLngLat(lngLat(mark.place)).addTo(ground);
                    });
                    shown.set(mark.key, made);
                    continue;
                }
                const { place } = known.mark;
                if (place.latE7 !== mark.place.latE7 || place.lonE7 !== mark.place.lonE7) {
                    known.marker.setLngLat(lngLat(mark.place));
                }
                known.mark = mark;
            }
            for (const [key, one] of shown) {
                if (now.has(key)) continue;
                one.remove();
                shown.delete(key);
            }
            if (!fitted && shown.size > 0) {
                fitted = true;
                everything();
            }
        },
        look(place) {
            fitted = true;
            ground.jumpTo({ center: lngLat(place), zoom: Math.max(CLOSE_ZOOM, ground.getZoom()) });
        },
        everything,
        zoom(by) {
            ground.jumpTo({ zoom: ground.getZoom() + by });
        },
        middle() {
            const { lat, lng } = ground.getCenter();
            return { latE7: Math.round(lat * 1e7), lonE7: Math.round(lng * 1e7) };
        },
        pick(taken) {
            const click = ({ lngLat: { lat, lng } }: { lngLat: { lat: number; lng: number } }): void => {
                taken({ latE7: Math.round(lat * 1e7), lonE7: Math.round(lng * 1e7) });
            };
            ground.on('click', click);
            return () => void ground.off('click', click);
        },
        remove() {
            for (const one of shown.values()) one.remove();
            shown.clear();
            ground.remove();
        },
    };
}
