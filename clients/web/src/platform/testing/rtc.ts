/**
 * A browser's WebRTC that pretends, as far as a sealed call needs it.
 *
 * It keeps to the standard's order of events, and is as treacherous as Chromium: a sender's transform that is set later than in
 * the very step in which `setRemoteDescription` resolved is ignored without a word, and what is encoded then leaves as it is. The
 * same comes of a track that is let in before the worker took the transform over. `plain` counts such frames.
 */
import { vi } from 'vitest';
import { FakeStream, FakeTrack } from '~/testing/call-media';
import type { FromSealer, ToSealer, TransformId, TransformOptions } from '../call/sealing-words';

/** A worker on the other side of a slow line: it says `attached`, and counts, a little later. */
export class FakeSealingWorker {
    onmessage: ((event: { readonly data: FromSealer }) => void) | null = null;
    onerror: ((event: unknown) => void) | null = null;
    readonly heard: ToSealer[] = [];
    readonly attached = new Set<TransformId>();
    readonly given = new Map<TransformId, number>();
    terminated = false;
    /** How long it takes to say anything; infinite: it hangs. */
    lagMs = 5;

    postMessage(words: ToSealer): void {
        this.heard.push(words);
        if (words.kind !== 'count') return;
        const { ask } = words;
        this.#later(() => this.say({ kind: 'counted', ask, given: new Map(this.given) }));
    }

    /** A transform came over to it, whether or not its sender takes it. */
    transforms({ id }: TransformOptions): void {
        this.#later(() => {
            this.attached.add(id);
            this.say({ kind: 'attached', id });
        });
    }

    say(data: FromSealer): void {
        if (!this.terminated) this.onmessage?.({ data });
    }

    terminate(): void {
        this.terminated = true;
    }

    #later(work: () => void): void {
        if (Number.isFinite(this.lagMs)) setTimeout(work, this.lagMs);
    }
}

class FakeScriptTransform {
    constructor(
        readonly worker: FakeSealingWorker,
        readonly options: TransformOptions,
    ) {
        worker.transforms(options);
    }
}

class FakeSender {
    track: FakeTrack | null = null;
    encoded = 0;
    parameters: { encodings: RTCRtpEncodingParameters[] };
    #sealing: FakeScriptTransform | null = null;

    constructor(
        private readonly pc: FakePeerConnection,
        kind: string,
    ) {
        const rids = kind === 'video' ? pc.rids : [undefined];
        this.parameters = { encodings: rids.map((rid) => (rid === undefined ? {} : { rid })) };
    }

    set transform(transform: FakeScriptTransform) {
        if (this.pc.takesTransforms) this.#sealing = transform;
    }

    replaceTrack(track: FakeTrack | null): Promise<void> {
        this.track = track;
        return Promise.resolve();
    }

    getParameters(): FakeSender['parameters'] {
        return structuredClone(this.parameters);
    }

    setParameters(parameters: FakeSender['parameters']): Promise<void> {
        this.parameters = parameters;
        return Promise.resolve();
    }

    /** What a camera and an encoder do all the time. */
    encode(frames: number): void {
        if (this.track?.readyState !== 'live' || this.pc.connectionState === 'closed') return;
        this.encoded += frames;
        const { worker, options } = this.#sealing ?? {};
        if (worker === undefined || options === undefined || !worker.attached.has(options.id))
            this.pc.plain += frames;
        else worker.given.set(options.id, (worker.given.get(options.id) ?? 0) + frames);
    }
}

class FakeTransceiver {
    direction: RTCRtpTransceiverDirection = 'recvonly';
    readonly sender: FakeSender;
    readonly receiver: { readonly track: FakeTrack; transform?: FakeScriptTransform };
    constructor(
        pc: FakePeerConnection,
        readonly mid: string,
        kind: 'audio' | 'video',
    ) {
        this.sender = new FakeSender(pc, kind);
        this.receiver = { track: new FakeTrack(kind) };
    }
}

/** An offer of these m-lines, as far as it is read here. */
export function offerOf(lines: Readonly<Record<string, 'audio' | 'video'>>, name = 'offer'): string {
    return [`s=${name}`, ...Object.entries(lines).map(([mid, kind]) => `m=${kind} ${mid}`)].join('\n');
}

