/**
 * What a member has seen of a channel's log: a running hash that the server cannot bend. Spec 04, "Seen".
 *
 * `hash_n = SHA-256(hash_{n-1} || u64 n || SHA-256(frame))` over the `log` lane's entries of the channel in offset
 * order; n is the entry's offset. Offsets may skip numbers, because the state lane takes its own from the same
 * sequence. Members put `(seq, hash)` into commits and messages, so reordering, dropping, or a history of one's own
 * comes to light.
 */

import { refuse } from '../errors';
import { InTurn } from '../in-turn';
import { type Hex, ZERO32, concat, sha256, u64, unhex } from './encoding';

export const KEPT_HEADS = 4096;

/** The offset of the last entry seen and the running hash after it. */
export interface LogHead {
    readonly seq: number;
    readonly hash: Hex;
}

export const LOG_START: LogHead = { seq: 0, hash: ZERO32 };

/**
 * The head after the entry at offset `seq`, given the SHA-256 of its frame.
 *
 * `E_LOG_FORK` when `seq` does not come after this head: the log was reordered.
 */
export async function headAfter(head: LogHead, seq: number, frameHash: Hex): Promise<LogHead> {
    if (seq <= head.seq) refuse('E_LOG_FORK', 'log offset does not rise');
    return { seq, hash: await sha256(concat([unhex(head.hash), u64(seq), unhex(frameHash)])) };
}

/**
 * How another member's claim relates to what this one has seen.
 *
 * `ahead`: it names an entry not yet received here; compare again once it is. `too_old`: one from before what is kept.
 */
export type Seen = 'agrees' | 'ahead' | 'too_old';

/**
 * The running hash of one channel's log, and the last 4,096 heads to compare claims with.
 *
 * A joiner starts at the `seen` of the commit that admitted it.
 */
export class SeenLog {
    #head: LogHead;
    /** The kept hashes by offset, oldest first. */
    readonly #heads: Map<number, Hex>;
    readonly #turn = new InTurn();

    constructor(start: LogHead = LOG_START) {
        this.#head = start;
        this.#heads = new Map([[start.seq, start.hash]]);
    }

    /** The log of kept heads, oldest first, as `kept` gives them. */
    static restore(heads: readonly LogHead[]): SeenLog {
        const log = new SeenLog(heads.at(-1));
        if (heads.length > 0) log.#heads.clear();
        for (const head of heads) log.#heads.set(head.seq, head.hash);
        return log;
    }

    get head(): LogHead {
        return this.#head;
    }

    /** The kept heads, oldest first. */
    kept(): readonly LogHead[] {
        return Array.from(this.#heads, ([seq, hash]) => ({ seq, hash }));
    }

    /**
     * Takes the next log entry; `frameHash` is SHA-256 of the frame (it outlives the payload).
     *
     * `E_LOG_FORK` when its offset does not rise; then nothing is taken. Calls that overlap are taken in turn.
     */
    append(seq: number, frameHash: Hex): Promise<LogHead> {
        return this.#turn.run(async () => {
            const head = await headAfter(this.#head, seq, frameHash);
            this.#head = head;
            this.#heads.set(head.seq, head.hash);
            for (const oldest of this.#heads.keys()) {
                if (this.#heads.size <= KEPT_HEADS) break;
                this.#heads.delete(oldest);
            }
            return head;
        });
    }

    /** Compares a member's signed claim; `E_LOG_FORK` when the histories differ. */
    compare(claim: LogHead): Seen {
        if (claim.seq > this.#head.seq) return 'ahead';
        const known = this.#heads.get(claim.seq);
        if (known === undefined) {
            const [first] = this.#heads.keys();
            if (first !== undefined && claim.seq < first) return 'too_old';
            return refuse('E_LOG_FORK', 'no such log entry here');
        }
        if (known !== claim.hash) refuse('E_LOG_FORK', 'the histories differ');
        return 'agrees';
    }
}
