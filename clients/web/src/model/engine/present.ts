/**
 * The present of one channel: statuses of units, places of devices with their age, who types. Pure; fed with what the
 * log and the stream lane say, newest wins. Spec chapters 06 and 07.
 */
import { STREAM_TTL_S } from '~/protocol/limits';

import type { ContentOf } from '~/protocol/bodies';
import type { ChannelId, DeviceId, Fix, MemberId, PositionView, StatusView, UnitId } from '../engine';

/** A live position older than this is the last one, not a live one. */
export const LIVE_MS = STREAM_TTL_S * 1000;

interface Place {
    fix: Fix | null;
    /** When it came live last, by the server's time; 0: never. */
    heardMs: number;
    /** What the kept last position says; null: there is none. */
    kept: { readonly sharing: boolean; readonly duress: boolean } | null;
    atMs: number;
}

export class Present {
    readonly statuses = new Map<UnitId, StatusView>();
    private readonly places = new Map<DeviceId, Place>();

    constructor(
        private readonly channel: ChannelId,
        private readonly memberOf: (device: DeviceId) => MemberId | null,
    ) {}

    status(content: ContentOf<'status'>, device: DeviceId, atMs: number): StatusView {
        const { unit, primary, secondary, sinceMs, note, destination } = content;
        const view = {
            unit,
            channel: this.channel,
            primary,
            secondary,
            sinceMs,
            note,
            destination,
            device,
            atMs,
        };
        this.statuses.set(unit, view);
        return view;
    }

    /** A value of the stream lane. Null when it is older than what is known. */
    live(device: DeviceId, fix: Fix, atMs: number): PositionView | null {
        const place = this.place(device);
        if (place.fix !== null && fix.fixMs < place.fix.fixMs) return null;
        place.fix = fix;
        place.heardMs = atMs;
        place.atMs = atMs;
        return this.view(device, place, atMs);
    }

    /** A kept last position. Its place counts only when it is the newer one: both travel, in any order. */
    kept(device: DeviceId, content: ContentOf<'last_position'>, atMs: number, nowMs: number): PositionView {
        const place = this.place(device);
        place.kept = { sharing: content.sharing, duress: content.duress };
        if (content.fix !== null && (place.fix === null || content.fix.fixMs > place.fix.fixMs)) {
            place.fix = content.fix;
        }
        place.atMs = Math.max(place.atMs, atMs);
        return this.view(device, place, nowMs);
    }

    /** The server deleted it, e.g. because the incident ended. False when there was none. */
    forgetPlace(device: DeviceId): boolean {
        return this.places.delete(device);
    }

    /** Places whose live time is over by now, as they are to be shown from now on. Each is given once. */
    stale(nowMs: number): PositionView[] {
        const gone = [];
        for (const [device, place] of this.places) {
            if (place.heardMs === 0 || nowMs - place.heardMs < LIVE_MS) continue;
            place.heardMs = 0;
            gone.push(this.view(device, place, nowMs));
        }
        return gone;
    }

    positions(nowMs: number): PositionView[] {
        return [...this.places].map(([device, place]) => this.view(device, place, nowMs));
    }

    clear(): void {
        this.statuses.clear();
        this.places.clear();
    }

    private place(device: DeviceId): Place {
        let place = this.places.get(device);
        if (place === undefined) {
            place = { fix: null, heardMs: 0, kept: null, atMs: 0 };
            this.places.set(device, place);
        }
        return place;
    }

    private view(device: DeviceId, place: Place, nowMs: number): PositionView {
        const live = place.heardMs > 0 && nowMs - place.heardMs < LIVE_MS;
        return {
            device,
            member: this.memberOf(device),
            channel: this.channel,
            fix: place.fix,
            live,
            // Who said that they stopped does not share, whatever is still under way.
            sharing: place.kept === null ? live : place.kept.sharing,
            duress: place.kept?.duress ?? false,
            atMs: place.atMs,
        };
    }
}
