import { describe, expect, it } from 'vitest';
import { type PublicVectors, seenHolds } from '../conformance/public-cases';
import { VECTORS } from '../conformance/read-vectors';
import { codeOf } from '../conformance/vectors';
import { type Hex, ZERO32, hex } from './encoding';
import { KEPT_HEADS, type LogHead, SeenLog } from './seen';

const frame = (n: number): Hex => hex(new Uint8Array(32).fill(n));

describe('a log seen', () => {
    it('has the running hash of the vectors', async () => {
        expect(await seenHolds(VECTORS as PublicVectors)).toBe(true);
    });

    it('agrees, is ahead, or is another history', async () => {
        const log = new SeenLog();
        const three = await log.append(3, frame(1));
        const seven = await log.append(7, frame(2));
        expect(log.compare(three)).toBe('agrees');
        expect(log.compare(seven)).toBe('agrees');
        expect(log.compare({ seq: 8, hash: ZERO32 })).toBe('ahead');
        for (const claim of [
            { seq: 7, hash: three.hash },
            { seq: 5, hash: three.hash },
        ]) {
            expect(await codeOf(() => log.compare(claim))).toBe('E_LOG_FORK');
        }
    });

    it('refuses an offset that does not rise, and stays as it was', async () => {
        const log = new SeenLog();
        const head = await log.append(3, frame(1));
        for (const seq of [3, 2, 0]) {
            expect(await codeOf(() => log.append(seq, frame(2)))).toBe('E_LOG_FORK');
        }
        expect(log.head).toEqual(head);
        expect(log.kept()).toHaveLength(2);
    });

    it('takes overlapping calls in turn', async () => {
        const [log, other] = [new SeenLog(), new SeenLog()];
        await Promise.all([1, 2, 3].map((n) => log.append(n, frame(n))));
        for (const n of [1, 2, 3]) await other.append(n, frame(n));
        expect(log.head).toEqual(other.head);
    });

    it('keeps a bounded number of heads, and goes on from them', async () => {
        const heads: LogHead[] = Array.from({ length: KEPT_HEADS }, (_, i) => ({
            seq: i + 10,
            hash: frame(i % 256),
        }));
        const log = SeenLog.restore(heads);
        expect(log.kept()).toEqual(heads);
        await log.append(5000, frame(9));
        expect(log.kept()).toHaveLength(KEPT_HEADS);
        expect(log.compare({ seq: 10, hash: frame(0) })).toBe('too_old');
        expect(log.compare({ seq: 11, hash: frame(1) })).toBe('agrees');
        expect(SeenLog.restore([]).head.seq).toBe(0);
    });

    it('of a joiner begins where it was admitted', () => {
        const start = { seq: 40, hash: frame(4) };
        const log = new SeenLog(start);
        expect(log.compare(start)).toBe('agrees');
        expect(log.compare({ seq: 39, hash: frame(1) })).toBe('too_old');
    });
});
