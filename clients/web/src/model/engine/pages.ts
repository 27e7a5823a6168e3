/**
 * The rows of one channel as pages of the local copy, and those of this device that wait.
 *
 * Commits stand between the messages where their committer had seen the log end, so that "who can read changed" is shown
 * at its place. What retention took is one row where the log begins.
 */
import { type Content, readContent } from '~/protocol/bodies';
import type { DeviceId, MessageId } from '~/protocol/ids';
import { Lane } from '~/protocol/words';
import { decodeBody } from '~/sealing/opening/body';
import type { Commit } from '~/sealing/public/commit';

import type { Moved, ProgressView, Row } from '../engine';
import { type Draft, Step, Verdict } from '../ports';
import { waitingProgress } from './progress';
import { type Reading, readAgain } from './reading';
import type { Host, Room } from './room';
import { isRow, type Teller, tellRow, tellWaiting } from './telling';

const CHUNK = 100;
const RECENT = 200;
const END = Number.MAX_SAFE_INTEGER;

export class Pages {
    /** Accepted, and not come back through the log yet. */
    private readonly landed = new Map<MessageId, { readonly draft: Draft; readonly offset: number }>();
    readonly teller: Teller;

    constructor(
        private readonly room: Room,
        private readonly host: Host,
    ) {
        const { memberOf } = host.home.directories;
        this.teller = {
            channel: room.id,
            me: host.me,
            memberOf,
            progress: (message) =>
                room.answers.book.of(message, room.follow.position.generation, host.repeats.has(message.id)),
            readBacks: (id) =>
                room.answers.book
                    .acknowledgements(id)
                    .flatMap(({ device, atMs, readBack = '' }) =>
                        readBack === '' ? [] : [{ member: memberOf(device), text: readBack, atMs }],
                    ),
            doneBytes: (id, sizeBytes) => host.uploads.doneBytes(id) ?? sizeBytes,
        };
    }

    /** The row of an entry; null for what is shown otherwise. */
    tell(reading: Reading): Row | null {
        return tellRow(reading, this.teller);
    }

    /** Rows below an offset, the newest `limit` of them in order; waiting ones last on the newest page. */
    async before(offset: number, limit: number): Promise<Row[]> {
        const rows: Row[] = [];
        let below = offset;
        let began = false;
        let pruned: Row | null = null;
        while (rows.length < limit) {
            const entries = await this.host.home.history.before(this.log, below, CHUNK);
            for (const entry of [...entries].reverse()) {
                below = entry.offset;
                if (entry.verdict === Verdict.pruned) {
                    pruned ??= this.gap(entry.offset, entry.atMs);
                    continue;
                }
                const row = this.tell(readAgain(entry));
                if (row !== null) rows.unshift(row);
                if (rows.length >= limit) break;
            }
            if (entries.length < CHUNK && rows.length < limit) {
                began = true;
                break;
            }
        }
        const from = began ? 0 : below;
        const changes = this.memberRows().filter((row) => row.offset >= from && row.offset < offset);
        const merged = merge(rows, changes);
        if (began && pruned !== null) merged.unshift(pruned);
        return offset >= END ? [...merged, ...(await this.waiting())] : merged;
    }

    /** The newest rows for a list of channels, and where those of others lie beyond `read`. */
    async recent(read: number): Promise<{ readings: Reading[]; rows: Row[]; unread: number[] }> {
        const entries = await this.host.home.history.before(this.log, END, RECENT);
        const readings = entries.map(readAgain);
        const rows = readings.flatMap((reading) => this.tell(reading) ?? []);
        const unread = rows.filter((row) => !row.mine && row.offset > read).map((row) => row.offset);
        return { readings, rows, unread };
    }

    /** What was written here and does not stand in the local copy yet. */
    async waiting(): Promise<Row[]> {
        const landed = [...this.landed.values()].flatMap(({ draft, offset }) =>
            this.tellDraft(draft, offset, { ...waitingProgress(0), step: 'accepted' }),
        );
        const waiting = (await this.host.outbox.waiting(this.log)).flatMap(({ draft, step, code }) =>
            this.tellDraft(draft, 0, waitingProgress(step === Step.refused ? code : 0)),
        );
        return [...landed, ...waiting, ...this.host.uploads.rows(this.room.id, this.teller)];
    }

