/** The outbox in the local database: see `Outbox` in `~/model/ports` for what it guarantees. */

import { type Draft, type Outbox, OutboxFull, Step, type Waiting, WAITING_MESSAGES } from '~/model/ports';
import { type Change, type Database, type Look, type OutboxRow, under } from '~/platform/database';
import type { Lockbox } from '~/platform/lockbox';
import { type Bytes, sameBytes } from '~/protocol/bytes';
import type { ChannelAddress, MessageId, StateKey } from '~/protocol/ids';
import { MESSAGE_ID_KEPT_S } from '~/protocol/limits';
import { Lane, type Mark, type Urgency } from '~/protocol/words';

const TABLE = 'outbox';
const KEPT_MS = MESSAGE_ID_KEPT_S * 1000;
/** The steps in which a message waits for its answer. */
const UNANSWERED = [Step.composed, Step.sealed];

type Stored = Required<OutboxRow>;

export class BrowserOutbox implements Outbox {
    readonly #database: Database;
    readonly #lockbox: Lockbox;

    readonly #most: number;

    /** `most`: how many messages may wait. */
    constructor(database: Database, lockbox: Lockbox, most = WAITING_MESSAGES) {
        this.#database = database;
        this.#lockbox = lockbox;
        this.#most = most;
    }

