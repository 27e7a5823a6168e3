/** The browser's media for a call: see the port for what each promises. */
import type { Camera } from '~/model/call/call';
import type { MediaDoor, MediaSeal, Opened } from '~/model/call/media';
import { levelOf, openOwnMedia } from './own-media';
import { BrowserPeer } from './peer';
import { Sealer } from './sealer';

export class BrowserMedia implements MediaDoor {
    readonly fit = typeof RTCRtpScriptTransform !== 'undefined' && typeof RTCPeerConnection !== 'undefined';
    readonly canPip = document.pictureInPictureEnabled;

    open(camera: Camera, video: boolean): Promise<Opened> {
        return openOwnMedia(camera, video);
    }

    listen(track: MediaStreamTrack, tell: (level: number) => void): () => void {
        return levelOf(track, tell);
    }

    seal(give: (port: MessagePort) => Promise<void>): MediaSeal {
        const sealer = new Sealer(give);
        return {
            peer: (turn, listen) => new BrowserPeer(sealer, turn, listen),
            end: () => sealer.end(),
        };
    }

    async pip(video: HTMLVideoElement): Promise<void> {
        try {
            if (document.pictureInPictureElement === video) await document.exitPictureInPicture();
            else await video.requestPictureInPicture();
        } catch {
            // Refused by the browser or its person: the call is shown where it was.
        }
    }

    every(ms: number, work: () => void): () => void {
        const timer = setInterval(work, ms);
        return () => clearInterval(timer);
    }
}
