/**
 * Calls, as far as the engine has a part in them: signals between page and bridge, keys for the sealing worker, consent, and new
 * epochs as people come and go (spec 04, "Media"; spec 09).
 *
 * Keys go over a port that ends in the sealing worker. The page sees neither them nor the secret that they come from.
 */
import type { VideoRefused } from '~/link/connection';
import { Offline } from '~/link/errors';
import type { Bytes } from '~/protocol/bytes';
import type { ChannelId, ConsultId, DeviceId } from '~/protocol/ids';
import type { VideoTold } from '~/protocol/messages';
import { ProtocolError } from '~/protocol/errors';
import { type BridgeSignal, decodeBridgeSignal } from '~/protocol/video';
import { mediaEpoch } from '~/sealing/opening/media';
import type { KeyedEpoch } from '~/sealing/opening/media-frames';
import { REASON_PERIODIC, rosterIndex } from '~/sealing/public/commit';
import { MEDIA } from '~/sealing/public/entries';

import type { ConsentDraft, ConsentView } from '../call/call';
import { wordOf } from '../call/commands';
import { type Consented, consentOf, draftOf } from './consents';
import { EngineFailure, isExpected } from './errors';
import type { Room } from './room';
import type { Work } from './work';

/** Who comes and who goes within so long share one epoch. */
export const GATHER_MS = 300;
/** From one new epoch of a call to the next, at least. */
export const ROTATE_MS = 2_000;

/** One call that a page of this device takes part in. */
interface Held {
    readonly channel: ChannelId;
    readonly port: MessagePort;
    /** Who is there, this device included, as the bridge said. */
    readonly there: Set<DeviceId>;
    /** The epoch whose keys were given last. */
    given: number;
    rotating: boolean;
    again: boolean;
}

export class VideoWork {
    private readonly held = new Map<ConsultId, Held>();
    private readonly saying = new Set<ChannelId>();

    constructor(private readonly work: Work) {}

    /** Rejects with `Offline`: nothing was said. */
    send(consult: ConsultId, body: Bytes): void {
        this.work.signal(consult, body);
    }

    /** Hand the keys of this call to whoever holds the other end, now and at each new epoch. A port before it serves no more. */
    async keys(consult: ConsultId, port: MessagePort): Promise<void> {
        const { channel } = this.work.consults.row(consult);
        this.drop(consult);
        const there = new Set([this.work.home.keys.deviceId]);
        const held = { channel, port, there, given: -1, rotating: false, again: false };
        this.held.set(consult, held);
        await this.give(consult, held);
    }

    /** A channel's members or keys changed. */
    committed(channel: ChannelId): void {
        this.sayAgain(channel);
        for (const [consult, held] of this.held) {
            if (held.channel !== channel) continue;
            this.work.parts.life.begin(() => this.give(consult, held));
        }
    }

    heard(said: VideoTold | VideoRefused): void {
        this.work.parts.put(wordOf(said));
        if (said.kind === 'video_refused') return;
        const held = this.held.get(said.consult);
        const signal = held === undefined ? null : readSignal(said.body);
        if (held !== undefined && signal !== null) this.follow(held, signal);
    }

    // ---- keys

    private async give(consult: ConsultId, held: Held): Promise<void> {
        const chain = this.work.rooms.find(held.channel)?.chain;
        const head = chain?.sealed.line.head;
        if (chain === undefined || head == null || head.epoch <= held.given) return;
        const secret = chain.sealed.secrets(head.epoch).get(MEDIA);
        if (secret === undefined || chain.stopped !== '') return;
        held.given = head.epoch;
        const media = await mediaEpoch(secret, head, consult);
        const index = rosterIndex(head, this.work.home.keys.deviceId);
        if (this.held.get(consult) === held) held.port.postMessage({ media, index } satisfies KeyedEpoch);
    }

    private drop(consult: ConsultId): void {
        this.held.get(consult)?.port.close();
        this.held.delete(consult);
    }

    // ---- new epochs

    private follow(held: Held, signal: BridgeSignal): void {
        const before = held.there.size;
        if (signal.kind === 'welcome' && !signal.waiting) {
            // Who was there before this device came in rotates for it.
            for (const { device } of signal.participants) held.there.add(device);
            return;
        }
        if (signal.kind === 'slot') held.there.add(signal.participant.device);
        else if (signal.kind === 'gone') held.there.delete(signal.device);
        else return;
        if (held.there.size !== before) this.rotate(held);
    }

