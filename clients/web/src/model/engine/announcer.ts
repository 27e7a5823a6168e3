/**
 * Events on their way to the screen: gathered for a moment, one batch a time, newest value of each thing only.
 *
 * Crossing from a worker costs; a burst of a thousand positions must not. An event is the whole new value of what it names,
 * so of two for one thing the older need not cross. Order is kept between different things by the newest of each. What the
 * bridge of a call says is no value but a word: each crosses.
 */
import type { EngineEvent } from '../engine';

/** Long enough to gather a burst, too short to be felt. */
export const GATHER_MS = 25;

export class Announcer {
    private readonly waiting = new Map<string, EngineEvent>();
    private words = 0;
    private due = false;
    private listen: ((events: readonly EngineEvent[]) => void) | null = null;

    /** `later` calls its argument once after that many milliseconds. */
    constructor(private readonly later: (act: () => void, delayMs: number) => void) {}

    /** From now on events go to `listen`; what was put before is in the snapshot. */
    start(listen: (events: readonly EngineEvent[]) => void): void {
        this.waiting.clear();
        this.listen = listen;
    }

    put(event: EngineEvent): void {
        if (this.listen === null) return;
        if (event.kind === 'reset') this.forget((waiting) => rowOf(waiting) === event.channel);
        if (event.kind === 'channel_gone') this.forget((waiting) => channelOf(waiting) === event.channel);
        const key = keyOf(event) ?? `word ${this.words++}`;
        this.waiting.delete(key);
        this.waiting.set(key, event);
        if (this.due) return;
        this.due = true;
        this.later(() => this.flush(), GATHER_MS);
    }

    /** Send what waits now. */
    flush(): void {
        this.due = false;
        if (this.listen === null || this.waiting.size === 0) return;
        const events = [...this.waiting.values()];
        this.waiting.clear();
        this.listen(events);
    }

    /**
     * Rows of a channel that begins anew must not come behind the news of it. What is no row (a status, a place) is the
     * present, which no reading of rows brings again.
     */
    private forget(what: (waiting: EngineEvent) => boolean): void {
        for (const [key, event] of this.waiting) {
            if (what(event)) this.waiting.delete(key);
        }
    }
}

function rowOf(event: EngineEvent): string | null {
    return event.kind === 'row' || event.kind === 'row_gone' ? channelOf(event) : null;
}

function channelOf(event: EngineEvent): string | null {
    switch (event.kind) {
        case 'row':
            return event.row.channel;
        case 'channel':
            return event.channel.id;
        case 'row_gone':
        case 'typing':
        case 'sound':
        case 'status_gone':
        case 'position_gone':
        case 'consent':
            return event.channel;
        case 'position':
            return event.position.channel;
        case 'status':
            return event.status.channel;
        default:
            return null;
    }
}

/** What the event is the newest value of; null: of nothing. */
function keyOf(event: EngineEvent): string | null {
    switch (event.kind) {
        case 'standing':
        case 'link':
        case 'store':
        case 'pending':
            return event.kind;
        case 'member':
            return `member ${event.member.id}`;
        case 'unit':
            return `unit ${event.unit.id}`;
        case 'channel':
            return `channel ${event.channel.id}`;
        case 'channel_gone':
        case 'reset':
            return `channel ${event.channel} ${event.kind}`;
        case 'row':
            return `row ${event.row.channel} ${event.row.id}`;
        case 'row_gone':
            return `row ${event.channel} ${event.id}`;
        case 'status':
            return `status ${event.status.channel} ${event.status.unit}`;
        case 'status_gone':
            return `status ${event.channel} ${event.unit}`;
        case 'position':
            return `position ${event.position.channel} ${event.position.device}`;
        case 'position_gone':
            return `position ${event.channel} ${event.device}`;
        case 'typing':
            return `typing ${event.channel} ${event.device}`;
        case 'incident':
            return `incident ${event.incident.id}`;
        case 'sound':
            return `sound ${event.id}`;
        case 'alarm':
            return `alarm ${event.alarm.seq}`;
        case 'consult':
            return `consult ${event.consult.id}`;
        case 'consult_gone':
            return `consult ${event.consult}`;
        case 'guests':
            return `guests ${event.consult}`;
        case 'ring':
            return `ring ${event.consult}`;
        case 'consent':
            return `consent ${event.channel}`;
        case 'video':
        case 'video_refused':
            return null;
        case 'on_call':
        case 'duty':
            return event.kind;
    }
}
