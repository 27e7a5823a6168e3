/** How people show themselves: the agency's rule, and one's own passkeys. Spec chapter 02, "The person". */
import type { PasskeyId, PasskeyView, PersonRule } from '../engine';
import type { Work } from './work';

export class Proofs {
    constructor(private readonly work: Work) {}

    async passkeys(): Promise<PasskeyView[]> {
        const found = await this.work.home.api.passkeys();
        return found.map(({ id, device, synced, createdMs, usedMs }) => ({
            id,
            device,
            synced,
            createdMs,
            usedMs,
        }));
    }

    async deletePasskey(id: PasskeyId): Promise<void> {
        await this.work.home.api.deletePasskey(id);
    }

    async rule(): Promise<PersonRule> {
        const { person, personHours, revision } = await this.work.home.api.agency();
        return { by: person, hours: personHours, revision };
    }

    async setRule({ by, hours, revision }: PersonRule): Promise<PersonRule> {
        const change = { revision, person: by, personHours: hours };
        const { person, personHours, revision: now } = await this.work.home.api.changeAgency(change);
        this.work.parts.meChanged();
        return { by: person, hours: personHours, revision: now };
    }
}
