/**
 * The one way by which media leave and reach this device: behind a transform that seals or opens them. ESLint lets no other file
 * set a transform or give a sender a track.
 *
 * A browser ignores a sender's transform in silence when it is set later than in the very task in which `setRemoteDescription`
 * resolved, and then sends plaintext. So `attachE2ee` is called there, before anything else is awaited, and a track is let in
 * only once the worker has said that it is in place.
 */
import type { MediaKind } from '~/protocol/video';
import type { TransformId, TransformOptions } from './sealing-words';

/** A transceiver behind its transform. */
export interface Attached {
    readonly id: TransformId;
    readonly mid: string;
    readonly media: MediaKind;
    readonly side: TransformOptions['side'];
    readonly transceiver: RTCRtpTransceiver;
}

/** Call it in the task in which the remote description was set. One direction a line: nothing flows that has no transform. */
export function attachE2ee(
    transceiver: RTCRtpTransceiver,
    worker: Worker,
    options: TransformOptions,
): Attached {
    const transform = new RTCRtpScriptTransform(worker, options);
    if (options.side === 'send') {
        transceiver.direction = 'sendonly';
        transceiver.sender.transform = transform;
    } else {
        transceiver.direction = 'recvonly';
        transceiver.receiver.transform = transform;
    }
    return { ...options, mid: transceiver.mid ?? '', transceiver };
}

/** Let a track in, once the worker has said `attached`; null: nothing goes out. */
export async function sendBehind(
    { transceiver, side }: Attached,
    track: MediaStreamTrack | null,
): Promise<void> {
    if (side !== 'send') throw new TypeError('a line that receives');
    await transceiver.sender.replaceTrack(track);
}
