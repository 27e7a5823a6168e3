/**
 * The own side of a call, as signals: this device's camera and microphone, and what of them goes out.
 *
 * It opens and ends them, and gives them to the paths as often as anything changes: a track, a mute, the size that the link carries,
 * whether media of this device may be heard at all. That it may, others decide; that nothing leaves unsealed, the paths do.
 */
import type { CallMedia, CallMode, Camera, DeviceTrouble } from './call';
import { layersFor } from './layers';
import type { MediaDoor, MediaPeer, OwnMedia } from './media';

/** Of a camera that does not say how large it is. */
const CAMERA_LINES = 360;

/** What may go out now. */
export interface Going {
    /** Anything at all. */
    readonly heard: boolean;
    readonly mode: CallMode;
    readonly audioMuted: boolean;
    readonly videoMuted: boolean;
}

export class OwnSide {
    /** To be shown to its own person alone; null: off. */
    stream = $state.raw<MediaStream | null>(null);
    level = $state.raw(0);
    trouble = $state.raw<DeviceTrouble>('none');
    twoCameras = $state.raw(false);
    camera: Camera = 'front';
    #media: OwnMedia | null = null;
    /** Counts what was asked of them: what opens after something else was is shut again. */
    #asked = 0;
    #stopLevel: () => void = () => undefined;

    constructor(private readonly door: MediaDoor) {}

    get isOpen(): boolean {
        return this.#media !== null;
    }

    /** It runs, muted or not. */
    has(media: CallMedia): boolean {
        return this.#media?.[media]?.readyState === 'live';
    }

    /**
     * False: nothing could be opened, and `trouble` says why; what was open before is as it was, but for its picture. Or it was
     * ended, or asked for again, while the browser asked the person.
     */
    async open(camera: Camera, picture = true): Promise<boolean> {
        this.#asked += 1;
        const asked = this.#asked;
        const before = this.#media;
        // Few phones let two cameras be open at once.
        before?.video?.stop();
        const opened = await this.door.open(camera, picture);
        if (asked !== this.#asked) {
            if ('stream' in opened) stop(opened);
            return false;
        }
        if ('trouble' in opened) {
            this.trouble = opened.trouble;
            return false;
        }
        if (before !== null) stop(before);
        this.trouble = opened.lacks;
        this.#media = opened;
        this.camera = camera;
        this.stream = opened.stream;
        this.twoCameras = opened.twoCameras;
        return true;
    }

    /** Show how loud the microphone is, until `quiet`. */
    listen(): void {
        this.quiet();
        const audio = this.#media?.audio;
        if (audio) this.#stopLevel = this.door.listen(audio, (level) => (this.level = level));
    }

    quiet(): void {
        this.#stopLevel();
        this.#stopLevel = () => undefined;
    }

    /**
     * A camera that nobody sees is off; what does not run is opened when it is wanted. `has` and `trouble` tell what came of it.
     * A microphone goes on: while it is muted, silence is sent.
     */
    async turn(media: CallMedia, on: boolean): Promise<void> {
        if (!on && media === 'video') this.#media?.video?.stop();
        if (on && !this.has(media)) await this.open(this.camera, media === 'video' || this.has('video'));
    }

    /** Camera and microphone off. */
    end(): void {
        this.quiet();
        this.#asked += 1;
        if (this.#media !== null) stop(this.#media);
        this.#media = null;
        this.stream = null;
        this.level = 0;
    }

    /** Give every path what may go out. Anything may be said again: a path does only what is new. */
    sendOver(peers: Iterable<MediaPeer>, { heard, mode, audioMuted, videoMuted }: Going): void {
        const { audio = null, video = null } = this.#media ?? {};
        const fits = mode === 'video' || mode === 'smaller';
        // Sound that is muted goes out as silence: it keeps the path, and says that it stands.
        if (audio !== null) audio.enabled = !audioMuted;
        const layers = layersFor(shorterSide(video), mode);
        const goes: Readonly<Record<CallMedia, MediaStreamTrack | null>> = {
            audio: heard ? audio : null,
            video: heard && fits && !videoMuted ? video : null,
        };
        for (const peer of peers) {
            peer.send('audio', goes.audio);
            peer.send('video', goes.video);
            peer.setLayers(layers);
        }
    }
}

function stop({ stream }: OwnMedia): void {
    for (const track of stream.getTracks()) track.stop();
}

function shorterSide(video: MediaStreamTrack | null): number {
    const { width, height } = video?.getSettings() ?? {};
    return width === undefined || height === undefined ? CAMERA_LINES : Math.min(width, height);
}
