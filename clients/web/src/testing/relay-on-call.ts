/**
 * Consults of the double: it stores what is asked, tells whom it pages, and lets the first accept. Tests climb its ladder by
 * hand; times and reachability are the server's own tests.
 */
import type { HttpAnswer } from '~/link/ports';
import { type Bytes, fromHex } from '~/protocol/bytes';
import { WireError } from '~/protocol/errors';
import {
    address,
    type ChannelAddress,
    type DeviceId,
    idBytes,
    type MemberId,
    type PageId,
} from '~/protocol/ids';
import type { ConsultId } from '~/protocol/ids';
import { type Consult, consultPost, type ConsultPost } from '~/protocol/oncall';
import { pack, unpack } from '~/protocol/pack';
import type { ConsultAction, ConsultState, Role } from '~/protocol/words';
import { parseCommit } from '~/sealing/public/commit';

import { type Device, json, msgpack, none, Refusal } from './relay-answers';
import type { RelayChannels } from './relay-channels';

type Kept = { -readonly [K in keyof Omit<Consult, 'me'>]: Consult[K] };

/** What the double of the server gives. */
interface Relay {
    readonly devices: ReadonlyMap<DeviceId, Device>;
    readonly rooms: RelayChannels;
    readonly nowMs: number;
    rolesOf(member: MemberId): readonly Role[];
    append(log: ChannelAddress, payload: Bytes, change?: object): unknown;
    id(): PageId;
}

const OVER: readonly ConsultState[] = ['ended', 'cancelled'];
const WAITING = new Set(['queued', 'sent', 'delivered', 'seen', 'timed_out']);

export class RelayOnCall {
    /** Whom each step pages; the supervisors come behind them. */
    ladder: readonly (readonly MemberId[])[] = [];
    phones = [{ label: 'Night desk', number: '+12025550100' }];
    readonly consults = new Map<ConsultId, Kept>();
    /** The very bytes of every request that came, in order. */
    readonly posts: Bytes[] = [];
    readonly receipts: { readonly page: string; readonly state: string }[] = [];
    readonly duty = new Map<DeviceId, { on: boolean; sound: boolean }>();
    /** What the next requests are refused with, in turn; `lost` stores it and says nothing. */
    readonly refusals: (number | 'lost')[] = [];

    constructor(private readonly relay: Relay) {}

    async answer(
        method: string,
        [noun = '', id = '', verb = '']: readonly string[],
        body: Bytes,
        parameters: URLSearchParams,
        caller: Device,
    ): Promise<HttpAnswer | null> {
        switch (`${method} ${noun}${verb === '' ? '' : ` ${verb}`}`) {
            case 'GET ladders roster':
                return json(this.roster());
            case 'POST consults':
                return await this.request(body, caller);
            case 'GET consults':
                return id === ''
                    ? this.list(parameters.get('state') ?? '', caller)
                    : json(this.shown(this.visible(id, caller), caller.member));
            case 'POST consults actions':
                return this.act(this.visible(id, caller), read(body), caller);
            case 'POST pages receipt':
                this.receipts.push({ page: id, state: (read(body) as { state: string }).state });
                return none();
            case 'GET oncall':
                if (id !== 'me')
                    return json({ nowMs: this.relay.nowMs, rotas: [], ladders: [], warnings: [] });
                return json(this.dutyOf(caller.id));
            case 'PUT oncall':
                this.duty.set(caller.id, read(body) as { on: boolean; sound: boolean });
                return json(this.dutyOf(caller.id));
            case 'POST oncall': {
                const page = this.relay.id();
                this.relay.append(address('inbox', caller.id), pack([11, idBytes(page)]));
                return json({ page }, 201);
            }
            default:
                return null;
        }
    }

    // ---- what a test does

    /** The next step begins: its members are paged. */
    climb(id: ConsultId): void {
        this.climbOf(this.get(id));
    }

    /** The row is changed by the server's own hand. */
    change(id: ConsultId, change: Partial<Kept>): void {
        this.changed(Object.assign(this.get(id), change));
    }

