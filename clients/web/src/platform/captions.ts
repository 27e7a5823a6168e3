/**
 * Speech to words by the browser's own model (Web Speech API with `processLocally`), on this device alone. The same interface
 * without that word sends the sound to the browser's maker, so it is used only where the browser can promise it, and a
 * recogniser that forgets it is not started.
 */
import type { Captioner, CaptionsEars, CaptionsState } from '~/model/captions.svelte';

/** As far as we use it; TypeScript's DOM does not have it yet. */
interface Recognition {
    processLocally: boolean;
    continuous: boolean;
    interimResults: boolean;
    lang: string;
    onresult: ((event: Results) => void) | null;
    onend: (() => void) | null;
    onerror: (() => void) | null;
    start(track: MediaStreamTrack): void;
    abort(): void;
}
interface Results {
    readonly resultIndex: number;
    readonly results: ArrayLike<{
        readonly isFinal: boolean;
        readonly [at: number]: { readonly transcript: string };
    }>;
}
interface RecognitionClass {
    new (): Recognition;
    available?(asked: { readonly langs: readonly string[]; readonly processLocally: true }): Promise<string>;
}

function recognition(): RecognitionClass | null {
    const found = (globalThis as { SpeechRecognition?: RecognitionClass }).SpeechRecognition ?? null;
    // A browser that cannot be asked cannot promise.
    return found !== null && 'processLocally' in found.prototype && found.available ? found : null;
}

/** A recogniser ends by itself after a silence, and is begun anew; one that ends at once again and again is broken. */
const SHORTEST_MS = 1_000;

export class BrowserCaptioner implements Captioner {
    async state(language: string): Promise<CaptionsState> {
        const asked = { langs: [language], processLocally: true } as const;
        const found = await recognition()
            ?.available?.(asked)
            .catch(() => 'unavailable');
        if (found === 'available') return 'here';
        return found === 'downloadable' || found === 'downloading' ? 'fetchable' : 'never';
    }

    listen(tracks: readonly MediaStreamTrack[], language: string, ears: CaptionsEars): () => void {
        const Recogniser = recognition();
        const mixed = new AudioContext();
        const all = mixed.createMediaStreamDestination();
        for (const track of tracks) mixed.createMediaStreamSource(new MediaStream([track])).connect(all);
        const [track] = all.stream.getAudioTracks();
        let running: Recognition | null = null;
        let stopped = false;

        function stop(): void {
            stopped = true;
            running?.abort();
            void mixed.close();
        }
        function broke(): void {
            if (stopped) return;
            stop();
            ears.broke();
        }
        function begin(): void {
            if (stopped) return;
            if (Recogniser === null || track === undefined) {
                broke();
                return;
            }
            const own = new Recogniser();
            const sinceMs = performance.now();
            own.processLocally = true;
            own.continuous = true;
            own.interimResults = true;
            own.lang = language;
            own.onresult = ({ resultIndex, results }) => {
                for (const result of Array.from(results).slice(resultIndex))
                    ears.heard(result[0]?.transcript ?? '', result.isFinal);
            };
            own.onerror = broke;
            own.onend = () => {
                if (performance.now() - sinceMs < SHORTEST_MS) broke();
                else begin();
            };
            running = own;
            own.start(track);
        }
        begin();
        return stop;
    }
}
