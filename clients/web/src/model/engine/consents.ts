/**
 * The newest consent of each consult's channel (spec 09, "Bodies"): what media wait for, known before anything else of the channel
 * is looked at. Of several the newest counts; one that was withdrawn stays, and says so.
 *
 * Notes written: `consent <channel>`.
 */
import { ConsentBy, ConsentMethod, type ContentOf } from '~/protocol/bodies';
import { Part } from '~/protocol/video';
import type { ChannelId, DeviceId, MessageId } from '~/protocol/ids';
import type { CallPart, ConsentBy as ConsentByName, ConsentDraft } from '../call/call';
import type { History } from '../ports';
import { noteOf, readNote } from './notes';

export interface Consented {
    readonly id: MessageId;
    readonly device: DeviceId;
    readonly atMs: number;
    /** Its place in the log. */
    readonly offset: number;
    /** 0: it was not. */
    readonly withdrawnMs: number;
    readonly content: Omit<ContentOf<'consent'>, 'type'>;
}

/** As it stands in the log. */
export function consentOf({ by, method, recipients, ...said }: ConsentDraft): ContentOf<'consent'> {
    return {
        type: 'consent',
        ...said,
        by: ConsentBy[by],
        method: ConsentMethod[method],
        recipients: recipients.map((part) => Part[part]),
    };
}

/** As screens show it. */
export function draftOf(content: Omit<ContentOf<'consent'>, 'type'>): ConsentDraft {
    const { scope, purpose, expiresMs, capacity, interpreter, reason } = content;
    return {
        scope,
        purpose,
        expiresMs,
        capacity,
        interpreter,
        reason,
        by: nameIn(ConsentBy, content.by) as ConsentByName,
        method: content.method === ConsentMethod.written ? 'written' : 'spoken',
        recipients: content.recipients.map((part) => nameIn(Part, part) as CallPart),
    };
}

function nameIn(names: Readonly<Record<string, number>>, number: number): string {
    return Object.entries(names).find(([, one]) => one === number)?.[0] ?? '';
}

const PREFIX = 'consent ';

export class ConsentBook {
    private constructor(
        private readonly history: History,
        private readonly byChannel: Map<ChannelId, Consented>,
        private readonly changed: (channel: ChannelId) => void,
    ) {}

    static async restore(history: History, changed: (channel: ChannelId) => void): Promise<ConsentBook> {
        const found = new Map<ChannelId, Consented>();
        for (const [name, note] of await history.notes(PREFIX)) {
            const consented = readNote(note) as Consented | null;
            if (consented !== null) found.set(name.slice(PREFIX.length) as ChannelId, consented);
        }
        return new ConsentBook(history, found, changed);
    }

    of(channel: ChannelId): Consented | null {
        return this.byChannel.get(channel) ?? null;
    }

    channels(): readonly ChannelId[] {
        return [...this.byChannel.keys()];
    }

    /** Whether media may flow in this channel now. */
    isInForce(channel: ChannelId, nowMs: number): boolean {
        const consented = this.of(channel);
        return consented !== null && consented.withdrawnMs === 0 && consented.content.expiresMs > nowMs;
    }

    async given(
        channel: ChannelId,
        content: ContentOf<'consent'>,
        entry: Pick<Consented, 'id' | 'device' | 'atMs' | 'offset'>,
    ): Promise<void> {
        const known = this.of(channel);
        if (known !== null && known.offset >= entry.offset) return;
        const { id, device, atMs, offset } = entry;
        await this.put(channel, { id, device, atMs, offset, withdrawnMs: 0, content });
    }

    async withdrawn(channel: ChannelId, consent: MessageId, atMs: number): Promise<void> {
        const known = this.of(channel);
        if (known?.id !== consent || known.withdrawnMs > 0) return;
        await this.put(channel, { ...known, withdrawnMs: atMs });
    }

    /** The history is another one, or the channel is gone. */
    async forget(channel: ChannelId): Promise<void> {
        if (!this.byChannel.delete(channel)) return;
        this.changed(channel);
        await this.history.keepNotes(new Map([[PREFIX + channel, null]]));
    }

    private async put(channel: ChannelId, consented: Consented): Promise<void> {
        // Known from now on, also where it cannot be written yet: a withdrawal waits for no disk.
        this.byChannel.set(channel, consented);
        this.changed(channel);
        await this.history.keepNotes(new Map([[PREFIX + channel, noteOf(consented)]]));
    }
}
