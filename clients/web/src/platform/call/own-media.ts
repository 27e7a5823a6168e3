/** Camera and microphone of this device, and how loud it is. */
import type { Camera, DeviceTrouble } from '~/model/call/call';
import type { Opened, OwnMedia } from '~/model/call/media';

const AUDIO: MediaTrackConstraints = {
    echoCancellation: true,
    noiseSuppression: true,
    autoGainControl: true,
};
const LEVEL_MS = 100;
/** Speech at arm's length fills the bar. */
const FULL = 0.25;

function pictureOf(camera: Camera): MediaTrackConstraints {
    return {
        facingMode: camera === 'front' ? 'user' : 'environment',
        width: { ideal: 1280 },
        height: { ideal: 720 },
        frameRate: { ideal: 25, max: 30 },
    };
}

/** Both, or the sound alone where there is no camera. */
export async function openOwnMedia(camera: Camera, video: boolean): Promise<Opened> {
    // Absent in insecure contexts, whatever the types say.
    const devices = navigator.mediaDevices as MediaDevices | undefined;
    if (devices === undefined) return { trouble: 'missing' };
    try {
        const stream = await devices.getUserMedia({ audio: AUDIO, video: video && pictureOf(camera) });
        return await ownOf(stream, devices);
    } catch (error) {
        const trouble = troubleOf(error);
        return trouble === 'missing' && video ? await openOwnMedia(camera, false) : { trouble };
    }
}

async function ownOf(stream: MediaStream, devices: MediaDevices): Promise<OwnMedia> {
    const cameras = (await devices.enumerateDevices()).filter(({ kind }) => kind === 'videoinput');
    return {
        stream,
        audio: stream.getAudioTracks()[0] ?? null,
        video: stream.getVideoTracks()[0] ?? null,
        twoCameras: cameras.length > 1,
    };
}

function troubleOf(error: unknown): Exclude<DeviceTrouble, 'none'> {
    switch (error instanceof DOMException ? error.name : '') {
        case 'NotAllowedError':
        case 'SecurityError':
            return 'refused';
        case 'NotReadableError':
        case 'AbortError':
            return 'busy';
        default:
            return 'missing';
    }
}

/** How loud a track is, 0 to 1, until the returned function is called. */
export function levelOf(track: MediaStreamTrack, tell: (level: number) => void): () => void {
    const context = new AudioContext();
    const analyser = context.createAnalyser();
    context.createMediaStreamSource(new MediaStream([track])).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    const timer = setInterval(() => {
        analyser.getFloatTimeDomainData(samples);
        const power = samples.reduce((sum, one) => sum + one * one, 0) / samples.length;
        tell(Math.min(1, Math.sqrt(power) / FULL));
    }, LEVEL_MS);
    return () => {
        clearInterval(timer);
        void context.close();
    };
}
