/**
 * What a receiver has opened already, so that nothing is opened twice or out of order. Spec 04, "Frame".
 *
 * A window of 64 for each sender instance (epoch, class, device, sid), 4,096 at most, the least used go first; and each
 * device's newest ephemeral frame, since of what replaces itself only what is older than that is refused. A durable
 * message is besides deduplicated by the local store, by device and message id.
 *
 * Counters have 64 bits on the wire, so they are `bigint` here: one that the kept state could not hold would keep a
 * member from starting again.
 */

import { refuse } from '../errors';
import { type Hex, type Value, asBytes, asList, asName, asUint, u64, unhex } from '../public/encoding';
import { EPHEMERAL } from '../public/entries';
import type { FrameHeader } from '../public/frame';
import type { Body } from './body';

export const WINDOW = 64;
export const MAX_WINDOWS = 4096;

/** The highest counter of a sender instance, and which of the 64 up to it were seen: bit 0 is the highest. */
interface ReplayWindow {
    readonly epoch: number;
    readonly keyClass: number;
    readonly device: Hex;
    readonly sid: Hex;
    readonly highest: bigint;
    readonly bits: bigint;
}

interface Newest {
    readonly epoch: number;
    readonly sid: Hex;
    readonly seq: bigint;
    readonly tsMs: number;
}

/** Names a sender instance: one process or tab, for one epoch and class. */
export function instanceOf(header: FrameHeader): string {
    return `${header.epoch} ${header.keyClass} ${header.sender} ${header.sid}`;
}

export class ReplayState {
    /** Least used first. */
    readonly #windows = new Map<string, ReplayWindow>();
    /** By device. */
    readonly #newest = new Map<Hex, Newest>();
    readonly #maxWindows: number;

    constructor(maxWindows: number = MAX_WINDOWS) {
        this.#maxWindows = maxWindows;
    }

    /** `E_REPLAY` for a frame that was opened before, or is too far behind to tell. */
    checkFresh(header: FrameHeader): void {
        const window = this.#windows.get(instanceOf(header));
        if (window === undefined) return;
        const behind = window.highest - header.seq;
        const seen = behind >= 0n && ((window.bits >> behind) & 1n) === 1n;
        if (seen || behind >= WINDOW) {
            refuse('E_REPLAY', 'seen already, or too far behind');
        }
    }

    /**
     * `E_STALE_POSITION` for an ephemeral frame older than that device's newest.
     *
     * Within one sender instance the counter tells; between two of one epoch the sender's own clock does; a later epoch
     * always wins, so a clock that once ran ahead blocks a device until the next epoch at most.
     */
    checkOrder(header: FrameHeader, body: Body): void {
        const newest = this.#newest.get(header.sender);
        if (header.keyClass !== EPHEMERAL || newest === undefined || header.epoch > newest.epoch) return;
        if (header.epoch === newest.epoch) {
            if (header.sid === newest.sid ? header.seq > newest.seq : body.tsMs >= newest.tsMs) return;
        }
        refuse('E_STALE_POSITION', "older than this device's newest");
    }

    /** Remember an opened frame; how many of its instance's frames before it have not been seen. */
    keep(header: FrameHeader, body: Body): number {
        const name = instanceOf(header);
        const window = this.#windows.get(name);
        const { epoch, keyClass, sender: device, sid, seq } = header;
        this.#put(name, { epoch, keyClass, device, sid, ...advanced(window, seq) });
        if (keyClass === EPHEMERAL) this.#newest.set(device, { epoch, sid, seq, tsMs: body.tsMs });
        const missing = window === undefined ? seq : seq - window.highest - 1n;
        return missing > 0n ? Number(missing) : 0;
    }

    #put(name: string, window: ReplayWindow): void {
        this.#windows.delete(name);
        this.#windows.set(name, window);
        if (this.#windows.size <= this.#maxWindows) return;
        for (const leastUsed of this.#windows.keys()) {
            this.#windows.delete(leastUsed);
            return;
        }
    }

    /** The windows of one epoch as plain values; no keys. */
    exportEpoch(epoch: number): Value {
        const fields: Value[] = [];
        for (const w of this.#windows.values()) {
            if (w.epoch !== epoch) continue;
            fields.push([w.keyClass, unhex(w.device), unhex(w.sid), u64(w.highest), u64(w.bits)]);
        }
        return fields;
    }

    /** Take the windows of an epoch that `exportEpoch` wrote; `E_ENCODING`. Those known already stay. */
    restoreEpoch(epoch: number, value: Value | undefined): void {
        const windows = asList(value).map((item): [string, ReplayWindow] => {
            const [keyClass, device, sid, highest, bits] = asList(item, 5);
            const window = {
                epoch,
                keyClass: asUint(keyClass),
                device: asName(device, 16),
                sid: asName(sid, 16),
                highest: asCounter(highest),
                bits: asCounter(bits),
            };
            return [`${epoch} ${window.keyClass} ${window.device} ${window.sid}`, window];
        });
        for (const [name, window] of windows) if (!this.#windows.has(name)) this.#put(name, window);
    }

    /** Each device's newest ephemeral frame, as plain values. */
    exportNewest(): Value {
        return Array.from(this.#newest, ([device, newest]) => [
            unhex(device),
            newest.epoch,
            unhex(newest.sid),
            u64(newest.seq),
            newest.tsMs,
        ]);
    }

    /** Take what `exportNewest` wrote; `E_ENCODING`. */
    restoreNewest(value: Value | undefined): void {
        for (const item of asList(value)) {
            const [device, epoch, sid, seq, ts] = asList(item, 5);
            const newest = {
                epoch: asUint(epoch),
                sid: asName(sid, 16),
                seq: asCounter(seq),
                tsMs: asUint(ts),
            };
            this.#newest.set(asName(device, 16), newest);
        }
    }
}

function advanced(window: ReplayWindow | undefined, seq: bigint): { highest: bigint; bits: bigint } {
    if (window === undefined) return { highest: seq, bits: 1n };
    const ahead = seq - window.highest;
    if (ahead <= 0n) return { highest: window.highest, bits: window.bits | (1n << -ahead) };
    return { highest: seq, bits: ahead >= WINDOW ? 1n : BigInt.asUintN(WINDOW, (window.bits << ahead) | 1n) };
}

function asCounter(value: Value | undefined): bigint {
    const bytes = asBytes(value, 8);
    return new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0);
}
