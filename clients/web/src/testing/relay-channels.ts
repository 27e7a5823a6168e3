/**
 * The channels of the double: their commits by compare-and-set, boxes and grants; one channel a unit, as the server has it
 * (spec 03, "Places").
 */
import type { HttpAnswer } from '~/link/ports';
import { type Bytes, fromHex } from '~/protocol/bytes';
import { WireError } from '~/protocol/errors';
import { address, type ChannelAddress, type ChannelId, type DeviceId } from '~/protocol/ids';
import { pack, unpack, type Value } from '~/protocol/pack';
import * as r from '~/protocol/resources';
import { hashOfBox } from '~/sealing/public/boxes';
import { type Commit, parseCommit } from '~/sealing/public/commit';
import { encodeSigned } from '~/sealing/public/signed';

import { json, msgpack, none, Refusal } from './relay-answers';

export interface Channel {
    readonly id: ChannelId;
    readonly purpose: string;
    readonly subject: string;
    archived: boolean;
    readonly commits: { readonly commit: Commit; readonly post: r.CommitPost }[];
}

/** What channels need of the double. */
interface Relay {
    readonly generation: number;
    readonly channels: Map<ChannelId, Channel>;
    append(log: ChannelAddress, payload: Bytes): unknown;
    head(log: ChannelAddress): number;
    /** A roster changed. */
    recheck(): void;
}

export class RelayChannels {
    /** What every grant is refused with; 0: none is. */
    refuseGrants = 0;

    constructor(private readonly relay: Relay) {}

    /** The channels that a device is in, as a listing. */
    list(device: DeviceId): HttpAnswer {
        const mine = [...this.relay.channels.values()].filter((one) => inRoster(one, device));
        return json({ items: mine.map((one) => this.info(one)), next: '' });
    }

    async create(post: r.ChannelPost): Promise<HttpAnswer> {
        const commit = await parseCommit(post.genesis.commit);
        const { purpose, subject } = post;
        const taken = [...this.relay.channels.values()].some(
            (one) =>
                purpose === 'unit' && one.purpose === purpose && one.subject === subject && !one.archived,
        );
        if (taken) throw new Refusal(WireError.conflict);
        const { channelId: id } = commit;
        const channel: Channel = { id, purpose, subject, archived: false, commits: [] };
        this.relay.channels.set(id, channel);
        return this.stand(channel, commit, post.genesis);
    }

    async commit(id: ChannelId, post: r.CommitPost): Promise<HttpAnswer> {
        const commit = await parseCommit(post.commit);
        const channel = this.relay.channels.get(id);
        if (channel === undefined) throw new Refusal(WireError.not_found);
        return this.stand(channel, commit, post);
    }

    /** If it follows the head now: nothing is awaited here. */
    private stand(channel: Channel, commit: Commit, post: r.CommitPost): HttpAnswer {
        const head = channel.commits.at(-1)?.commit;
        const next = (head?.epoch ?? -1) + 1;
        if (commit.epoch !== next || (head !== undefined && commit.prevHash !== head.hash)) {
            throw new Refusal(WireError.conflict, next - 1);
        }
        channel.commits.push({ commit, post });
        this.relay.append(address('epochs', channel.id), encodeSigned(post.commit));
        this.tell(commit);
        this.relay.recheck();
        return msgpack([fromHex(channel.id), commit.epoch, fromHex(commit.hash), false], 201);
    }

    /** The notice that a channel holds somebody now, in each one's inbox. */
    private tell(commit: Commit): void {
        for (const { deviceId } of commit.roster) {
            this.relay.append(address('inbox', deviceId), pack([4, fromHex(commit.channelId)]));
        }
    }

    async boxes(id: ChannelId, parameters: URLSearchParams, device: DeviceId): Promise<HttpAnswer> {
        const from = Number(parameters.get('from_epoch'));
        const found: Value[] = [];
        for (const { commit, post } of this.relay.channels.get(id)?.commits ?? []) {
            if (commit.epoch < from) continue;
            const box = post.boxes.find((one) => one.recipient === (device as string as never)) ?? null;
            const hashes = await Promise.all(post.boxes.map((one) => hashOfBox(one as never)));
            found.push([
                commit.epoch,
                box === null ? null : r.box.write(box),
                hashes.map((hash) => fromHex(hash)),
                post.boxListSignature,
            ]);
        }
        return msgpack(found);
    }

    grant(id: ChannelId, body: Bytes): HttpAnswer {
        if (this.refuseGrants > 0) throw new Refusal(this.refuseGrants);
        const { grant, suite, box } = r.grantPost.read(unpack(body));
        const signed = [grant.payload, fromHex(grant.signer), grant.signature];
        this.relay.append(address('grants', id), pack([signed, suite, box]));
        return none();
    }

    private info({ id, purpose, subject, archived, commits }: Channel): object {
        const head = commits.at(-1)?.commit;
        return {
            id,
            purpose,
            compartment: head?.compartment ?? 0,
            subject: subject === '' ? null : subject,
            epoch: head?.epoch ?? 0,
            commitHash: fromHex(head?.hash ?? ''),
            devices: head?.roster.map((entry) => entry.deviceId) ?? [],
            archived,
            generation: this.relay.generation,
            head: this.relay.head(address('content', id)),
        };
    }
}

/** Whether a device is in a channel's newest roster. */
export function inRoster(channel: Channel, device: DeviceId): boolean {
    return channel.commits.at(-1)?.commit.roster.some((entry) => entry.deviceId === device) ?? false;
}
