/**
 * The paths of one call, by generation: the one that is shown, and the next one while it comes. All of them go through the sealing
 * of this call, which ends with them.
 */
import type { TurnServer } from '~/protocol/video';
import type { Seat } from './attempt';
import { placeOf } from './call-people';
import type { MediaPeer, MediaSeal, PeerEvent } from './media';

export class CallPaths {
    readonly #peers = new Map<number, MediaPeer>();

    constructor(
        private readonly seal: MediaSeal,
        private readonly listen: (generation: number, event: PeerEvent) => void,
    ) {}

    all(): Iterable<MediaPeer> {
        return this.#peers.values();
    }

    open(generation: number, turn: readonly TurnServer[]): void {
        this.#peers.set(
            generation,
            this.seal.peer(turn, (event) => this.listen(generation, event)),
        );
    }

    /** The answer to an offer; rejects where the browser refuses it. Undefined: that path is closed, and nobody waits for one. */
    answer(generation: number, sdp: string): Promise<string> | undefined {
        return this.#peers.get(generation)?.answer(sdp);
    }

    place(generation: number, seats: readonly Seat[]): void {
        this.#peers.get(generation)?.setPlaces(seats.map(placeOf));
    }

    /** What comes from this seat; null: nothing yet. */
    stream(generation: number | null, seat: Seat): MediaStream | null {
        if (generation === null || seat.audioMid === '') return null;
        return this.#peers.get(generation)?.stream(placeOf(seat)) ?? null;
    }

    close(generation: number): void {
        this.#peers.get(generation)?.close();
        this.#peers.delete(generation);
    }

    end(): void {
        for (const peer of this.#peers.values()) peer.close();
        this.#peers.clear();
        this.seal.end();
    }
}
