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

function sideOf(camera: Camera): MediaTrackConstraints {
    return { facingMode: camera === 'front' ? 'user' : 'environment' };
}

/**
 * What is asked for, until one is given. Chromium sends three sizes from 960x540 on, and only two of a smaller picture, so more than
 * that is wanted wherever there is more; a camera that will not start so may at a size of its own. Then sound alone, since that
 * carries most of a call, and at last a picture alone: not everybody speaks.
 */
function wishes(camera: Camera, video: boolean): readonly MediaStreamConstraints[] {
    const side = sideOf(camera);
    const large = {
        ...side,
        width: { ideal: 1280 },
        height: { ideal: 720 },
        frameRate: { ideal: 25 },
    };
    const sound = { audio: AUDIO, video: false };
    if (!video) return [sound];
    return [
        { audio: AUDIO, video: large },
        { audio: AUDIO, video: side },
        sound,
        { audio: false, video: side },
    ];
}

export async function openOwnMedia(camera: Camera, video: boolean): Promise<Opened> {
    // Absent in insecure contexts, whatever the types say.
    const devices = navigator.mediaDevices as MediaDevices | undefined;
    if (devices === undefined) return { trouble: 'missing' };
    let trouble: DeviceTrouble = 'none';
    for (const wish of wishes(camera, video)) {
        // Somebody who said no to the camera is asked once more, for sound alone, and no third time.
        if (trouble === 'refused' && wish.video !== false) continue;
        try {
            return await ownOf(await devices.getUserMedia(wish), devices, trouble);
        } catch (error) {
            // The first is why it is less than was wanted.
            if (trouble === 'none') trouble = troubleOf(error);
        }
    }
    return { trouble: trouble === 'none' ? 'missing' : trouble };
}

async function ownOf(stream: MediaStream, devices: MediaDevices, trouble: DeviceTrouble): Promise<OwnMedia> {
    const cameras = (await devices.enumerateDevices()).filter(({ kind }) => kind === 'videoinput');
    const [audio = null] = stream.getAudioTracks();
    const [video = null] = stream.getVideoTracks();
    // A picture of another size is all that was wanted.
    const lacks = audio !== null && video !== null ? 'none' : trouble;
    return { stream, audio, video, twoCameras: cameras.length > 1, lacks };
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
