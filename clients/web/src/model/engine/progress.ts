/**
 * How far messages of one channel have come at each device: delivered, read, acknowledged. Pure. Spec chapter 05.
 *
 * `delivered` and `read` are marks, "all up to here", and count only within the generation that they name: after a
 * restore the offsets are others. `acknowledged` is said of one message.
 */
import type { DeviceId, MemberId, MessageId, Progress, ProgressView } from '../engine';

export interface Marks {
    readonly generation: number;
    readonly delivered: number;
    readonly read: number;
}

export interface Acknowledgement {
    readonly device: DeviceId;
    readonly atMs: number;
    /** A recommendation in the words of who will act on it; empty or missing: only that it was seen. */
    readonly readBack?: string;
}

/** So many of one device's words about one message are kept. */
const MOST_WORDS = 8;

/** What progress is asked of. `offset` 0: it waits. */
export interface Told {
    readonly id: MessageId;
    readonly offset: number;
    readonly device: DeviceId;
    readonly member: MemberId | null;
}

export class ProgressBook {
    private readonly marks = new Map<DeviceId, Marks>();
    private readonly acknowledged = new Map<MessageId, Acknowledgement[]>();

    constructor(private readonly memberOf: (device: DeviceId) => MemberId | null) {}

    /** A device said how far it is. The offsets behind the first and up to the second number changed; null: none did. */
    mark(device: DeviceId, marks: Marks): { readonly after: number; readonly upTo: number } | null {
        const before = this.marks.get(device);
        const same = before?.generation === marks.generation;
        // Marks never go back.
        const next = same
            ? {
                  generation: marks.generation,
                  delivered: Math.max(before.delivered, marks.delivered),
                  read: Math.max(before.read, marks.read),
              }
            : marks;
        this.marks.set(device, next);
        const old = same ? before : { delivered: 0, read: 0 };
        const after = Math.min(
            next.delivered > old.delivered ? old.delivered : Infinity,
            next.read > old.read ? old.read : Infinity,
        );
        return after === Infinity ? null : { after, upTo: Math.max(next.delivered, next.read) };
    }

    /** A device acknowledged a message. False when that is known. */
    acknowledge(id: MessageId, said: Acknowledgement): boolean {
        const list = this.acknowledged.get(id) ?? [];
        const { device, readBack = '' } = said;
        const theirs = list.filter((one) => one.device === device);
        const isKnown = theirs.some((one) => readBack === '' || one.readBack === readBack);
        if (isKnown || theirs.length >= MOST_WORDS) return false;
        this.acknowledged.set(id, [...list, said]);
        return true;
    }

    acknowledgements(id: MessageId): readonly Acknowledgement[] {
        return this.acknowledged.get(id) ?? [];
    }

    /** The view of a message that stands in the log, in the log's generation. Every list says "at least so far". */
    of(message: Told, generation: number, sounding: boolean): ProgressView {
        const delivered: DeviceId[] = [];
        const read: DeviceId[] = [];
        for (const [device, marks] of this.marks) {
            if (device === message.device || marks.generation !== generation) continue;
            if (marks.delivered >= message.offset || marks.read >= message.offset) delivered.push(device);
            if (marks.read >= message.offset) read.push(device);
        }
        const acknowledged = this.acknowledgements(message.id)
            .filter((one) => one.device !== message.device)
            .filter((one, at, all) => all.findIndex(({ device }) => device === one.device) === at)
            .map(({ device, atMs }) => ({ device, member: this.memberOf(device), atMs }));
        return {
            step: this.step(message.member, delivered, read, acknowledged),
            code: 0,
            delivered,
            read,
            acknowledged,
            sounding,
        };
    }

    /** The log began anew. */
    clear(): void {
        this.marks.clear();
        this.acknowledged.clear();
    }

    /** The furthest that it came with anybody but the sender's own member: another device of theirs is nobody's ear. */
    private step(
        sender: MemberId | null,
        delivered: readonly DeviceId[],
        read: readonly DeviceId[],
        acknowledged: readonly Acknowledgement[],
    ): Progress {
        const other = (device: DeviceId): boolean => this.memberOf(device) !== sender;
        if (acknowledged.some((one) => other(one.device))) return 'acknowledged';
        if (read.some(other)) return 'read';
        return delivered.some(other) ? 'delivered' : 'accepted';
    }
}

/** Of what waits in the outbox, or was refused with that number of spec 90. */
export function waitingProgress(code: number): ProgressView {
    return {
        step: code === 0 ? 'waiting' : 'refused',
        code,
        delivered: [],
        read: [],
        acknowledged: [],
        sounding: false,
    };
}
