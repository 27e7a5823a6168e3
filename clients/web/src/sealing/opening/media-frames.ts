/**
 * One call's frames on one device: sealed with the newest epoch's key, opened with whose key they should have. Spec 09, "Sealed
 * frames". It runs in the sealing worker; time is an argument.
 *
 * A sender goes over to a new epoch a moment after its keys came, so that the others have theirs too: whoever is not in the new
 * epoch hears so much longer, and the bridge stops them at once. Until there is a key nothing is sent: a frame is dropped, never
 * passed on as it is.
 */
import type { DeviceId } from '~/protocol/ids';
import { MediaKind } from '~/protocol/video';
import { isKeyFrame } from '~/protocol/video-frames';
import { SealingError } from '../errors';
import type { Bytes } from '../public/encoding';
import { type MediaEpoch, type MediaKey, MediaReceiver, mediaSender } from './media';

/** From a new epoch's keys to the first frame sealed with them. */
export const SWITCH_MS = 400;
/** Three of a kind within so long are told to the person. */
export const ALARM_WINDOW_MS = 10_000;
export const ALARM_FRAMES = 3;
/** Frames of who had an m-line before may come for so long after it changed hands. */
export const HANDOVER_MS = 2_000;
/** A key frame is asked for this often, until it comes. */
export const KEY_FRAME_EVERY_MS = 500;

export type FrameTrouble = 'unopened' | 'swapped' | 'replayed';

/** What engine and worker hand over: the epoch, and this device's place in its roster (null: it is not in it). */
export interface KeyedEpoch {
    readonly media: MediaEpoch;
    readonly index: number | null;
}

/** The keys of one call. */
export class CallKeys {
    readonly receiver = new MediaReceiver();
    #newest: KeyedEpoch | null = null;
    #before: KeyedEpoch | null = null;
    #sinceMs = 0;

    /** A newer epoch; an older one changes nothing. */
    take(epoch: KeyedEpoch, nowMs: number): void {
        if (this.#newest !== null && epoch.media.epoch <= this.#newest.media.epoch) return;
        this.receiver.startEpoch(epoch.media, nowMs);
        this.#before = this.#newest;
        this.#newest = epoch;
        this.#sinceMs = nowMs;
    }

    /** What a sender seals with now; null: it has no key. */
    sending(nowMs: number): KeyedEpoch | null {
        if (this.#before !== null && nowMs - this.#sinceMs < SWITCH_MS) return this.#before;
        this.#before = null;
        return this.#newest;
    }
}

/** One track that goes out. */
export class FrameSealer {
    #key: { readonly epoch: MediaEpoch; readonly made: Promise<MediaKey> } | null = null;

    constructor(
        private readonly keys: CallKeys,
        private readonly media: MediaKind,
    ) {}

    /** The sealed frame; null: there is no key, nothing may go out. Frames may be under way at once, in their order. */
    async seal(frame: Bytes, nowMs: number): Promise<Bytes | null> {
        const now = this.keys.sending(nowMs);
        if (now?.index == null) return null;
        if (this.#key?.epoch !== now.media)
            this.#key = { epoch: now.media, made: mediaSender(now.media, now.index) };
        try {
            return await (await this.#key.made).sealFrame(this.media, frame);
        } catch (error) {
            // One that no receiver would take.
            if (error instanceof SealingError) return null;
            throw error;
        }
    }
}

/** One m-line's frames as they come in. */
export class FrameOpener {
    #device: DeviceId | null = null;
    #placedMs = -HANDOVER_MS;
    readonly #troubles = new Map<FrameTrouble, number[]>();
    /** A picture that lost a frame shows nothing before its next key frame. */
    #misses = false;
    #askedMs = -KEY_FRAME_EVERY_MS;

    constructor(
        private readonly keys: CallKeys,
        private readonly media: MediaKind,
        private readonly alarmed: (trouble: FrameTrouble) => void,
    ) {}

    place(device: DeviceId | null, nowMs: number): void {
        if (this.#device === device) return;
        this.#device = device;
        this.#placedMs = nowMs;
        this.#troubles.clear();
    }

    /** The codec's frame; null: it does not hold, or came before, and is dropped. */
    async open(frame: Bytes, nowMs: number): Promise<Bytes | null> {
        // Whose it should be is not said yet.
        if (this.#device === null) {
            this.#misses = true;
            return null;
        }
        try {
            const opened = await this.keys.receiver.openFrame(this.media, frame, this.#device, nowMs);
            if (isKeyFrame(opened)) this.#misses = false;
            return opened;
        } catch (error) {
            if (!(error instanceof SealingError)) throw error;
            // What comes a second time is missing to nobody.
            if (error.code !== 'E_REPLAY' && error.code !== 'E_DUPLICATE') this.#misses = true;
            this.#count(error.code, nowMs);
            return null;
        }
    }

    /** Whether a key frame is to be asked for now: frames open (again), and build on one that did not. Ask after each. */
    wantsKey(nowMs: number): boolean {
        if (this.media !== MediaKind.video || !this.#misses) return false;
        if (nowMs - this.#askedMs < KEY_FRAME_EVERY_MS) return false;
        this.#askedMs = nowMs;
        return true;
    }

    #count(code: string, nowMs: number): void {
        const trouble = TROUBLES[code];
        // Of an epoch whose commit is under way, or doubled on its way: no alarm.
        if (trouble === undefined) return;
        if (trouble === 'swapped' && nowMs - this.#placedMs < HANDOVER_MS) return;
        const since = nowMs - ALARM_WINDOW_MS;
        const times = [...(this.#troubles.get(trouble) ?? []).filter((ms) => ms > since), nowMs];
        if (times.length >= ALARM_FRAMES) {
            this.#troubles.delete(trouble);
            this.alarmed(trouble);
        } else this.#troubles.set(trouble, times);
    }
}

const TROUBLES: Readonly<Record<string, FrameTrouble>> = {
    E_AEAD: 'unopened',
    E_FORMAT: 'unopened',
    E_AUTHZ: 'swapped',
    E_REPLAY: 'replayed',
};
