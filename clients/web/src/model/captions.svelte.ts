/**
 * Captions: what is heard, as words, made on this device alone. The platform implements it; where a browser would send the
 * sound to somebody's service instead, there are no captions.
 */

/** `fetchable`: the device could, once its browser has fetched the language; nothing here makes it. */
export type CaptionsState = 'here' | 'fetchable' | 'never';

export interface CaptionsEars {
    /** What is being said now; `whole`: a sentence that will not change. */
    heard(words: string, whole: boolean): void;
    /** It stopped, and not because it was asked to. */
    broke(): void;
}

export interface Captioner {
    /** `language`: BCP 47. */
    state(language: string): Promise<CaptionsState>;
    /** Listen to all of these at once, until the returned function is called. Only where the state is `here`. */
    listen(tracks: readonly MediaStreamTrack[], language: string, ears: CaptionsEars): () => void;
}

/** Sentences kept on the screen. */
const KEPT = 3;

/** What stands on the screen: the newest sentences, and the one that is being said. */
export class CaptionLines {
    lines = $state.raw<readonly string[]>([]);
    now = $state.raw('');

    heard(words: string, whole: boolean): void {
        const said = words.trim();
        this.now = whole ? '' : said;
        if (whole && said !== '') this.lines = [...this.lines, said].slice(-KEPT);
    }
}
