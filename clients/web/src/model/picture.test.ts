import { expect, test } from 'vitest';
import { canRedraw, fitted, LONGEST_SIDE_PX, original, outgoing, type Redraw } from './picture';

const photo = new Blob(['as the camera wrote it'], { type: 'image/jpeg' });
const drawn = new Blob(['what can be seen'], { type: 'image/jpeg' });
const draws: Redraw = () => Promise.resolve(drawn);
const cannot: Redraw = () => Promise.resolve(null);
const mustNot: Redraw = () => Promise.reject(new Error('was asked to draw'));

test('a photo is drawn anew, and tells nothing', async () => {
    const asked: [Blob, number][] = [];
    const sent = await outgoing(photo, 'IMG.0001.JPEG', (picture, longestPx) => {
        asked.push([picture, longestPx]);
        return Promise.resolve(drawn);
    });
    expect(sent).toEqual({ file: drawn, name: 'IMG.0001.jpg', tells: false });
    expect(asked).toEqual([[photo, LONGEST_SIDE_PX]]);
});

test('a photo that this device cannot read leaves as it is, and the person is told', async () => {
    const sent = await outgoing(photo, 'a.heic', cannot);
    expect(sent).toEqual({ file: photo, name: 'a.heic', tells: true });
});

test.each([
    ['image/png', 'a.png'],
    ['image/webp', 'a.webp'],
    ['image/heic', 'a.heic'],
    ['', 'IMG_0001.HEIC'],
])('%s %s is drawn anew', async (type, name) => {
    const sent = await outgoing(new Blob(['x'], { type }), name, draws);
    expect([sent.file, sent.tells]).toEqual([drawn, false]);
});

test.each([
    ['image/gif', 'a.gif', true],
    ['image/svg+xml', 'a.svg', true],
    ['video/mp4', 'a.mp4', true],
    ['', 'a.MOV', true],
    ['application/pdf', 'a.pdf', false],
    ['', 'notes', false],
])('%s %s leaves as it is', async (type, name, tells) => {
    const file = new Blob(['x'], { type });
    expect(canRedraw(type, name)).toBe(false);
    expect(await outgoing(file, name, mustNot)).toEqual({ file, name, tells });
});

test('the original is the very file, and tells', () => {
    expect(original(photo, 'a.jpg')).toEqual({ file: photo, name: 'a.jpg', tells: true });
});

test('a name without an ending gets one', async () => {
    expect((await outgoing(photo, 'image', draws)).name).toBe('image.jpg');
});

test.each([
    [4_000, 3_000, 2_048, 1_536],
    [3_000, 4_000, 1_536, 2_048],
    [2_048, 100, 2_048, 100],
    [640, 480, 640, 480],
    [100_000, 1, 2_048, 1],
])('%i x %i px becomes %i x %i', (width, height, ...fits) => {
    expect(fitted(width, height, LONGEST_SIDE_PX)).toEqual(fits);
});
