/** Camera, microphone and paths of a call that pretend. What a test is about stands in their fields. */
import type { Camera, CallMedia } from '~/model/call/call';
import type { Layer } from '~/model/call/layers';
import type { MediaDoor, MediaPeer, MediaSeal, Opened, PeerEvent, Place } from '~/model/call/media';
import type { TurnServer } from '~/protocol/video';

export class FakeTrack {
    readyState: 'live' | 'ended' = 'live';
    enabled = true;
    constructor(
        readonly kind: CallMedia,
        private readonly settings: MediaTrackSettings = {},
    ) {}
    stop(): void {
        this.readyState = 'ended';
    }
    getSettings(): MediaTrackSettings {
        return this.settings;
    }
    get asTrack(): MediaStreamTrack {
        return this as unknown as MediaStreamTrack;
    }
}

export class FakeStream {
    constructor(private readonly tracks: readonly FakeTrack[]) {}
    getTracks(): readonly FakeTrack[] {
        return this.tracks;
    }
    getAudioTracks(): readonly FakeTrack[] {
        return this.tracks.filter(({ kind }) => kind === 'audio');
    }
    getVideoTracks(): readonly FakeTrack[] {
        return this.tracks.filter(({ kind }) => kind === 'video');
    }
}

/** What was opened once. */
export interface Device {
    readonly camera: Camera;
    readonly audio: FakeTrack | null;
    readonly video: FakeTrack | null;
}

export class FakePeer implements MediaPeer {
    readonly sent: Record<CallMedia, MediaStreamTrack | null> = { audio: null, video: null };
    layers: readonly Layer[] = [];
    places: readonly Place[] = [];
    closed = false;
    readonly #streams = new Map<string, MediaStream>();

    constructor(
        readonly turn: readonly TurnServer[],
        readonly tell: (event: PeerEvent) => void,
    ) {}
    answer(sdp: string): Promise<string> {
        return sdp === 'bad' ? Promise.reject(new Error('refused')) : Promise.resolve(`answer to ${sdp}`);
    }
    setPlaces(places: readonly Place[]): void {
        this.places = places;
    }
    send(media: CallMedia, track: MediaStreamTrack | null): void {
        this.sent[media] = track;
    }
    setLayers(layers: readonly Layer[]): void {
        this.layers = layers;
    }
    stream({ audioMid }: Place): MediaStream {
        const stream = this.#streams.get(audioMid) ?? (new FakeStream([]) as unknown as MediaStream);
        this.#streams.set(audioMid, stream);
        return stream;
    }
    close(): void {
        this.closed = true;
    }
    /** Sizes that go out, by name. */
    get sizes(): string {
        return this.layers.flatMap(({ rid, active }) => (active ? [rid] : [])).join('');
    }
}

export class FakeDoor implements MediaDoor {
    fit = true;
    readonly canPip = false;
    /** What the next opening comes to. */
    trouble: 'refused' | 'missing' | 'busy' | null = null;
    hasCamera = true;
    hasMicrophone = true;
    twoCameras = false;
    /** Openings wait for it, as for a person who is asked. */
    asked: Promise<unknown> = Promise.resolve();
    readonly devices: Device[] = [];
    readonly peers: FakePeer[] = [];
    /** Microphones whose level is shown now. */
    listening = 0;
    /** Sealings that go on. */
    sealing = 0;
    /** Runs what is to be run every so often. */
    tick: () => void = () => undefined;

    async open(camera: Camera, video: boolean): Promise<Opened> {
        await this.asked;
        if (this.trouble !== null) return { trouble: this.trouble };
        const audio = this.hasMicrophone ? new FakeTrack('audio') : null;
        const picture = video && this.hasCamera ? new FakeTrack('video', { width: 1280, height: 720 }) : null;
        this.devices.push({ camera, audio, video: picture });
        const isWhole = audio !== null && (picture !== null || !video);
        return {
            stream: new FakeStream([audio, picture].filter((one) => one !== null)) as unknown as MediaStream,
            audio: audio?.asTrack ?? null,
            video: picture?.asTrack ?? null,
            twoCameras: this.twoCameras,
            lacks: isWhole ? 'none' : 'busy',
        };
    }
    listen(): () => void {
        this.listening += 1;
        return () => void (this.listening -= 1);
    }
    seal(): MediaSeal {
        this.sealing += 1;
        return {
            peer: (turn, listen) => {
                const peer = new FakePeer(turn, listen);
                this.peers.push(peer);
                return peer;
            },
            end: () => void (this.sealing -= 1),
        };
    }
    pip(): Promise<void> {
        return Promise.resolve();
    }
    every(_ms: number, work: () => void): () => void {
        this.tick = work;
        return () => (this.tick = () => undefined);
    }

    /** Tracks that still run: a light beside a camera, or a microphone that hears. */
    get on(): readonly FakeTrack[] {
        return this.devices
            .flatMap(({ audio, video }) => [audio, video])
            .filter((one): one is FakeTrack => one?.readyState === 'live');
    }
}
