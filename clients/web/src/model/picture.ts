/**
 * What leaves the device for a file that a person chose. A photo as a camera wrote it says where and when it was taken,
 * and by which device, and is far larger than anybody needs on a poor line: so pictures are drawn anew, and only what
 * can be seen is sent. Spec 05, "Attachments".
 */

/** Longest side of a picture that was drawn anew. */
export const LONGEST_SIDE_PX = 2_048;

/** Draws a picture anew as a JPEG, upright; null: this device cannot read it. */
export type Redraw = (picture: Blob, longestPx: number) => Promise<Blob | null>;

export interface Outgoing {
    readonly file: Blob;
    readonly name: string;
    /** It leaves as it was recorded, and may tell where and when. */
    readonly tells: boolean;
}

/** Stills that a canvas can hold whole: a GIF would lose its motion, and a drawing in SVG its lines. Neither is of a camera. */
const DRAWN = /^image\/(jpeg|png|webp|avif|heic|heif|bmp|tiff)$/;
const RECORDED = /^(image|video|audio)\//;
/** Formats for which many systems have no media type. */
const RECORDED_NAME = /\.(heic|heif|avif|tiff?|dng|cr[23]|nef|arw|mov|mp4|m4[av]|3gp)$/i;
const HEIC_NAME = /\.hei[cf]$/i;

/** Whether a picture of this kind is drawn anew before it is sent, where the device can read it. */
export function canRedraw(mediaType: string, name: string): boolean {
    return DRAWN.test(mediaType) || (mediaType === '' && HEIC_NAME.test(name));
}

/** The file itself, byte for byte. */
export function original(file: Blob, name: string): Outgoing {
    return { file, name, tells: RECORDED.test(file.type) || RECORDED_NAME.test(name) };
}

/** The picture drawn anew; any other file, and a picture that this device cannot read, as it is. */
export async function outgoing(file: Blob, name: string, redraw: Redraw): Promise<Outgoing> {
    if (!canRedraw(file.type, name)) return original(file, name);
    const drawn = await redraw(file, LONGEST_SIDE_PX);
    if (drawn === null) return original(file, name);
    return { file: drawn, name: `${name.replace(/\.[^.]*$/, '')}.jpg`, tells: false };
}

/** Width and height that fit into a square of `longestPx`, in the same proportion; never larger than they were. */
export function fitted(widthPx: number, heightPx: number, longestPx: number): readonly [number, number] {
    const scale = Math.min(1, longestPx / Math.max(widthPx, heightPx));
    return [Math.max(1, Math.round(widthPx * scale)), Math.max(1, Math.round(heightPx * scale))];
}
