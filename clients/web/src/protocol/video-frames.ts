/**
 * How a sealed frame lies around the bytes that a codec's packets need in the clear (spec 09, "Sealed frames").
 *
 * `frame = clear || sframe || trailer`. The clear bytes stand in front because browsers and the bridge read a codec's
 * header there; the trailer says how many they are, and that the frame is sealed. No key is here: who has one seals and
 * opens in `sealing/opening/media`.
 */

import { type Bytes, concat, sameBytes } from '~/protocol/bytes';
import { MediaKind } from '~/protocol/video';

/** The last bytes of every sealed frame, "LS" and the version of this layout. */
export const MARK: Bytes = Uint8Array.of(0x4c, 0x53, 1);
export const TRAILER_BYTES = 1 + MARK.length;
/** The longest sealed frame: a key frame of 720 lines at its worst has a third of it. */
export const FRAME_BYTES = 1_048_576;
/** By kind of media. A receiver takes no more: what is in the clear, the bridge can read. */
const MOST_CLEAR_BYTES: Readonly<Record<MediaKind, number>> = { [MediaKind.audio]: 1, [MediaKind.video]: 10 };
const VP8_HEADER = 3;
const VP8_KEY_HEADER = 10;

/** Whether a VP8 frame, sealed or not, is one that a decoder can begin with (RFC 6386 section 9.1). */
export function isKeyFrame(frame: Uint8Array): boolean {
    return frame[0] !== undefined && (frame[0] & 1) === 0;
}

/** How many bytes of an encoded frame a sender leaves in the clear: never more than its codec's own header. */
export function clearBytes(media: MediaKind, frame: Uint8Array): number {
    const header = isKeyFrame(frame) ? VP8_KEY_HEADER : VP8_HEADER;
    return Math.min(frame.length, media === MediaKind.audio ? MOST_CLEAR_BYTES[media] : header);
}

/** What is authenticated behind the SFrame header: the bridge cannot change a clear byte, nor take sound for picture. */
export function frameMetadata(media: MediaKind, clear: Bytes): Bytes {
    return concat([Uint8Array.of(media), clear]);
}

/** The frame as packets carry it. */
export function putTogether(clear: Bytes, sframe: Bytes): Bytes {
    return concat([clear, sframe, Uint8Array.of(clear.length), MARK]);
}

/** The parts of a received frame; null when it is no sealed frame of this kind of media. */
export function takeApart(media: MediaKind, frame: Bytes): { clear: Bytes; sframe: Bytes } | null {
    if (!isSealed(frame) || frame.length > FRAME_BYTES) return null;
    const end = frame.length - TRAILER_BYTES;
    const clear = frame[end] ?? Infinity;
    if (clear > MOST_CLEAR_BYTES[media] || clear > end) return null;
    return { clear: frame.slice(0, clear), sframe: frame.slice(clear, end) };
}

/** Whether these bytes end as a sealed frame does. */
export function isSealed(end: Bytes): boolean {
    return end.length >= TRAILER_BYTES && sameBytes(end.subarray(-MARK.length), MARK);
}
