/** Sessions of the double, the person at the device, and the agency's rule for both. Spec chapter 02. */
import { type HttpAnswer, HttpFailed } from '~/link/ports';
import type { Bytes } from '~/protocol/bytes';
import { WireError } from '~/protocol/errors';
import type { AgencyId, DeviceId, MemberId } from '~/protocol/ids';
import type { PersonBy, Role } from '~/protocol/words';

import { type Device, json, none, Refusal } from './relay-answers';

const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;
type Given = Readonly<Record<string, string>>;

/** What the double of the server gives. */
interface Relay {
    readonly agency: AgencyId;
    readonly rootPublic: Bytes;
    readonly nowMs: number;
    down: boolean;
    device(id: DeviceId): Device;
    rolesOf(member: MemberId): readonly Role[];
}

export class RelaySessions {
    /** What this agency asks for besides the device's key, and how long a proof counts. Any proof will do. */
    person: PersonBy = 'device';
    personMs = 12 * HOUR_MS;
    /** The answer of a session's refresh is lost on its way, and the network with it. */
    losesRefresh = false;
    /** Everybody's. */
    passkeys: { id: string; device: string; synced: boolean; createdMs: number; usedMs: number }[] = [];
    private revision = 1;
    /** Until when the person's proof counts, of each device with a session. */
    private readonly shown = new Map<DeviceId, number>();

    constructor(private readonly relay: Relay) {}

    /** POST /v1/sessions and what stands below it. */
    answer(what: string | undefined, given: Given): HttpAnswer {
        if (what === 'options') return json({ by: this.person, purpose: 'sign_in', options: '{}' });
        return what === 'refresh' ? this.refresh(given) : this.signIn(given);
    }

    agency(): HttpAnswer {
        return json({
            id: this.relay.agency,
            label: 'Test',
            rootPub: this.relay.rootPublic,
            createdMs: 0,
            person: this.person,
            personHours: Math.max(1, Math.round(this.personMs / HOUR_MS)),
            revision: this.revision,
            video: true,
            videoPhone: '+1 555 0142, code 88#',
        });
    }

    changeAgency(given: Given): HttpAnswer {
        if (Number(given.revision) !== this.revision) throw new Refusal(WireError.conflict);
        this.person = given.person as PersonBy;
        this.personMs = Number(given.person_hours) * HOUR_MS;
        this.revision += 1;
        return this.agency();
    }

    deletePasskey(id: string): HttpAnswer {
        if (this.passkeys.length === 1) throw new Refusal(WireError.forbidden);
        this.passkeys = this.passkeys.filter((one) => one.id !== id);
        return none();
    }

    /** The secret is the device's: spent only where its answer is lost. */
    private refresh(given: Given): HttpAnswer {
        const device = (given.refresh ?? '') as DeviceId;
        const until = this.shown.get(device);
        if (this.losesRefresh) {
            this.shown.delete(device);
            this.relay.down = true;
            throw new HttpFailed(true);
        }
        if (until === undefined) throw new Refusal(WireError.unauthenticated);
        return this.session(this.relay.device(device), until);
    }

    private signIn(given: Given): HttpAnswer {
        const device = this.relay.device((given.device ?? '') as DeviceId);
        if (device.state === 'pending') throw new Refusal(WireError.pending);
        if (device.state === 'revoked') throw new Refusal(WireError.revoked);
        const asks = this.person !== 'device';
        if (asks && given.person === undefined) {
            throw new Refusal(WireError.unauthenticated, 0, this.person);
        }
        const personUntilMs = asks ? this.relay.nowMs + this.personMs : 0;
        this.shown.set(device.id, personUntilMs);
        return this.session(device, personUntilMs);
    }

    private session(device: Device, personUntilMs: number): HttpAnswer {
        const { agency, nowMs } = this.relay;
        return json(
            {
                token: `t:${device.id}`,
                tokenUntilMs: nowMs + 300_000,
                refresh: device.id,
                refreshUntilMs: nowMs + DAY_MS,
                agency,
                member: device.member,
                device: device.id,
                roles: this.relay.rolesOf(device.member),
                personUntilMs,
            },
            201,
        );
    }
}
