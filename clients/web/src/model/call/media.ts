/**
 * What a call asks of the browser: camera and microphone, a path to the bridge, and the sealing of what goes over it.
 * `platform/call` has the real one; tests have a pretended one.
 *
 * A track reaches the network in one way only: through `MediaPeer.send`, which lets it go behind a transform that seals, and
 * stops it at once when what was sent is not what was sealed.
 */
import type { TurnServer } from '~/protocol/video';
import type { DeviceId } from '~/protocol/ids';
import type { Camera, CallMedia, DeviceTrouble, MediaAlarm } from './call';
import type { Layer } from './layers';

/** Camera and microphone of this device, as they were opened. */
export interface OwnMedia {
    readonly stream: MediaStream;
    /** Null: it was not asked for, or there is none. */
    readonly audio: MediaStreamTrack | null;
    readonly video: MediaStreamTrack | null;
    readonly twoCameras: boolean;
    /** Why one of both is missing that was asked for; `none`: nothing is. */
    readonly lacks: DeviceTrouble;
}

export type Opened = OwnMedia | { readonly trouble: Exclude<DeviceTrouble, 'none'> };

/** Where somebody's media come. */
export interface Place {
    readonly device: DeviceId;
    readonly audioMid: string;
    readonly videoMid: string;
}

/** Of one second. */
export interface PathStats {
    /** Shares, 0 to 1, of packets that were lost. */
    readonly lossDown: number;
    readonly lossUp: number;
    /** 0: not known yet. */
    readonly rttMs: number;
    /** What the link takes upwards, as the browser estimates it; 0: not known yet. */
    readonly availableUpBps: number;
    /** Pictures that were decoded, by m-line, since the start. */
    readonly framesDecoded: ReadonlyMap<string, number>;
}

export type PeerEvent =
    /** A path stands, for the first time or again. */
    | { readonly kind: 'connected' }
    /** Nothing came for a second and more. */
    | { readonly kind: 'silent' }
    /** Something came again. */
    | { readonly kind: 'heard' }
    /** The first frame of anybody was decoded. */
    | { readonly kind: 'frame' }
    /** The transport is gone for good. */
    | { readonly kind: 'failed' }
    /** The device moved to another network. */
    | { readonly kind: 'moved' }
    | { readonly kind: 'stats'; readonly stats: PathStats }
    | { readonly kind: 'alarm'; readonly mid: string; readonly alarm: Exclude<MediaAlarm, ''> }
    /** What left was not sealed. Its tracks were stopped already. */
    | { readonly kind: 'unsealed' };

/** One connection to a bridge. */
export interface MediaPeer {
    /** Takes an offer, and resolves with the answer; a second one restarts ICE. Rejects where the browser refuses it. */
    answer(sdp: string): Promise<string>;
    /** Whose media come where, from now on: what another sealed is dropped there. */
    setPlaces(places: readonly Place[]): void;
    /** What goes out; null: nothing. Before the transforms are in place it waits. */
    send(media: CallMedia, track: MediaStreamTrack | null): void;
    /** In which sizes the picture goes out. */
    setLayers(layers: readonly Layer[]): void;
    /** Sound and picture of who has these m-lines. */
    stream(place: Place): MediaStream;
    close(): void;
}

/** The sealing of one call: its worker and its keys, for all paths that the call takes. */
export interface MediaSeal {
    peer(turn: readonly TurnServer[], listen: (event: PeerEvent) => void): MediaPeer;
    end(): void;
}

export interface MediaDoor {
    /** This browser can seal what it sends. */
    readonly fit: boolean;
    readonly canPip: boolean;
    /** From a tap. `video: false`: sound alone. Where one of both cannot be had, the other is opened alone, and `lacks` says why. */
    open(camera: Camera, video: boolean): Promise<Opened>;
    /** How loud it is, ten times a second, 0 to 1, until the returned function is called. */
    listen(track: MediaStreamTrack, tell: (level: number) => void): () => void;
    /** The channel's keys go straight from the engine to the sealing worker, through the port that `give` is given. */
    seal(give: (port: MessagePort) => Promise<void>): MediaSeal;
    pip(video: HTMLVideoElement): Promise<void>;
    /** Runs `work` every `ms` until the returned function is called. */
    every(ms: number, work: () => void): () => void;
}
