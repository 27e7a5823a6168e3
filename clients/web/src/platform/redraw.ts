/** A picture drawn anew: what can be seen in it and nothing else that its file carried. See the port, `Handset.redraw`. */
import { fitted } from '~/model/picture';

const JPEG_QUALITY = 0.85;

export async function redraw(picture: Blob, longestPx: number): Promise<Blob | null> {
    let bitmap: ImageBitmap | null = null;
    try {
        bitmap = await createImageBitmap(picture, { imageOrientation: 'from-image' });
        const [width, height] = fitted(bitmap.width, bitmap.height, longestPx);
        const canvas = new OffscreenCanvas(width, height);
        const pen = canvas.getContext('2d', { alpha: false });
        if (pen === null) return null;
        // A JPEG has no transparency: what was clear becomes paper, not ink.
        pen.fillStyle = '#fff';
        pen.fillRect(0, 0, width, height);
        pen.imageSmoothingQuality = 'high';
        pen.drawImage(bitmap, 0, 0, width, height);
        const drawn = await canvas.convertToBlob({ type: 'image/jpeg', quality: JPEG_QUALITY });
        return drawn.type === 'image/jpeg' ? drawn : null;
    } catch {
        // A format that this browser does not know, no room for so many pixels, or no OffscreenCanvas.
        return null;
    } finally {
        bitmap?.close();
    }
}