    async add(drafts: readonly Draft[]): Promise<void> {
        const rows: OutboxRow[] = [];
        for (const draft of drafts) {
            rows.push({
                channel: draft.channel,
                id: draft.id,
                lane: draft.lane,
                key: draft.key,
                urgency: draft.urgency,
                mark: draft.mark,
                step: Step.composed,
                body: await this.#lockbox.seal(draft.body, TABLE, ['body', draft.id]),
                frame: null,
                epoch: null,
                madeMs: draft.madeMs,
                offset: 0,
                generation: 0,
                code: 0,
            });
        }
        await this.#change(async (tx) => {
            const table = tx.objectStore(TABLE);
            const unanswered = IDBKeyRange.bound([Step.composed], [Step.accepted], false, true);
            let waiting = await table.index('turn').count(unanswered);
            for (const row of rows) {
                if ((await table.index('id').getKey(row.id)) !== undefined) continue;
                if (row.lane === Lane.state) waiting -= await replaced(tx, row, Step.composed);
                waiting += 1;
                if (waiting > this.#most) throw new OutboxFull('too much waits to be sent');
                await table.add(row);
            }
        });
    }

    async channels(): Promise<readonly ChannelAddress[]> {
        const oldest = await this.#look(async (tx) => {
            const found = new Map<string, number>();
            for (const step of UNANSWERED) {
                let cursor = await tx.objectStore(TABLE).index('turn').openKeyCursor(under(step));
                while (cursor !== null) {
                    const [, channel, seq] = cursor.key;
                    found.set(channel, Math.min(seq, found.get(channel) ?? seq));
                    // To the next channel: an array sorts behind every seq.
                    cursor = await cursor.continue([step, channel, []] as unknown as [
                        number,
                        string,
                        number,
                    ]);
                }
            }
            return found;
        });
        return [...oldest].sort(([, a], [, b]) => a - b).map(([channel]) => channel as ChannelAddress);
    }

    async first(channel: ChannelAddress): Promise<Waiting | null> {
        const rows = await this.#look((tx) =>
            Promise.all(
                UNANSWERED.map((step) => tx.objectStore(TABLE).index('turn').get(under(step, channel))),
            ),
        );
        const [first] = rows.filter((row) => row !== undefined).sort(bySeq);
        return first === undefined ? null : this.#opened(first);
    }

    async get(message: MessageId): Promise<Waiting | null> {
        const row = await this.#row(message);
        return row === undefined ? null : this.#opened(row);
    }

    async waiting(channel?: ChannelAddress): Promise<readonly Waiting[]> {
        const steps = [...UNANSWERED, Step.refused];
        const rows = await this.#look((tx) =>
            Promise.all(
                steps.map((step) => {
                    const range = channel === undefined ? under(step) : under(step, channel);
                    return tx.objectStore(TABLE).index('turn').getAll(range);
                }),
            ),
        );
        return Promise.all(
            rows
                .flat()
                .sort(bySeq)
                .map((row) => this.#opened(row)),
        );
    }

    async accepted(
        channel: ChannelAddress,
    ): Promise<readonly { id: MessageId; generation: number; offset: number }[]> {
        const rows = await this.#look((tx) => all(tx, Step.accepted, channel));
        return rows
            .filter((row) => row.lane === Lane.log)
            .map(({ id, generation, offset }) => ({ id: id as MessageId, generation, offset }));
    }

    async seal(message: MessageId, frame: Bytes, epoch: number): Promise<Bytes | null> {
        const sealed = await this.#lockbox.seal(frame, TABLE, ['frame', message]);
        const stands = await this.#change(async (tx) => {
            const row = await find(tx, message);
            if (row?.step !== Step.composed) return row?.frame ?? null;
            await tx.objectStore(TABLE).put({ ...row, frame: sealed, epoch, step: Step.sealed });
            return sealed;
        });
        return stands === null ? null : this.#lockbox.open(stands, TABLE, ['frame', message]);
    }

    async unseal(message: MessageId, frame: Bytes): Promise<void> {
        const row = await this.#row(message);
        if (row?.step !== Step.sealed || row.frame === null) return;
        const compared = row.frame;
        const stands = await this.#lockbox.open(compared, TABLE, ['frame', message]);
        if (!sameBytes(stands, frame)) return;
        await this.#change(async (tx) => {
            const now = await find(tx, message);
            if (now?.step !== Step.sealed || now.frame === null || !sameBytes(now.frame, compared)) return;
            await tx.objectStore(TABLE).put({ ...now, frame: null, epoch: null, step: Step.composed });
        });
    }

    accept(message: MessageId, offset: number, generation: number): Promise<void> {
        return this.#change(async (tx) => {
            const row = await find(tx, message);
            if (row === undefined) return;
            await tx.objectStore(TABLE).put({ ...row, step: Step.accepted, offset, generation, code: 0 });
            if (row.lane === Lane.state) await replaced(tx, row, Step.accepted, row.seq);
        });
    }

    refuse(message: MessageId, code: number): Promise<void> {
        return this.#change(async (tx) => {
            const row = await find(tx, message);
            if (row === undefined || row.step >= Step.accepted) return;
            await tx.objectStore(TABLE).put({ ...row, step: Step.refused, code });
        });
    }

    cancel(message: MessageId): Promise<boolean> {
        return this.#change(async (tx) => {
            const row = await find(tx, message);
            if (row === undefined || (row.step !== Step.composed && row.step !== Step.refused)) return false;
            await tx.objectStore(TABLE).delete(row.seq);
            return true;
        });
    }

    reopen(channel: ChannelAddress, generation: number, keys: ReadonlySet<StateKey>): Promise<number> {
        return this.#change(async (tx) => {
            const rows = await all(tx, Step.accepted, channel);
            const again = rows.filter(
                (row) =>
                    row.generation !== generation && (row.lane === Lane.log || keys.has(row.key as StateKey)),
            );
            for (const row of again) await tx.objectStore(TABLE).put({ ...row, step: Step.sealed });
            return again.length;
        });
    }

    forget(nowMs: number): Promise<number> {
        return this.#change(async (tx) => {
            let gone = 0;
            let cursor = await tx.objectStore(TABLE).index('turn').openCursor(under(Step.accepted));
            while (cursor !== null) {
                if (cursor.value.madeMs < nowMs - KEPT_MS) {
                    await cursor.delete();
                    gone += 1;
                }
                cursor = await cursor.continue();
            }
            return gone;
        });
    }

    forgetChannel(channel: ChannelAddress): Promise<number> {
        return this.#change(async (tx) => {
            let gone = 0;
            for (const step of Object.values(Step)) {
                const table = tx.objectStore(TABLE);
                for (const seq of await table.index('turn').getAllKeys(under(step, channel))) {
                    await table.delete(seq);
                    gone += 1;
                }
            }
            return gone;
        });
    }

    #change<R>(act: (tx: Change<'outbox'>) => Promise<R>): Promise<R> {
        return this.#database.change([TABLE], 'strict', act);
    }

    #look<R>(act: (tx: Look<'outbox'>) => Promise<R>): Promise<R> {
        return this.#database.look([TABLE], act);
    }

    #row(message: MessageId): Promise<Stored | undefined> {
        return this.#look(
            async (tx) => (await tx.objectStore(TABLE).index('id').get(message)) as Stored | undefined,
        );
    }

    async #opened(row: OutboxRow): Promise<Waiting> {
        const body = await this.#lockbox.open(row.body, TABLE, ['body', row.id]);
        const frame =
            row.frame === null ? null : await this.#lockbox.open(row.frame, TABLE, ['frame', row.id]);
        const { seq, step, epoch, offset, generation, code } = row as Stored;
        return {
            seq,
            draft: {
                channel: row.channel as ChannelAddress,
                id: row.id as MessageId,
                lane: row.lane as Lane,
                key: row.key as StateKey,
                body,
                madeMs: row.madeMs,
                urgency: row.urgency as Urgency,
                mark: row.mark as Mark,
            },
            step: step as Step,
            frame,
            epoch,
            offset,
            generation,
            code,
        };
    }
}

function bySeq(a: OutboxRow, b: OutboxRow): number {
    return (a.seq ?? 0) - (b.seq ?? 0);
}

async function find(tx: Change<'outbox'>, message: MessageId): Promise<Stored | undefined> {
    return (await tx.objectStore(TABLE).index('id').get(message)) as Stored | undefined;
}

async function all(
    tx: Change<'outbox'> | Look<'outbox'>,
    step: Step,
    channel: ChannelAddress | string,
): Promise<Stored[]> {
    return (await tx.objectStore(TABLE).index('turn').getAll(under(step, channel))) as Stored[];
}

/** Delete the other values of a state key that are in this step, older than `before` if given. How many they were. */
async function replaced(
    tx: Change<'outbox'>,
    row: OutboxRow,
    step: Step,
    before = Number.POSITIVE_INFINITY,
): Promise<number> {
    const others = await all(tx, step, row.channel);
    const older = others.filter(
        (other) => other.lane === Lane.state && other.key === row.key && other.seq < before,
    );
    for (const other of older) await tx.objectStore(TABLE).delete(other.seq);
    return older.length;
}
