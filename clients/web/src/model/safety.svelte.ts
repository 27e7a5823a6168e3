/**
 * Checking in, and calling for help. A duress is silent on the phone of the person in danger: no sound, no words, and no
 * sentence when it fails; a dot on the shield says that it is on its way.
 */
import type { Engine } from './engine';
import type { Handset } from './handset';

export class Safety {
    /** When this person last said that all is well, in this page; 0: not yet. By the device's clock. */
    checkedInMs = $state.raw(0);
    /** A call for help was written down. */
    dot = $state.raw(false);

    constructor(
        private readonly engine: Pick<Engine, 'safety'>,
        private readonly handset: Pick<Handset, 'lastPlace'>,
        private readonly read: () => number = Date.now,
    ) {}

    /** Rejects with the engine's failure. */
    async checkIn(): Promise<void> {
        await this.engine.safety('check_in', await this.handset.lastPlace());
        this.checkedInMs = this.read();
    }

    /** Never rejects: tries once more without a place, since nothing may show. */
    async callForHelp(): Promise<void> {
        const place = await this.handset.lastPlace().catch(() => null);
        try {
            await this.engine.safety('duress', place);
            this.dot = true;
        } catch {
            await this.engine.safety('duress', null).then(
                () => (this.dot = true),
                () => undefined,
            );
        }
    }
}