    /** The row of a message that waits; none for marks and values. */
    tellDraft(draft: Draft, offset: number, progress: ProgressView): Row[] {
        const content = contentOfDraft(draft);
        if (content === null || !isRow(draft.lane, content)) return [];
        const { body, madeMs } = draft;
        const { tsMs } = decodeBody(body);
        const device = this.host.home.keys.deviceId;
        const envelope = { id: draft.id, offset, device, atMs: madeMs, writtenMs: tsMs };
        const row = tellWaiting(content, envelope, progress, this.teller);
        return row === null ? [] : [row];
    }

    /** A message of this device waits, or was refused. */
    async tellWaiting(draft: Draft): Promise<void> {
        const waiting = await this.host.outbox.get(draft.id);
        if (waiting === null || waiting.step === Step.accepted) return;
        const progress = waitingProgress(waiting.step === Step.refused ? waiting.code : 0);
        for (const row of this.tellDraft(draft, 0, progress)) this.put(row);
    }

    /** A message of this device is durable at the server. */
    async accepted(draft: Draft, offset: number): Promise<void> {
        if (draft.lane !== Lane.log) return;
        const entry = await this.host.home.history.message(this.log, draft.id);
        if (entry !== null) {
            this.put(this.tell(readAgain(entry)));
            return;
        }
        this.landed.set(draft.id, { draft, offset });
        for (const row of this.tellDraft(draft, offset, { ...waitingProgress(0), step: 'accepted' })) {
            this.put(row);
        }
    }

    /** It came back through the log. */
    arrived(id: MessageId): void {
        this.landed.delete(id);
    }

    clear(): void {
        this.landed.clear();
    }

    private put(row: Row | null): void {
        if (row !== null) this.host.put({ kind: 'row', row });
    }

    /** Who can read changed: one row a commit that changed it. */
    memberRows(): Row[] {
        const rows: Row[] = [];
        let before: Commit | null = null;
        for (const epoch of [...this.room.chain.sealed.line.commits.keys()].sort((a, b) => a - b)) {
            const commit = this.room.chain.sealed.line.commits.get(epoch);
            if (commit === undefined) continue;
            const was = new Set(before?.roster.map((entry) => entry.deviceId));
            const is = new Set(commit.roster.map((entry) => entry.deviceId));
            // The first roster is how the channel was opened: nobody joined it.
            const joined = before === null ? [] : [...is].filter((device) => !was.has(device));
            const left = [...was].filter((device) => !is.has(device));
            before = commit;
            if (joined.length === 0 && left.length === 0) continue;
            const member = this.teller.memberOf(commit.committer);
            // By the directory: whoever left stands in no roster that a screen could look at.
            const who = (device: DeviceId): Moved => ({ device, member: this.teller.memberOf(device) });
            rows.push({
                kind: 'members',
                channel: this.room.id,
                // Nobody sent it, and still a screen needs a name for it: the front of the commit's hash.
                id: commit.hash.slice(0, 32) as MessageId,
                offset: commit.seen.seq,
                device: commit.committer,
                member,
                mine: member === this.host.me,
                atMs: commit.tsMs,
                writtenMs: commit.tsMs,
                joined: joined.map(who),
                left: left.map(who),
            });
        }
        return rows;
    }

    private gap(offset: number, atMs: number): Row {
        return {
            kind: 'gap',
            channel: this.room.id,
            id: '0'.repeat(32) as MessageId,
            offset,
            device: '0'.repeat(32) as Row['device'],
            member: null,
            mine: false,
            atMs,
            writtenMs: atMs,
        };
    }

    private get log() {
        return this.room.chain.contentLog;
    }
}

/** Both in the order of offsets; a change of members stands behind the message that its committer had seen last. */
function merge(rows: readonly Row[], changes: readonly Row[]): Row[] {
    const merged: Row[] = [];
    let next = 0;
    for (const row of rows) {
        for (
            let change = changes[next];
            change !== undefined && change.offset < row.offset;
            change = changes[next]
        ) {
            merged.push(change);
            next++;
        }
        merged.push(row);
    }
    return [...merged, ...changes.slice(next)];
}

export function contentOfDraft(draft: Draft): Content | null {
    const body = decodeBody(draft.body);
    const content = readContent(body.type, body.data);
    return content.type === 'unsupported' ? null : content;
}
