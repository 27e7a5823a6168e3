/**
 * The sealing worker: every frame of a call's media goes through it, out and in (spec 09, "Sealed frames").
 *
 * Keys come from the engine's worker over a port of their own; the page hands the port on and never sees what goes over it.
 * A frame for which there is no key, or that does not hold, is dropped here.
 */
import { systemClock } from '~/platform/clock';
import type { Bytes } from '~/protocol/bytes';
import type { DeviceId } from '~/protocol/ids';
import { MediaKind } from '~/protocol/video';
import { isKeyFrame } from '~/protocol/video-frames';
import { CallKeys, FrameOpener, FrameSealer, type KeyedEpoch } from '~/sealing/opening/media-frames';
import type { FromSealer, ToSealer, TransformId, TransformOptions } from './sealing-words';

type EncodedFrame = RTCEncodedAudioFrame | RTCEncodedVideoFrame;
const KEY_FRAME_EVERY_MS = 500;

const keys = new CallKeys();
const sealers = new Map<TransformId, FrameSealer>();
const openers = new Map<TransformId, FrameOpener>();
/** Said of transforms that may not be here yet. */
const places = new Map<TransformId, DeviceId | null>();

const nowMs = (): number => systemClock.monotonicMs();
const say = (words: FromSealer): void => self.postMessage(words);

function run(
    { readable, writable }: RTCRtpScriptTransformer,
    step: (frame: Bytes) => Promise<Bytes | null>,
    ended: () => void,
): void {
    const transform = new TransformStream<EncodedFrame, EncodedFrame>({
        async transform(frame, out) {
            const bytes = await step(new Uint8Array(frame.data));
            if (bytes === null) return;
            frame.data = bytes.buffer;
            out.enqueue(frame);
        },
    });
    const [source, sink] = [
        readable as ReadableStream<EncodedFrame>,
        writable as WritableStream<EncodedFrame>,
    ];
    // It ends with its transceiver, which is nobody's failure.
    void source.pipeThrough(transform).pipeTo(sink).then(ended, ended);
}

function send(transformer: RTCRtpScriptTransformer, id: TransformId, media: MediaKind): void {
    const sealer = new FrameSealer(keys, media);
    sealers.set(id, sealer);
    run(
        transformer,
        (frame) => sealer.seal(frame, nowMs()),
        () => sealers.delete(id),
    );
}

function receive(transformer: RTCRtpScriptTransformer, id: TransformId, media: MediaKind): void {
    const opener = new FrameOpener(keys, media, (alarm) => say({ kind: 'alarm', id, alarm }));
    opener.place(places.get(id) ?? null, nowMs());
    openers.set(id, opener);
    const begin = media === MediaKind.video ? keyFrames(transformer) : () => undefined;
    run(
        transformer,
        async (frame) => {
            const opened = await opener.open(frame, nowMs());
            begin(opened);
            return opened;
        },
        () => {
            openers.delete(id);
            places.delete(id);
        },
    );
}

/** A picture that lost a frame shows nothing before its next key frame: it is asked for once frames open again. */
function keyFrames(transformer: RTCRtpScriptTransformer): (opened: Bytes | null) => void {
    let broken = false;
    let askedMs = -KEY_FRAME_EVERY_MS;
    return (opened) => {
        if (opened === null) broken = true;
        else if (isKeyFrame(opened)) broken = false;
        else if (broken && nowMs() - askedMs >= KEY_FRAME_EVERY_MS) {
            askedMs = nowMs();
            // Refused where the line is gone meanwhile.
            void transformer.sendKeyFrameRequest().catch(() => undefined);
        }
    };
}

self.addEventListener('rtctransform', (event) => {
    const { transformer } = event as RTCTransformEvent;
    const { id, side, media } = transformer.options as TransformOptions;
    if (side === 'send') send(transformer, id, media);
    else receive(transformer, id, media);
    say({ kind: 'attached', id });
});

self.addEventListener('message', (event) => {
    const words = (event as MessageEvent<ToSealer>).data;
    switch (words.kind) {
        case 'keys':
            words.port.onmessage = ({ data }: MessageEvent<KeyedEpoch>) => keys.take(data, nowMs());
            break;
        case 'place':
            places.set(words.id, words.device);
            openers.get(words.id)?.place(words.device, nowMs());
            break;
        case 'count':
            say({
                kind: 'counted',
                ask: words.ask,
                given: new Map([...sealers].map(([id, { given }]) => [id, given])),
            });
            break;
    }
});
