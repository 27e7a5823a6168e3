/**
 * What one channel's messages were answered with: marks and acknowledgements, and which still wait for one.
 *
 * Notes written: `ack <channel> <message>`: who acknowledged it, and when; `asks <channel>`: what waits for an answer.
 */
import type { Bytes } from '~/protocol/bytes';

import type { ChannelId, MessageId } from '../engine';
import type { Home } from './home';
import { noteOf, noteOfIds, readIds, readNote } from './notes';
import { type Acknowledgement, ProgressBook } from './progress';

/** Whether an acknowledgement ends that a message asks for one. */
export type Settles = (said: Acknowledgement) => boolean;

/** More than a screen can show at once; the oldest are no longer waited for. */
const KEPT_ASKS = 500;

export class Answers {
    readonly book: ProgressBook;

    private constructor(
        private readonly channel: ChannelId,
        private readonly home: Home,
        private readonly asked: Set<MessageId>,
    ) {
        this.book = new ProgressBook(home.directories.memberOf);
    }

    static async restore(channel: ChannelId, home: Home): Promise<Answers> {
        const asked = readIds<MessageId>(await home.history.note(asksNote(channel)));
        const answers = new Answers(channel, home, new Set(asked));
        const prefix = ackNote(channel, '');
        for (const [name, note] of await home.history.notes(prefix)) {
            const list = (readNote(note) ?? []) as readonly Acknowledgement[];
            for (const said of list) {
                answers.book.acknowledge(name.slice(prefix.length) as MessageId, said);
            }
        }
        return answers;
    }

    /** What asks for an acknowledgement and has none of anybody but its sender, the newest last. */
    get waiting(): readonly MessageId[] {
        return [...this.asked];
    }

    /** Whether a message was answered: with an acknowledgement that settles it. */
    isSettled(id: MessageId, settles: Settles): boolean {
        return this.book.acknowledgements(id).some(settles);
    }

    /** A message asks for an acknowledgement. */
    async ask(id: MessageId, settles: Settles): Promise<void> {
        if (this.asked.has(id) || this.isSettled(id, settles)) return;
        this.asked.add(id);
        for (const oldest of this.asked) {
            if (this.asked.size <= KEPT_ASKS) break;
            this.asked.delete(oldest);
        }
        await this.keepAsks();
    }

    /** A device acknowledged a message. False when that is known. */
    async acknowledge(id: MessageId, said: Acknowledgement, settles: Settles): Promise<boolean> {
        if (!this.book.acknowledge(id, said)) return false;
        const notes = new Map([[ackNote(this.channel, id), noteOf(this.book.acknowledgements(id))]]);
        if (this.isSettled(id, settles) && this.asked.delete(id)) {
            notes.set(asksNote(this.channel), noteOfIds([...this.asked]));
        }
        await this.keep(notes);
        return true;
    }

    /** Nobody can answer any more. */
    async stopAsking(): Promise<void> {
        if (this.asked.size === 0) return;
        this.asked.clear();
        await this.keepAsks();
    }

    /** The log began anew, or was forgotten. */
    async clear(): Promise<void> {
        const { history } = this.home;
        this.book.clear();
        this.asked.clear();
        const names = [...(await history.notes(ackNote(this.channel, ''))).keys(), asksNote(this.channel)];
        await history.keepNotes(new Map(names.map((name) => [name, null])));
    }

    private async keepAsks(): Promise<void> {
        await this.keep(new Map([[asksNote(this.channel), noteOfIds([...this.asked])]]));
    }

    /** What the log brought is written before the next of it is worked off, however long the store is full. */
    private async keep(notes: ReadonlyMap<string, Bytes | null>): Promise<void> {
        const { history, life } = this.home;
        await life.untilWritten(() => history.keepNotes(notes));
    }
}

function ackNote(channel: ChannelId, id: string): string {
    return `ack ${channel} ${id}`;
}

function asksNote(channel: ChannelId): string {
    return `asks ${channel}`;
}