    /** One of those who are there makes a new epoch: the one whose id is the lowest. */
    private rotate(held: Held): void {
        if (held.rotating) {
            held.again = true;
            return;
        }
        held.rotating = true;
        const { life } = this.work.parts;
        life.begin(async () => {
            try {
                do {
                    held.again = false;
                    await life.sleep(GATHER_MS);
                    if (this.isKeeper(held)) {
                        const chain = this.work.rooms.get(held.channel).chain;
                        await chain.commit(() => ({ reason: REASON_PERIODIC })).catch(unlessExpected);
                    }
                    await life.sleep(ROTATE_MS - GATHER_MS);
                } while (this.hasMore(held));
            } finally {
                held.rotating = false;
            }
        });
    }

    /** A method, since it changes over awaits. */
    private hasMore(held: Held): boolean {
        return held.again;
    }

    private isKeeper(held: Held): boolean {
        const roster = this.work.rooms.find(held.channel)?.chain.sealed.line.head?.roster ?? [];
        const [keeper] = roster
            .filter(({ deviceId, guest }) => guest === null && held.there.has(deviceId))
            .map(({ deviceId }) => deviceId)
            .sort();
        return keeper === this.work.home.keys.deviceId;
    }

    // ---- consent

    /** On disk when it resolves. */
    async recordConsent(consult: ConsultId, draft: ConsentDraft): Promise<void> {
        await this.work.compose(this.room(consult).id, consentOf(draft));
    }

    async withdrawConsent(consult: ConsultId): Promise<void> {
        const room = this.room(consult);
        const consented = this.work.consents.of(room.id);
        if (consented === null) throw new EngineFailure('not_found');
        await this.work.compose(room.id, { type: 'consent_withdrawn', consent: consented.id });
    }

    /** A consent was given or withdrawn, or is known again after a start. */
    consentChanged(channel: ChannelId): void {
        const { put } = this.work.parts;
        const consented = this.work.consents.of(channel);
        put({ kind: 'consent', channel, consent: consented && this.viewOf(consented) });
        if (consented === null || consented.withdrawnMs === 0) return;
        for (const held of this.held.values()) if (held.channel === channel) this.rotate(held);
    }

    /** Who comes later cannot read what was before them: who recorded the consent in force says it again, as it was. */
    private sayAgain(channel: ChannelId): void {
        const line = this.work.rooms.find(channel)?.chain.sealed.line;
        const before = new Set(line?.commits.get(line.epoch - 1)?.roster.map((one) => one.deviceId));
        const cameIn = line?.head?.roster.some(({ deviceId }) => !before.has(deviceId)) === true;
        if (!cameIn || !this.isMineInForce(channel) || this.saying.has(channel)) return;
        this.saying.add(channel);
        const { life } = this.work.parts;
        life.begin(async () => {
            await life.sleep(GATHER_MS);
            this.saying.delete(channel);
            const consented = this.work.consents.of(channel);
            if (consented === null || !this.isMineInForce(channel)) return;
            await this.work.compose(channel, { ...consented.content, type: 'consent' }).catch(unlessExpected);
        });
    }

    private isMineInForce(channel: ChannelId): boolean {
        const { consents, home } = this.work;
        const isMine = consents.of(channel)?.device === home.keys.deviceId;
        return isMine && consents.isInForce(channel, home.nowMs());
    }

    private viewOf({ id, device, atMs, withdrawnMs, content }: Consented): ConsentView {
        const member = this.work.home.directories.memberOf(device);
        const state = withdrawnMs > 0 ? 'withdrawn' : 'in_force';
        return { ...draftOf(content), id, device, member, atMs, state, withdrawnMs };
    }

    private room(consult: ConsultId): Room {
        const { channel } = this.work.consults.row(consult);
        this.work.checkOpen(channel);
        return this.work.rooms.get(channel);
    }
}

function readSignal(body: Bytes): BridgeSignal | null {
    try {
        return decodeBridgeSignal(body);
    } catch (error) {
        // A newer bridge's word: the page shows that it cannot be read, if it must.
        if (error instanceof ProtocolError) return null;
        throw error;
    }
}

function unlessExpected(error: unknown): void {
    if (!isExpected(error) && !(error instanceof Offline)) throw error;
}
