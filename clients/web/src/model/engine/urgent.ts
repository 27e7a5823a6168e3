/** What presses repeats at the receiver until somebody acknowledged it. Pure: time, of a monotonic clock, is an argument. */
import type { ChannelId, MessageId } from '../engine';

const REPEAT_S = 15;
const SHORTEST_S = 5;

interface Pressing {
    readonly channel: ChannelId;
    readonly id: MessageId;
    readonly everyMs: number;
    nextMs: number;
    times: number;
}

/** The messages that press here, and when each sounds again. */
export class Repeats {
    private readonly pressing = new Map<MessageId, Pressing>();

    /** It came: it sounds now, and again after every `everyS`. A second time changes nothing. */
    press(channel: ChannelId, id: MessageId, nowMs: number, everyS: number): void {
        const everyMs = Math.max(SHORTEST_S, everyS || REPEAT_S) * 1000;
        if (!this.pressing.has(id)) {
            this.pressing.set(id, { channel, id, everyMs, nextMs: nowMs, times: 0 });
        }
    }

    /** It was acknowledged. False when it was not pressing. */
    relieve(id: MessageId): boolean {
        return this.pressing.delete(id);
    }

    /** Nothing of this channel presses any more: the device left it, or its log began anew. */
    relieveChannel(channel: ChannelId): void {
        for (const one of [...this.pressing.values()]) {
            if (one.channel === channel) this.pressing.delete(one.id);
        }
    }

    /** What sounds now, with how often it has by then; missed times are not made up for. */
    due(nowMs: number): { readonly channel: ChannelId; readonly id: MessageId; readonly times: number }[] {
        const sounding = [];
        for (const one of this.pressing.values()) {
            if (one.nextMs > nowMs) continue;
            one.times += 1;
            one.nextMs = nowMs + one.everyMs;
            sounding.push({ channel: one.channel, id: one.id, times: one.times });
        }
        return sounding;
    }

    /** When `due` is worth asking again; null when nothing presses. */
    nextMs(): number | null {
        let next: number | null = null;
        for (const one of this.pressing.values()) next = Math.min(next ?? one.nextMs, one.nextMs);
        return next;
    }

    /** What presses in one channel. */
    of(channel: ChannelId): MessageId[] {
        return [...this.pressing.values()].filter((one) => one.channel === channel).map((one) => one.id);
    }

    has(id: MessageId): boolean {
        return this.pressing.has(id);
    }
}
