/**
 * Earlier context: keys of past epochs that one member gives another, by a person's decision. Spec chapter 04, "Grant".
 */
import type { Bytes } from '~/protocol/bytes';
import type { DeviceId } from '~/protocol/ids';
import type { Entry } from '~/protocol/messages';
import { acceptGrant, makeGrant } from '~/sealing/opening/grants';
import { isArchive } from '~/sealing/public/archive';
import { DURABLE } from '~/sealing/public/entries';
import { decodeSealedGrant, parseGrant } from '~/sealing/public/grant';

import { type Chain, sealingError } from './chain';
import { NotPermitted } from './errors';
import type { Home } from './home';

export class Grants {
    constructor(
        private readonly chain: Chain,
        private readonly home: Home,
    ) {}

    /** Give a member the durable keys of epochs that this device can read. Rejects with `NotPermitted`, `ApiError`. */
    async give(to: DeviceId, epochs: readonly number[]): Promise<void> {
        const { home } = this;
        await home.directories.learnKeys();
        await this.chain.queue.run(async () => {
            let made;
            try {
                made = await makeGrant(this.chain.sealed, home.keys, {
                    to,
                    epochs,
                    classMask: 1 << DURABLE,
                    directories: home.directories.byAgency,
                    deviceKeys: home.directories.book,
                    nowMs: home.nowMs(),
                });
            } catch (error) {
                throw new NotPermitted(sealingError(error).code);
            }
            await home.api.postGrant(this.chain.id, { grant: made.signed, suite: made.suite, box: made.box });
        });
    }

    /** Grants that the log brought: whether any was for this device. Rejects with `ApiError`. */
    async take(entries: readonly Entry[]): Promise<boolean> {
        let given = false;
        for (const { payload } of entries) {
            // Archives of an ended incident stand in this log, too; they are the custodian's.
            if (payload.length > 0 && !isArchive(payload) && (await this.takeGrant(payload))) given = true;
        }
        if (given) await this.chain.keep();
        return given;
    }

    private async takeGrant(data: Bytes): Promise<boolean> {
        const { home } = this;
        for (let fetched = false; ;) {
            try {
                const sealed = decodeSealedGrant(data);
                const grant = await parseGrant(sealed.signed);
                if (grant.to !== home.keys.deviceId) return false;
                if (grant.epoch > this.chain.epoch && !fetched) {
                    fetched = true;
                    await this.chain.sync();
                    continue;
                }
                return await this.chain.queue.run(async () => {
                    const epochs = await acceptGrant(
                        this.chain.sealed,
                        sealed,
                        home.keys,
                        home.directories.byAgency,
                    );
                    return epochs.length > 0;
                });
            } catch (error) {
                this.chain.withheld(sealingError(error).code);
                return false;
            }
        }
    }
}
