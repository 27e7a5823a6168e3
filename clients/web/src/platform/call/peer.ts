/**
 * One path to a bridge: an `RTCPeerConnection` whose every line goes through the sealing worker (spec 09).
 *
 * The bridge offers, this answers; a second offer restarts ICE on the same transport. Lines never change: `0` and `1` send, the
 * others receive, a pair for each seat. ICE servers are those that the bridge named, and none otherwise.
 *
 * A browser takes five seconds and more to say that a path is dead; the own watch looks at what came, twice a second.
 */
import type { CallMedia } from '~/model/call/call';
import type { Layer } from '~/model/call/layers';
import type { MediaPeer, PeerEvent, Place } from '~/model/call/media';
import { FOLLOW_MS, SealGuard } from '~/model/call/seal-guard';
import { DOWN_MIDS, MediaKind, type TurnServer, UP_AUDIO_MID, UP_VIDEO_MID } from '~/protocol/video';
import { type Attached, attachE2ee, sendBehind } from './attach';
import type { Sealer } from './sealer';
import type { TransformId } from './sealing-words';
import { type Counters, countersOf, lossBetween } from './stats';

const LOOK_MS = 500;
/** Looks while something is about to happen: a first frame, a track that was just let in, a path that may have died. */
const CLOSE_LOOK_MS = 100;
const CLOSE_MS = 3_000;
/** Nothing came for so long, while somebody is there: the path is dead. A change of path may take 2.5 s in all. */
const SILENT_MS = 1_000;
/** And while nobody is: only the path's own checks come, every few seconds. */
const ALONE_SILENT_MS = 8_000;
const STATS_MS = 1_000;

const mediaOf: Readonly<Record<string, CallMedia>> = { [UP_AUDIO_MID]: 'audio', [UP_VIDEO_MID]: 'video' };

/** One sender, as far as it is watched. */
interface Sending {
    readonly line: Attached;
    readonly ready: Promise<void>;
    readonly guard: SealGuard;
    track: MediaStreamTrack | null;
}

export class BrowserPeer implements MediaPeer {
    readonly #pc: RTCPeerConnection;
    readonly #lines = new Map<string, Attached>();
    readonly #sending = new Map<CallMedia, Sending>();
    readonly #wanted = new Map<CallMedia, MediaStreamTrack | null>();
    readonly #streams = new Map<string, MediaStream>();
    #places: readonly Place[] = [];
    #layers: readonly Layer[] = [];
    #turn: Promise<unknown> = Promise.resolve();
    #closed = false;
    #timer = 0;
    #closelyUntilMs = performance.now() + CLOSE_MS;
    #last: Counters | null = null;
    #statsMs = 0;
    #statsFrom: Counters | null = null;
    #cameMs = performance.now();
    #lookedMs = this.#cameMs;
    /** Nothing came between the last two looks, while somebody is there. */
    #still = false;
    #silent = false;
    #connected = false;
    #framed = false;
    /** What the worker was given of each line, when it said so last. */
    #given: ReadonlyMap<TransformId, number> = new Map();
    readonly #moved = (): void => this.#tell({ kind: 'moved' });