    get(id: ConsultId): Kept {
        const row = this.consults.get(id);
        if (row === undefined) throw new Error('no such consult');
        return row;
    }

    // ---- requests

    private roster(): object {
        const members = [...new Set([...this.ladder.flat(), ...this.withRole('supervisor')])];
        const devices = this.devicesOf(members).map(({ id }) => id);
        return { ladder: null, members, devices, phones: this.phones };
    }

    private async request(body: Bytes, caller: Device): Promise<HttpAnswer> {
        const refusal = this.refusals.shift();
        if (typeof refusal === 'number') throw new Refusal(refusal);
        this.posts.push(body);
        const post = consultPost.read(unpack(body));
        const { channelId: channel } = await parseCommit(post.channel.genesis.commit);
        const standing = this.consults.get(post.consult);
        if (standing !== undefined) {
            if (standing.channel !== channel) throw new Refusal(WireError.conflict);
            return msgpack([fromHex(channel), 0, new Uint8Array(32), true], 201);
        }
        const answer = await this.relay.rooms.create(post.channel);
        const { first } = post.channel;
        if (first === null) throw new Refusal(WireError.invalid);
        const { id, payload, urgency } = first;
        this.relay.append(address('content', channel), payload, { id, device: caller.id, urgency });
        const row = this.newRow(post, channel, caller);
        this.consults.set(row.id, row);
        this.climbOf(row);
        if (refusal === 'lost') throw new Refusal(WireError.unavailable);
        return answer;
    }

    private newRow(post: ConsultPost, channel: Kept['channel'], caller: Device): Kept {
        const { nowMs } = this.relay;
        return {
            id: post.consult,
            incident: post.incident ?? (post.consult as string as Kept['incident']),
            unit: post.unit,
            member: caller.member,
            device: caller.id,
            urgency: post.urgency,
            language: post.language,
            interpreter: post.interpreter,
            specialty: post.specialty,
            state: 'paging',
            channel,
            side: null,
            ladder: null,
            step: -1,
            steps: this.ladder.length + 1,
            turn: 0,
            requestedMs: nowMs,
            stepMs: 0,
            nextMs: 0,
            acceptedBy: null,
            acceptedDevice: null,
            acceptedMs: 0,
            joinedMs: 0,
            endedMs: 0,
            heldUntilMs: 0,
            alarms: 0,
            takenBy: null,
            targets: [],
            tried: [],
            revision: 0,
        };
    }

    private list(state: string, caller: Device): HttpAnswer {
        const rows = [...this.consults.values()]
            .filter((row) => OVER.includes(row.state) === (state === 'ended'))
            .filter((row) => this.sees(row, caller.member));
        return json({ items: rows.map((row) => this.shown(row, caller.member)), next: '' });
    }

    private act(row: Kept, body: unknown, caller: Device): HttpAnswer {
        const { kind, side } = body as { kind: ConsultAction; side?: Kept['channel'] };
        const { nowMs } = this.relay;
        const { member } = caller;
        switch (kind) {
            case 'accept':
                if (row.acceptedBy !== null && row.acceptedBy !== member)
                    throw new Refusal(WireError.already_accepted);
                if (OVER.includes(row.state)) throw new Refusal(WireError.conflict);
                if (row.acceptedBy === member) break;
                Object.assign(row, {
                    state: 'accepted',
                    acceptedBy: member,
                    acceptedDevice: caller.id,
                    acceptedMs: nowMs,
                    targets: row.targets.map((one) =>
                        one.member === member ? { ...one, state: 'accepted' } : one,
                    ),
                });
                break;
            case 'decline':
                row.targets = row.targets.map((one) =>
                    one.member === member ? { ...one, state: 'declined' } : one,
                );
                break;
            case 'escalate':
                this.climbOf(row);
                break;
            case 'join':
                Object.assign(row, { state: 'in_session', joinedMs: nowMs });
                break;
            case 'cancel':
            case 'end':
                Object.assign(row, { state: kind === 'end' ? 'ended' : 'cancelled', endedMs: nowMs });
                break;
            case 'take':
                row.takenBy = member;
                break;
            case 'side':
                row.side ??= side ?? null;
                break;
            default:
                throw new Refusal(WireError.forbidden);
        }
        row.tried = [...row.tried, { atMs: nowMs, event: kind, step: row.step, member }];
        this.changed(row);
        return json(this.shown(row, member));
    }

