/** Pictures of nobody: what a camera would show, drawn, as a stream. */

interface Drawing {
    /** Hue of the room, in degrees. */
    readonly hue: number;
    readonly skin: string;
    readonly shirt: string;
    /** Hands are seen: somebody signs. */
    readonly hands?: boolean;
    /** Sits on a step, seen whole. */
    readonly whole?: boolean;
    readonly upright?: boolean;
}

function draw(canvas: HTMLCanvasElement, { hue, skin, shirt, hands, whole }: Drawing): void {
    const pen = canvas.getContext('2d');
    if (pen === null) return;
    const { width, height } = canvas;
    const wall = pen.createLinearGradient(0, 0, width, height);
    wall.addColorStop(0, `hsl(${hue} 22% 34%)`);
    wall.addColorStop(1, `hsl(${hue} 28% 16%)`);
    pen.fillStyle = wall;
    pen.fillRect(0, 0, width, height);
    pen.fillStyle = `hsl(${hue} 20% 24%)`;
    pen.fillRect(width * 0.08, height * 0.1, width * 0.18, height * 0.42);
    const size = whole ? height * 0.13 : height * 0.24;
    const [x, y] = [width * 0.52, whole ? height * 0.34 : height * 0.42];
    const disc = (atX: number, atY: number, wide: number, high: number, colour: string): void => {
        pen.fillStyle = colour;
        pen.beginPath();
        pen.ellipse(atX, atY, wide, high, 0, 0, Math.PI * 2);
        pen.fill();
    };
    disc(x, y + size * 2.6, size * 1.75, size * 1.7, shirt);
    if (whole) {
        disc(x - size, y + size * 4.4, size * 0.6, size * 1.3, '#27323f');
        disc(x + size, y + size * 4.4, size * 0.6, size * 1.3, '#27323f');
        pen.fillStyle = `hsl(${hue} 12% 30%)`;
        pen.fillRect(0, y + size * 5.1, width, height);
    }
    disc(x, y + size * 0.75, size * 0.4, size * 0.7, skin);
    disc(x, y, size * 0.72, size * 0.92, skin);
    disc(x, y - size * 0.55, size * 0.76, size * 0.5, '#241a14');
    disc(x - size * 0.26, y, size * 0.07, size * 0.07, '#1b1512');
    disc(x + size * 0.26, y, size * 0.07, size * 0.07, '#1b1512');
    if (hands) {
        disc(x - size * 1.35, y + size * 1.2, size * 0.38, size * 0.46, skin);
        disc(x + size * 1.2, y + size * 0.7, size * 0.36, size * 0.48, skin);
    }
}

/** A camera that shows this, again and again: a picture of it waits for no first frame. */
export function streamOf(drawing: Drawing): MediaStream {
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = drawing.upright ? [360, 640] : [640, 360];
    draw(canvas, drawing);
    const stream = canvas.captureStream(5);
    setInterval(() => draw(canvas, drawing), 200);
    return stream;
}

/** The same with a sound in it: silence. */
export function heardOf(stream: MediaStream | null): MediaStream {
    const [silence] = new AudioContext().createMediaStreamDestination().stream.getAudioTracks();
    return new MediaStream([...(stream?.getVideoTracks() ?? []), ...(silence ? [silence] : [])]);
}