export class FakePeerConnection {
    static readonly made: FakePeerConnection[] = [];
    /** Simulcast names of the picture that is sent. */
    rids: readonly string[] = ['q', 'h', 'f'];
    connectionState: RTCPeerConnectionState = 'new';
    localDescription: RTCSessionDescriptionInit | null = null;
    onconnectionstatechange: (() => void) | null = null;
    /** Frames that left unsealed. */
    plain = 0;
    /** Entries of `getStats`, besides those of its senders. */
    readonly stats: object[] = [];
    /** As a browser that ignores every transform. */
    ignores = false;
    #remote: string | null = null;
    #fresh = false;
    readonly #transceivers: FakeTransceiver[] = [];

    constructor(readonly configuration: RTCConfiguration) {
        FakePeerConnection.made.push(this);
    }

    get takesTransforms(): boolean {
        return this.#fresh && !this.ignores;
    }

    async setRemoteDescription({ sdp = '' }: RTCSessionDescriptionInit): Promise<void> {
        await Promise.resolve();
        if (sdp.startsWith('bad')) throw new DOMException('no offer', 'OperationError');
        this.#remote = sdp;
        for (const [, kind, mid] of sdp.matchAll(/^m=(audio|video) (.*)$/gm)) {
            if (mid === undefined || this.#transceivers.some((one) => one.mid === mid)) continue;
            this.#transceivers.push(new FakeTransceiver(this, mid, kind as 'audio' | 'video'));
        }
        this.#fresh = true;
        // Whoever awaits this goes on before the second of these.
        queueMicrotask(() => queueMicrotask(() => (this.#fresh = false)));
    }

    createAnswer(): Promise<RTCSessionDescriptionInit> {
        if (this.#remote === null) return Promise.reject(new DOMException('no offer', 'InvalidStateError'));
        return Promise.resolve({ type: 'answer', sdp: `answer to ${this.#remote.split('\n')[0] ?? ''}` });
    }

    async setLocalDescription(description: RTCSessionDescriptionInit): Promise<void> {
        await Promise.resolve();
        // Stable: there is no offer to answer any more.
        this.#remote = null;
        this.localDescription = description;
    }

    getTransceivers(): readonly FakeTransceiver[] {
        return this.#transceivers;
    }

    line(mid: string): FakeTransceiver {
        const found = this.#transceivers.find((one) => one.mid === mid);
        if (found === undefined) throw new Error(`no line ${mid}`);
        return found;
    }

    /** Every sender encodes so many frames. */
    encode(frames: number): void {
        for (const { sender } of this.#transceivers) sender.encode(frames);
    }

    getStats(): Promise<readonly object[]> {
        const sent = this.#transceivers.map(({ sender, receiver: { track } }) => ({
            type: 'outbound-rtp',
            kind: track.kind,
            [track.kind === 'video' ? 'framesEncoded' : 'packetsSent']: sender.encoded,
        }));
        return Promise.resolve([...this.stats, ...sent]);
    }

    become(state: RTCPeerConnectionState): void {
        this.connectionState = state;
        this.onconnectionstatechange?.();
    }

    close(): void {
        this.connectionState = 'closed';
    }
}

/** Put them where the page looks for them; `vi.unstubAllGlobals` takes them away. The page's own events come by the target. */
export function stubRtc(): { readonly page: EventTarget; readonly workers: readonly FakeSealingWorker[] } {
    const page = new EventTarget();
    const workers: FakeSealingWorker[] = [];
    FakePeerConnection.made.length = 0;
    vi.stubGlobal('RTCPeerConnection', FakePeerConnection);
    vi.stubGlobal('RTCRtpScriptTransform', FakeScriptTransform);
    vi.stubGlobal('MediaStream', FakeStream);
    vi.stubGlobal(
        'Worker',
        class extends FakeSealingWorker {
            constructor() {
                super();
                workers.push(this);
            }
        },
    );
    vi.stubGlobal('self', globalThis);
    vi.stubGlobal('navigator', {});
    vi.stubGlobal('addEventListener', page.addEventListener.bind(page));
    vi.stubGlobal('removeEventListener', page.removeEventListener.bind(page));
    return { page, workers };
}