    constructor(
        private readonly sealer: Sealer,
        turn: readonly TurnServer[],
        private readonly listen: (event: PeerEvent) => void,
    ) {
        this.#pc = new RTCPeerConnection({
            iceServers: turn.map(({ urls, username, credential }) => ({
                urls: [...urls],
                username,
                credential,
            })),
            bundlePolicy: 'max-bundle',
            rtcpMuxPolicy: 'require',
        });
        this.#pc.onconnectionstatechange = () => this.#state();
        addEventListener('online', this.#moved);
        connection()?.addEventListener('change', this.#moved);
    }

    answer(sdp: string): Promise<string> {
        // One offer after the other: a second one may come while the first is being answered.
        const answered = this.#turn.then(() => this.#answer(sdp));
        this.#turn = answered.catch(() => undefined);
        return answered;
    }

    async #answer(sdp: string): Promise<string> {
        await this.#pc.setRemoteDescription({ type: 'offer', sdp });
        // Now, and not a task later: see `attach.ts`.
        if (this.#lines.size === 0) this.#attach();
        await this.#pc.setLocalDescription(await this.#pc.createAnswer());
        this.#applyLayers();
        for (const [media, track] of this.#wanted) this.send(media, track);
        this.#lookSoon();
        return this.#pc.localDescription?.sdp ?? '';
    }

    #attach(): void {
        for (const transceiver of this.#pc.getTransceivers()) {
            const mid = transceiver.mid ?? '';
            const sends = mid === UP_AUDIO_MID || mid === UP_VIDEO_MID;
            if (!sends && !DOWN_MIDS.includes(mid)) continue;
            const isAudio = transceiver.receiver.track.kind === 'audio';
            const id = this.sealer.newId();
            const ready = sends ? this.sealer.attached(id) : null;
            const line = attachE2ee(transceiver, this.sealer.worker, {
                id,
                side: sends ? 'send' : 'receive',
                media: isAudio ? MediaKind.audio : MediaKind.video,
            });
            this.#lines.set(mid, line);
            const media = mediaOf[mid];
            if (media !== undefined && ready !== null) {
                this.#sending.set(media, { line, ready, guard: new SealGuard(), track: null });
                // Nothing can be sealed: better told than a call in which nobody is seen or heard.
                ready.catch(() => this.#broken());
            } else this.sealer.onAlarm(id, (alarm) => this.#tell({ kind: 'alarm', mid, alarm }));
        }
        this.setPlaces(this.#places);
    }

    setPlaces(places: readonly Place[]): void {
        this.#places = places;
        const owners = new Map(
            places.flatMap(({ device, audioMid, videoMid }) => [
                [audioMid, device],
                [videoMid, device],
            ]),
        );
        for (const [mid, { id, side }] of this.#lines)
            if (side === 'receive') this.sealer.place(id, owners.get(mid) ?? null);
    }

    stream({ audioMid, videoMid }: Place): MediaStream {
        const name = audioMid + videoMid;
        const known = this.#streams.get(name);
        if (known !== undefined) return known;
        const lines = [this.#lines.get(audioMid), this.#lines.get(videoMid)];
        const tracks = lines.flatMap((line) => (line ? [line.transceiver.receiver.track] : []));
        const stream = new MediaStream(tracks);
        if (tracks.length === lines.length) this.#streams.set(name, stream);
        return stream;
    }

    // ---- sending

    send(media: CallMedia, track: MediaStreamTrack | null): void {
        this.#wanted.set(media, track);
        const sending = this.#sending.get(media);
        if (sending === undefined) return;
        void sending.ready.then(() => this.#let(sending, media)).catch(() => this.#broken());
    }

    async #let(sending: Sending, media: CallMedia): Promise<void> {
        const track = this.#wanted.get(media) ?? null;
        if (this.#closed || sending.track === track) return;
        sending.track = track;
        await sendBehind(sending.line, track);
        if (track === null) return;
        this.#closelyUntilMs = performance.now() + CLOSE_MS;
        this.#lookSoon();
    }

    setLayers(layers: readonly Layer[]): void {
        this.#layers = layers;
        this.#applyLayers();
    }

    #applyLayers(): void {
        const sender = this.#sending.get('video')?.line.transceiver.sender;
        if (sender === undefined || this.#layers.length === 0) return;
        const parameters = sender.getParameters();
        const only = parameters.encodings.length === 1;
        for (const encoding of parameters.encodings) {
            // A browser without simulcast sends the largest one.
            const layer = only
                ? this.#layers.findLast(({ active }) => active)
                : this.#layers.find(({ rid }) => rid === encoding.rid);
            encoding.active = layer?.active ?? false;
            if (layer === undefined) continue;
            encoding.scaleResolutionDownBy = layer.scale;
            encoding.maxBitrate = layer.maxBps;
            encoding.maxFramerate = layer.maxFps;
        }
        // Refused while another change is under way, or after the end: the next one says it all again.
        void sender.setParameters(parameters).catch(() => undefined);
    }

    // ---- watching

    #state(): void {
        if (this.#pc.connectionState === 'connected') {
            this.#connected = true;
            this.#cameMs = performance.now();
            this.#tell({ kind: 'connected' });
            this.#lookSoon();
        } else if (this.#pc.connectionState === 'failed') this.#tell({ kind: 'failed' });
    }

    #lookSoon(): void {
        if (this.#closed) return;
        clearTimeout(this.#timer);
        const closely = !this.#framed || this.#still || performance.now() < this.#closelyUntilMs;
        this.#timer = self.setTimeout(() => void this.#look(), closely ? CLOSE_LOOK_MS : LOOK_MS);
    }

    async #look(): Promise<void> {
        try {
            const before = this.#given;
            const counters = countersOf(await this.#pc.getStats());
            if (this.#isClosed()) return;
            this.#watchPath(counters);
            this.#report(counters);
            this.#watchSealing(counters, before);
            this.#last = counters;
        } finally {
            this.#lookSoon();
        }
    }

    #watchPath(counters: Counters): void {
        const nowMs = performance.now();
        const lookedMs = this.#lookedMs;
        this.#lookedMs = nowMs;
        if (!this.#framed && counters.heard > 0) {
            this.#framed = true;
            this.#tell({ kind: 'frame' });
        }
        if (counters.received !== this.#last?.received) {
            // Between two looks half a second may pass: what stops just after one would seem to have come until the next.
            this.#cameMs = Math.max(lookedMs, nowMs - counters.agoMs);
            if (this.#silent) this.#tell({ kind: 'heard' });
            this.#still = this.#silent = false;
            return;
        }
        const patienceMs = this.#places.length > 0 ? SILENT_MS : ALONE_SILENT_MS;
        this.#still = this.#places.length > 0 && !this.#silent;
        if (this.#silent || !this.#connected || nowMs - this.#cameMs < patienceMs) return;
        this.#still = false;
        this.#silent = true;
        this.#tell({ kind: 'silent' });
    }

    #report(counters: Counters): void {
        const nowMs = performance.now();
        if (nowMs - this.#statsMs < STATS_MS) return;
        const before = this.#statsFrom ?? counters;
        this.#statsMs = nowMs;
        this.#statsFrom = counters;
        const { lossUp, rttMs, availableUpBps, framesDecoded } = counters;
        const lossDown = lossBetween(before, counters);
        this.#tell({ kind: 'stats', stats: { lossDown, lossUp, rttMs, availableUpBps, framesDecoded } });
    }

    /** What was encoded until now must have come by the worker a little later. `before`: the worker's count before that. */
    #watchSealing(counters: Counters, before: ReadonlyMap<TransformId, number>): void {
        setTimeout(() => {
            void this.sealer.count().then((given) => {
                if (this.#closed) return;
                this.#given = given;
                for (const [media, { line, guard }] of this.#sending) {
                    const encoded = media === 'audio' ? counters.encodedAudio : counters.encodedVideo;
                    const came = { before: before.get(line.id) ?? 0, given: given.get(line.id) ?? 0 };
                    if (!guard.holds(encoded, came)) this.#broken();
                }
            });
        }, FOLLOW_MS);
    }

    /** Something may leave unsealed: nothing leaves any more. */
    #broken(): void {
        if (this.#closed) return;
        for (const { track } of this.#sending.values()) track?.stop();
        this.close();
        this.listen({ kind: 'unsealed' });
    }

    #tell(event: PeerEvent): void {
        if (!this.#closed) this.listen(event);
    }

    /** A method, since it changes over awaits. */
    #isClosed(): boolean {
        return this.#closed;
    }

    close(): void {
        if (this.#closed) return;
        this.#closed = true;
        clearTimeout(this.#timer);
        removeEventListener('online', this.#moved);
        connection()?.removeEventListener('change', this.#moved);
        this.#pc.close();
        this.sealer.forget([...this.#lines.values()].map(({ id }) => id));
    }
}

/** What some browsers know of the network. */
function connection(): EventTarget | undefined {
    return (navigator as Navigator & { readonly connection?: EventTarget }).connection;
}
