/**
 * The urgent sound: two rising tones, three times, made here, since a file could be missing when it is needed. A browser
 * lets a page sound only after a tap; until then `armed` is false, and the screen says so.
 */
const NOTES_HZ = [740, 988] as const;
const NOTE_S = 0.16;
const TIMES = 3;

export class Tone {
    #audio: AudioContext | null = null;

    get armed(): boolean {
        return this.#audio?.state === 'running';
    }

    /** Call it in a tap. */
    async arm(): Promise<boolean> {
        try {
            this.#audio ??= new AudioContext({ latencyHint: 'interactive' });
            await this.#audio.resume();
        } catch {
            return false;
        }
        return this.armed;
    }

    play(): void {
        // Vibration does not wait for sound to be armed where the browser allows it; iOS has none.
        // Browsers let nothing vibrate, nor sound, before the first touch of a page; asked all the same, they complain.
        const touched = !('userActivation' in navigator) || navigator.userActivation.hasBeenActive;
        if (touched && 'vibrate' in navigator) navigator.vibrate([400, 150, 400, 150, 400]);
        const audio = this.#audio;
        if (audio?.state !== 'running') return;
        let atS = audio.currentTime + 0.02;
        for (let time = 0; time < TIMES; time += 1) {
            for (const hz of NOTES_HZ) {
                note(audio, hz, atS);
                atS += NOTE_S;
            }
            atS += NOTE_S / 2;
        }
    }
}

/** A triangle wave carries further on a small speaker than a sine, and does not hurt as a square one does. */
function note(audio: AudioContext, hz: number, atS: number): void {
    const source = audio.createOscillator();
    const loudness = audio.createGain();
    source.type = 'triangle';
    source.frequency.value = hz;
    loudness.gain.setValueAtTime(0, atS);
    loudness.gain.linearRampToValueAtTime(0.9, atS + 0.01);
    loudness.gain.setValueAtTime(0.9, atS + NOTE_S - 0.03);
    loudness.gain.linearRampToValueAtTime(0, atS + NOTE_S);
    source.connect(loudness).connect(audio.destination);
    source.start(atS);
    source.stop(atS + NOTE_S);
}
