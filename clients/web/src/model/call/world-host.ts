/** A call of one of the agency's own devices: who it is there, and what it knows, from the world that all screens share. */
import type { ConsultId, DeviceId, MemberId } from '~/protocol/ids';
import type { Engine } from '../engine';
import type { World } from '../world.svelte';
import type { CallPart, ConsentView } from './call';
import type { CallHost } from './call-host';
import type { VideoWord } from './commands';

type Seen = Pick<World, 'me' | 'link' | 'clock' | 'consults' | 'channels' | 'consents' | 'units' | 'onVideo'>;

export class WorldHost implements CallHost {
    readonly readsConsent = true;

    constructor(
        readonly engine: Engine,
        private readonly world: Seen,
    ) {}

    get device(): DeviceId | null {
        return this.world.me?.device ?? null;
    }

    get nowMs(): number {
        return Date.now() + this.world.link.clockOffsetMs;
    }

    get online(): boolean {
        return this.world.link.state === 'online';
    }

    get linkedMs(): number {
        return this.online ? this.world.link.sinceMs : 0;
    }

    memberOf(device: DeviceId): MemberId | null {
        for (const { readers } of this.world.channels.values()) {
            const reader = readers.find((one) => one.device === device);
            if (reader !== undefined && reader.member !== null) return reader.member;
        }
        return null;
    }

    /** As the server has it (spec 09): who accepted, whoever asked and their unit, else a supervisor. */
    partOf(id: ConsultId): CallPart | null {
        const consult = this.world.consults.get(id);
        const { me } = this.world;
        if (consult === undefined || me === null) return null;
        if (consult.acceptedBy === me.member) return 'psychiatrist';
        const unit = consult.unit === null ? undefined : this.world.units.get(consult.unit);
        if (consult.mine || unit?.members.includes(me.member) === true) return 'responder';
        return me.roles.includes('supervisor') ? 'supervisor' : null;
    }

    consentOf(id: ConsultId): ConsentView | null {
        const channel = this.world.consults.get(id)?.channel ?? null;
        const consent = channel === null ? undefined : this.world.consents.get(channel);
        if (consent === undefined) return null;
        const isOver = consent.state === 'in_force' && consent.expiresMs <= this.world.clock.nowMs;
        return isOver ? { ...consent, state: 'over' } : consent;
    }

    onVideo(listen: (word: VideoWord) => void): () => void {
        return this.world.onVideo(listen);
    }
}
