/**
 * How far this device has received one channel, and its person has read it; said to the others about a second after the
 * last arrival. Spec chapter 05, "Progress". Note written: `read <channel>`.
 */
import { stateKey } from '~/protocol/ids';

import { contentOf } from './telling';
import { isExpected } from './errors';
import type { Room } from './room';
import { noteOfNumber, readNumber } from './notes';
import { readAgain } from './reading';
import type { Host } from './room';

const MARKS_DELAY_MS = 1_000;
const END = Number.MAX_SAFE_INTEGER;

export class ReadMarks {
    private unreadAt: number[] = [];
    private due = false;

    private constructor(
        private readonly room: () => Room,
        private readonly host: Host,
        private upTo: number,
    ) {}

    /** `room` is asked for later, when it is whole. */
    static async restore(channel: Room['id'], room: () => Room, host: Host): Promise<ReadMarks> {
        const upTo = readNumber(await host.home.history.note(note(channel)));
        return new ReadMarks(room, host, upTo);
    }

    /** The offset up to which the person has seen everything, in this generation of the log. */
    get read(): number {
        return this.upTo;
    }

    /** How many rows of others lie beyond it. */
    get unread(): number {
        return this.unreadAt.length;
    }

    setUnread(offsets: readonly number[]): void {
        this.unreadAt = [...offsets];
    }

    /** A row of somebody else's came. */
    arrived(offset: number): void {
        if (offset > this.upTo && offset > (this.unreadAt.at(-1) ?? 0)) this.unreadAt.push(offset);
    }

    /** The person has seen everything up to this offset. */
    async seen(offset: number): Promise<void> {
        if (offset <= this.upTo) return;
        const room = this.room();
        await this.host.home.history.keepNotes(new Map([[note(room.id), noteOfNumber(offset)]]));
        this.upTo = Math.max(this.upTo, offset);
        this.unreadAt = this.unreadAt.filter((one) => one > this.upTo);
        this.soon();
    }

    /** Say it soon; many arrivals, one mark. */
    soon(): void {
        if (this.due) return;
        this.due = true;
        const { life } = this.room();
        life.later(() => life.begin(() => this.say()), MARKS_DELAY_MS);
    }

    /** The log's history is another one. */
    async clear(): Promise<void> {
        this.upTo = 0;
        this.unreadAt = [];
        await this.host.home.history.keepNotes(new Map([[note(this.room().id), null]]));
    }

    private async say(): Promise<void> {
        this.due = false;
        const room = this.room();
        if (!room.chain.member || room.chain.stopped !== '' || room.info.archived) return;
        const { history, keys } = this.host.home;
        const log = room.chain.contentLog;
        const [newest] = await history.before(log, END, 1);
        if (newest === undefined) return;
        const { generation } = room.follow.position;
        const delivered = newest.offset;
        const read = Math.min(delivered, this.upTo);
        const kept = await history.value(log, stateKey('receipt', keys.deviceId));
        const last = kept === null ? null : contentOf(readAgain(kept));
        if (
            last?.type === 'marks' &&
            last.generation === generation &&
            last.delivered === delivered &&
            last.read === read
        ) {
            return;
        }
        try {
            await this.host.compose(room.id, { type: 'marks', generation, delivered, read });
        } catch (error) {
            // A full outbox; the next arrival says it again.
            if (!isExpected(error)) throw error;
        }
    }
}

function note(channel: Room['id']): string {
    return `read ${channel}`;
}