    private climbOf(row: Kept): void {
        const { nowMs } = this.relay;
        row.step += 1;
        row.stepMs = nowMs;
        const all =
            this.ladder[row.step] ?? (row.step === this.ladder.length ? this.withRole('supervisor') : []);
        row.state = row.step > this.ladder.length ? 'exhausted' : 'paging';
        row.targets = [
            ...row.targets.map((one) =>
                WAITING.has(one.state) ? { ...one, state: 'timed_out' as const } : one,
            ),
            ...all.map((member) => ({
                member,
                step: row.step,
                state: 'sent' as const,
                page: this.relay.id(),
                atMs: nowMs,
            })),
        ];
        row.tried = [
            ...row.tried,
            ...all.map((member) => ({ atMs: nowMs, event: 'paged', step: row.step, member })),
        ];
        for (const { member, page, step } of row.targets) {
            if (step !== row.step || page === null) continue;
            for (const { id } of this.devicesOf([member]))
                this.relay.append(address('inbox', id), pack([7, idBytes(page), idBytes(row.id)]));
        }
        this.changed(row);
    }

    private changed(row: Kept): void {
        row.revision += 1;
        const notice = pack([8, idBytes(row.id)]);
        for (const { id, member, state } of this.relay.devices.values()) {
            if (state === 'active' && this.sees(row, member)) this.relay.append(address('inbox', id), notice);
        }
    }

    // ---- who sees what

    private shown(row: Kept, member: MemberId): object {
        const mine = row.targets.find((one) => one.member === member && one.step === row.step);
        const ringing = row.state === 'paging' && mine?.state === 'sent';
        const isSupervisor = this.relay.rolesOf(member).includes('supervisor');
        const may: ConsultAction[] = [];
        if (row.targets.some((one) => one.member === member) && row.acceptedBy === null)
            may.push('accept', 'decline');
        if (member === row.member && !OVER.includes(row.state)) may.push('escalate', 'cancel', 'end');
        if (member === row.acceptedBy) may.push('join', 'leave', 'end', 'side');
        if (isSupervisor && row.state === 'exhausted' && row.takenBy === null) may.push('take');
        return { ...row, me: { may, page: mine?.page ?? null, ringing } };
    }

    private visible(id: string, caller: Device): Kept {
        const row = this.consults.get(id as ConsultId);
        if (row === undefined || !this.sees(row, caller.member)) throw new Refusal(WireError.not_found);
        return row;
    }

    private sees(row: Kept, member: MemberId): boolean {
        const roles = this.relay.rolesOf(member);
        return (
            member === row.member ||
            row.targets.some((one) => one.member === member) ||
            roles.includes('supervisor') ||
            roles.includes('dispatcher')
        );
    }

    private dutyOf(device: DeviceId): object {
        const duty = this.duty.get(device) ?? { on: false, sound: false };
        return { ...duty, testedMs: 0, probedMs: 0, push: false, holds: [] };
    }

    private devicesOf(members: readonly MemberId[]): Device[] {
        return [...this.relay.devices.values()].filter(
            ({ member, state }) => state === 'active' && members.includes(member),
        );
    }

    private withRole(role: Role): MemberId[] {
        const members = new Set([...this.relay.devices.values()].map(({ member }) => member));
        return [...members].filter((member) => this.relay.rolesOf(member).includes(role));
    }
}

function read(body: Bytes): unknown {
    return body.length === 0 ? null : JSON.parse(new TextDecoder().decode(body));
}
