/**
 * The sealing worker: every frame of a call's media goes through it, out and in (spec 09, "Sealed frames").
 *
 * Keys come from the engine's worker over a port of their own; the page hands the port on and never sees what goes over it.
 * A frame for which there is no key, or that does not hold, is dropped here.
 */
import { systemClock } from '~/platform/clock';
import type { Bytes } from '~/protocol/bytes';
import type { DeviceId } from '~/protocol/ids';
import type { MediaKind } from '~/protocol/video';
import { CallKeys, FrameOpener, FrameSealer, type KeyedEpoch } from '~/sealing/opening/media-frames';
import type { FromSealer, ToSealer, TransformId, TransformOptions } from './sealing-words';

type EncodedFrame = RTCEncodedAudioFrame | RTCEncodedVideoFrame;

const keys = new CallKeys();
/** Frames that each sender was given so far. */
const given = new Map<TransformId, number>();
const openers = new Map<TransformId, FrameOpener>();
/** Said of transforms that may not be here yet. */
const places = new Map<TransformId, DeviceId | null>();

const nowMs = (): number => systemClock.monotonicMs();
const say = (words: FromSealer): void => self.postMessage(words);

/** What waits for this worker when a question comes has been counted so much later. */
const FRAMES_FIRST_MS = 50;
/** Frames of one transform that may be under way at once. */
const MOST_UNDER_WAY = 32;

/**
 * Take frames as they come, work on several at once, and let them out in their order. `came` hears of each at once, however long
 * the work takes: the page compares that with what the browser encoded.
 */
async function run(
    transformer: RTCRtpScriptTransformer,
    came: () => void,
    step: (frame: Bytes) => Promise<Bytes | null>,
): Promise<void> {
    const reader = (transformer.readable as ReadableStream<EncodedFrame>).getReader();
    const writer = (transformer.writable as WritableStream<EncodedFrame>).getWriter();
    let out: Promise<void> = Promise.resolve();
    let underWay = 0;
    const letOut = async (frame: EncodedFrame, before: Promise<void>): Promise<void> => {
        // Begun now, in the order of arrival: counters rise with it.
        const stepped = step(new Uint8Array(frame.data));
        const [bytes] = await Promise.all([stepped, before]);
        underWay -= 1;
        if (bytes === null) return;
        frame.data = bytes.buffer;
        await writer.write(frame);
    };
    for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        came();
        underWay += 1;
        out = letOut(value, out);
        // Once one cannot be let out, the line has ended: none after it is, either.
        out.catch(() => undefined);
        if (underWay >= MOST_UNDER_WAY) await out;
    }
}

/** It ends with its transceiver, which is nobody's failure. */
function runUntilEnd(running: Promise<void>, ended: () => void): void {
    void running.then(ended, ended);
}

function send(transformer: RTCRtpScriptTransformer, id: TransformId, media: MediaKind): void {
    const sealer = new FrameSealer(keys, media);
    given.set(id, 0);
    const came = (): void => void given.set(id, (given.get(id) ?? 0) + 1);
    runUntilEnd(
        run(transformer, came, (frame) => sealer.seal(frame, nowMs())),
        () => given.delete(id),
    );
}

function receive(transformer: RTCRtpScriptTransformer, id: TransformId, media: MediaKind): void {
    const opener = new FrameOpener(keys, media, (alarm) => say({ kind: 'alarm', id, alarm }));
    opener.place(places.get(id) ?? null, nowMs());
    openers.set(id, opener);
    const step = async (frame: Bytes): Promise<Bytes | null> => {
        const opened = await opener.open(frame, nowMs());
        // Refused where the line is gone meanwhile.
        if (opened !== null && opener.wantsKey(nowMs()))
            void transformer.sendKeyFrameRequest().catch(() => undefined);
        return opened;
    };
    runUntilEnd(
        run(transformer, () => undefined, step),
        () => {
            openers.delete(id);
            places.delete(id);
        },
    );
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
            // Behind the frames that wait already: words come by another way, and on a machine that is busy may pass them.
            setTimeout(() => say({ kind: 'counted', ask: words.ask, given }), FRAMES_FIRST_MS);
            break;
    }
});
