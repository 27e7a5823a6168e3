// A screenshot as a PNG of a few colours (PNG, RFC 2083, colour type 3): a third of the bytes, and the same to the eye.
import { crc32, deflateSync } from 'node:zlib';

const COLOURS = 128;
/** Bits of a channel that tell colours apart. */
const KEPT_BITS = 0b11111000;

/** The pixels of a PNG, as the browser reads them: width, height, RGBA in base64. */
function pixels(page, png) {
    return page.evaluate(async (source) => {
        const bytes = Uint8Array.from(atob(source), (one) => one.charCodeAt(0));
        const bitmap = await createImageBitmap(new Blob([bytes], { type: 'image/png' }));
        const { width, height } = bitmap;
        const pen = new OffscreenCanvas(width, height).getContext('2d');
        pen.drawImage(bitmap, 0, 0);
        const { data } = pen.getImageData(0, 0, width, height);
        const url = await new Promise((done) => {
            const reader = new FileReader();
            reader.onload = () => done(reader.result);
            reader.readAsDataURL(new Blob([data]));
        });
        return { width, height, rgba: url.slice(url.indexOf(',') + 1) };
    }, Buffer.from(png).toString('base64'));
}

function chunk(name, body) {
    const part = Buffer.concat([Buffer.from(name, 'latin1'), body]);
    const framed = Buffer.alloc(part.length + 8);
    framed.writeUInt32BE(body.length);
    part.copy(framed, 4);
    framed.writeUInt32BE(crc32(part), part.length + 4);
    return framed;
}

/** How far from grey, 0 to 255. */
function strength(colour) {
    const channels = [colour >> 16, (colour >> 8) & 0xff, colour & 0xff];
    return Math.max(...channels) - Math.min(...channels);
}

/**
 * The most frequent colours, strong ones before the many greys at the edges of letters: a status is a small dot. Of those
 * that look the same, the one that is there most often.
 */
function palette(counts) {
    const best = new Map();
    for (const [colour, count] of counts) {
        const key = colour & ((KEPT_BITS << 16) | (KEPT_BITS << 8) | KEPT_BITS);
        const one = best.get(key) ?? { colour, most: 0 };
        if (count > one.most) [one.colour, one.most] = [colour, count];
        best.set(key, one);
    }
    const weight = (one) => one.most * (1 + strength(one.colour));
    return [...best.values()]
        .sort((a, b) => weight(b) - weight(a))
        .slice(0, COLOURS)
        .map((one) => one.colour);
}

function nearest(colours, colour) {
    const apart = (other, shift) => ((other >> shift) & 0xff) - ((colour >> shift) & 0xff);
    let [found, least] = [0, Infinity];
    for (const [n, other] of colours.entries()) {
        const far = apart(other, 16) ** 2 + apart(other, 8) ** 2 + apart(other, 0) ** 2;
        if (far < least) [found, least] = [n, far];
    }
    return found;
}

/** The same picture in at most so many colours. `page`: any page of the browser that took it. */
export async function indexed(page, png) {
    const { width, height, rgba } = await pixels(page, png);
    const data = Buffer.from(rgba, 'base64');
    const counts = new Map();
    const at = (n) => data.readUInt32BE(n * 4) >>> 8;
    for (let n = 0; n < width * height; n++) counts.set(at(n), (counts.get(at(n)) ?? 0) + 1);
    const colours = palette(counts);
    const numbers = new Map([...counts.keys()].map((colour) => [colour, nearest(colours, colour)]));
    const rows = Buffer.alloc((width + 1) * height);
    for (let n = 0; n < width * height; n++)
        rows[Math.floor(n / width) * (width + 1) + 1 + (n % width)] = numbers.get(at(n));
    const header = Buffer.alloc(13);
    header.writeUInt32BE(width);
    header.writeUInt32BE(height, 4);
    // 8 bits, by palette, deflate, its one filter method, not interlaced.
    header.set([8, 3, 0, 0, 0], 8);
    return Buffer.concat([
        Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'),
        chunk('IHDR', header),
        chunk('PLTE', Buffer.from(colours.flatMap((one) => [one >> 16, (one >> 8) & 0xff, one & 0xff]))),
        chunk('IDAT', deflateSync(rows, { level: 9 })),
        chunk('IEND', Buffer.alloc(0)),
    ]);
}
