/** Guests of the double: links that serve once, who came by them, and what a bad server would make of it. */
import type { HttpAnswer } from '~/link/ports';
import { type Bytes, fromBase64, NO_BYTES } from '~/protocol/bytes';
import { WireError } from '~/protocol/errors';
import {
    address,
    type AgencyId,
    type ChannelAddress,
    type ChannelId,
    type ConsultId,
    type DeviceId,
    idBytes,
    type MemberId,
} from '~/protocol/ids';
import type { Guest } from '~/protocol/oncall';
import { pack } from '~/protocol/pack';
import { deviceIdOf } from '~/sealing/public/entries';

import { type Device, json, none, Refusal } from './relay-answers';
import { type Channel, inRoster } from './relay-channels';

const LINK_MS = 900_000;
const STAY_MS = 4 * 3_600_000;
type Kept = { -readonly [K in keyof Guest]: Guest[K] } & { readonly code: string };
type Given = Readonly<Record<string, string>>;

/** What the double of the server gives. */
interface Relay {
    readonly agency: AgencyId;
    readonly rootPublic: Bytes;
    readonly devices: Map<DeviceId, Device>;
    readonly channels: ReadonlyMap<ChannelId, Channel>;
    readonly onCall: { readonly consults: ReadonlyMap<ConsultId, { readonly channel: ChannelId }> };
    readonly nowMs: number;
    append(log: ChannelAddress, payload: Bytes): unknown;
    closeAll(code: number, device?: DeviceId): void;
    id(): MemberId;
}

export class RelayGuests {
    readonly all = new Map<MemberId, Kept>();
    /** Members who take part see guests; a bad server lists none. */
    hides = false;

    constructor(private readonly relay: Relay) {}

    get(id: string): Kept {
        const kept = this.all.get(id as MemberId);
        if (kept === undefined) throw new Refusal(WireError.not_found);
        return kept;
    }

    answer(
        method: string,
        [noun = '', id = '']: readonly string[],
        given: Given,
        caller: Device,
    ): HttpAnswer {
        switch (`${method} ${noun}`) {
            case 'POST consults':
                return this.invite(id as ConsultId, given.role as Guest['role'], caller);
            case 'GET consults': {
                const found = [...this.all.values()].filter(({ consult }) => consult === id);
                return json({ items: this.hides ? [] : found.map((one) => this.shown(one)) });
            }
            case 'GET guests':
                return json(this.shown(this.get(id)));
            case 'DELETE guests':
                this.end(id);
                return none();
            default:
                throw new Refusal(WireError.not_found);
        }
    }

    /** POST /v1/guests: nobody is asked who this is. */
    async take(given: Given): Promise<HttpAnswer> {
        const publicKey = fromBase64(given.public_key ?? '');
        const kept = [...this.all.values()].find(({ code }) => code === given.code);
        if (kept === undefined) throw new Refusal(WireError.not_found);
        const device = await deviceIdOf(publicKey);
        if (kept.state === 'ended') throw new Refusal(WireError.expired);
        if (kept.device !== null && kept.device !== device) throw new Refusal(WireError.not_found);
        if (kept.device === null && this.relay.nowMs >= kept.expiresMs) throw new Refusal(WireError.expired);
        if (kept.device === null) {
            const hpkePublic = fromBase64(given.hpke_public ?? '');
            const mac = fromBase64(given.mac ?? '');
            Object.assign(kept, { device, publicKey, hpkePublic, mac, state: 'waiting' });
            const id = device;
            const createdMs = this.relay.nowMs;
            this.relay.devices.set(id, {
                id,
                member: kept.guest,
                publicKey,
                deviceKey: NO_BYTES,
                state: 'active',
                createdMs,
            });
            this.tell(kept);
        }
        const { guest, consult, untilMs, role } = kept;
        const { agency, rootPublic: rootPub } = this.relay;
        const channel = this.channelOf(kept);
        return json({ agency, rootPub, guest, device, consult, channel, untilMs, role }, 201);
    }

    /** The link and its guest, over, as by anybody who takes part. */
    end(id: string): void {
        const kept = this.get(id);
        kept.state = 'ended';
        const device = kept.device === null ? undefined : this.relay.devices.get(kept.device);
        if (device === undefined) return;
        device.state = 'revoked';
        this.relay.closeAll(4200, device.id);
        this.tell(kept);
    }

    private invite(consult: ConsultId, role: Guest['role'], caller: Device): HttpAnswer {
        const guest = this.relay.id();
        const code = `GUEST-${this.all.size + 1}-0000`;
        const { nowMs } = this.relay;
        this.all.set(guest, {
            guest,
            consult,
            role,
            code,
            state: 'open',
            madeBy: caller.id,
            expiresMs: nowMs + LINK_MS,
            untilMs: nowMs + STAY_MS,
            device: null,
            publicKey: NO_BYTES,
            hpkePublic: NO_BYTES,
            mac: NO_BYTES,
        });
        return json({ guest, code, expiresMs: nowMs + LINK_MS }, 201);
    }

    private tell({ guest, consult, madeBy }: Kept): void {
        this.relay.append(address('inbox', madeBy), pack([10, idBytes(guest), idBytes(consult)]));
    }

    private channelOf({ consult }: Kept): ChannelId {
        const found = this.relay.onCall.consults.get(consult);
        if (found === undefined) throw new Refusal(WireError.not_found);
        return found.channel;
    }

    private shown(kept: Kept): object {
        const { code: _, ...rest } = kept;
        const channel = this.relay.channels.get(this.channelOf(kept));
        const isIn = kept.device !== null && channel !== undefined && inRoster(channel, kept.device);
        const lasts = this.relay.nowMs < (kept.device === null ? kept.expiresMs : kept.untilMs);
        const state = !lasts ? 'ended' : kept.state === 'waiting' && isIn ? 'in' : kept.state;
        return { ...rest, state };
    }
}
