/**
 * A guest's call: a socket of their own, the keys of the one room that they are in, and no log.
 *
 * A guest cannot read what was before they came, so no consent either. That they were let in stands for it, and the bridge's
 * `Restricted` for its end (spec 09, "Bodies").
 */
import type { TokenSource } from '~/link/api';
import { Connection, type VideoRefused } from '~/link/connection';
import { Stopped } from '~/link/errors';
import type { Clock, Dialer, Random } from '~/link/ports';
import type { Sign } from '~/link/session';
import type { Bytes } from '~/protocol/bytes';
import type { ConsultId, DeviceId } from '~/protocol/ids';
import type { VideoTold } from '~/protocol/messages';
import type { CallPart, ConsentView } from '../call/call';
import type { CallHost } from '../call/call-host';
import { type CallCommands, type VideoWord, wordOf } from '../call/commands';
import type { GuestRole } from '../on-call';
import type { SeatedRoom } from './seated-room';

export interface GuestSeat {
    readonly device: DeviceId;
    readonly consult: ConsultId;
    readonly role: GuestRole;
    readonly room: SeatedRoom;
    readonly tokens: TokenSource;
    readonly sign: Sign;
}

export interface LinePorts {
    readonly dialer: Dialer;
    readonly clock: Clock;
    readonly random: Random;
}

type Listen = (word: VideoWord) => void;

/** Connected from its making until `end`. */
export class GuestLine implements CallHost {
    readonly readsConsent = false;
    readonly engine: CallCommands;
    private readonly connection: Connection;
    private readonly listeners = new Set<Listen>();
    private port: MessagePort | null = null;

    constructor(
        private readonly seat: GuestSeat,
        ports: LinePorts,
    ) {
        const { dialer, clock, random } = ports;
        const sink = {
            onOnline: () => undefined,
            onOffline: () => undefined,
            onPush: () => undefined,
            onStatus: () => undefined,
            onVideo: (said: VideoTold | VideoRefused) => {
                for (const listen of this.listeners) listen(wordOf(said));
            },
        };
        this.connection = new Connection(dialer, seat.tokens, seat.sign, sink, clock, random);
        this.engine = {
            videoSend: (consult, body) => this.send(consult, body),
            videoKeys: (consult, port) => this.keys(consult, port),
            recordConsent: () => Promise.reject(new Error('a guest records none')),
            withdrawConsent: () => Promise.reject(new Error('a guest records none')),
        };
        this.connection.run().catch((error: unknown) => {
            // The visit ends by itself, by what it reads.
            if (!(error instanceof Stopped)) throw error;
        });
    }

    get device(): DeviceId {
        return this.seat.device;
    }

    get nowMs(): number {
        return this.connection.serverNowMs();
    }

    get online(): boolean {
        return this.connection.online;
    }

    get linkedMs(): number {
        return this.online ? this.connection.status.sinceMs : 0;
    }

    memberOf(): null {
        return null;
    }

    partOf(): CallPart {
        return this.seat.role;
    }

    consentOf(): ConsentView | null {
        return null;
    }

    onVideo(listen: Listen): () => void {
        this.listeners.add(listen);
        return () => this.listeners.delete(listen);
    }

    /** The room has a new epoch, perhaps. */
    async look(): Promise<void> {
        const { port, seat } = this;
        if (port === null) return;
        const keyed = await seat.room.callKeys(seat.consult);
        if (keyed !== null && this.port === port) port.postMessage(keyed);
    }

    end(): void {
        this.connection.stop();
        this.port?.close();
        this.port = null;
    }

    private async send(consult: ConsultId, body: Bytes): Promise<void> {
        await Promise.resolve();
        this.connection.signal(consult, body);
    }

    private async keys(consult: ConsultId, port: MessagePort): Promise<void> {
        if (consult !== this.seat.consult) throw new Error('another consult');
        this.port?.close();
        this.port = port;
        await this.look();
    }
}
