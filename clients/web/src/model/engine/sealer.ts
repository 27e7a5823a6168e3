/**
 * Sealing what this device says, after putting right what keeps it from sending: whoever sends next cleans up first, so
 * that nobody waits for somebody else. Spec chapter 04, "Frame" and "Commit".
 */
import type { Bytes } from '~/protocol/bytes';
import { WireError } from '~/protocol/errors';
import { type SealingCode, SealingError } from '~/sealing/errors';
import { decodeBody } from '~/sealing/opening/body';
import { type CommitReason, REASON_MEMBER, REASON_PERIODIC, REASON_REVOKE } from '~/sealing/public/commit';
import { DURABLE } from '~/sealing/public/entries';

import type { Draft } from '../ports';
import { type Chain, COMMIT_ATTEMPTS, sealingError } from './chain';
import { ChannelAlarmed, NotPermitted, Refused } from './errors';
import type { Home } from './home';

/** What keeps a member from sending that a commit of its own puts right, and the commit's reason. */
const CLEAN_UP: Partial<Record<SealingCode, CommitReason>> = {
    E_REVOKED: REASON_REVOKE,
    E_RECORDS: REASON_REVOKE,
    E_EXPIRED: REASON_MEMBER,
    E_UNKNOWN_DEVICE: REASON_MEMBER,
    E_NO_KEY: REASON_PERIODIC,
};

export class Sealer {
    constructor(
        private readonly chain: Chain,
        private readonly home: Home,
    ) {}

    /**
     * Put right what keeps this device from sending, then seal a composed body in the newest epoch. Rejects with
     * `ChannelAlarmed`, `NotPermitted`, `Refused`, `ApiError`, `SealingError`.
     */
    async sealNow(draft: Draft, keyClass: number = DURABLE): Promise<{ frame: Bytes; epoch: number }> {
        for (let attempt = 0; ; attempt++) {
            await this.prepare(keyClass);
            try {
                return await this.seal(draft, keyClass);
            } catch (error) {
                // Somebody was revoked, or a commit came, between looking and sealing: that is put right, and no reason to
                // refuse what a person wrote.
                const mends = error instanceof SealingError && CLEAN_UP[error.code] !== undefined;
                if (!mends || attempt >= COMMIT_ATTEMPTS) throw error;
            }
        }
    }

    private async seal(draft: Draft, keyClass: number): Promise<{ frame: Bytes; epoch: number }> {
        const { home } = this;
        return await this.chain.queue.run(async () => {
            this.chain.checkAlarms();
            const written = decodeBody(draft.body);
            const { head } = this.chain.sealed.seen;
            const seen = keyClass === DURABLE && head.seq > 0 ? head : null;
            const { epoch } = this.chain;
            const frame = await this.chain.sealed.seal(
                { ...written, seen },
                home.keys,
                home.directories.byAgency,
                {
                    nowMs: home.nowMs(),
                    keyClass,
                },
            );
            return { frame, epoch };
        });
    }

    private async prepare(keyClass: number): Promise<void> {
        for (let attempt = 0; attempt < COMMIT_ATTEMPTS; attempt++) {
            this.chain.checkAlarms();
            const code = this.cannotSend(keyClass);
            if (code === null) return;
            if (code === 'E_FORK') throw new ChannelAlarmed(code);
            const reason = CLEAN_UP[code];
            if (reason === undefined) throw new NotPermitted(code);
            await this.chain.commit(() => (this.cannotSend(keyClass) === null ? null : { reason }));
        }
        throw new Refused(WireError.conflict);
    }

    private cannotSend(keyClass: number): SealingCode | null {
        try {
            this.chain.sealed.canSend(this.home.directories.byAgency, this.home.nowMs(), keyClass);
            return null;
        } catch (error) {
            return sealingError(error).code;
        }
    }
}
