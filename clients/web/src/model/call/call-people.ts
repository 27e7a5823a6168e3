/** Everybody of a call as screens show them, from what the bridge says of them. Pure. */
import type { DeviceId, MemberId } from '~/protocol/ids';
import { Part, type Participant, PausedWhy } from '~/protocol/video';
import type { Seat } from './attempt';
import type { CallPart, CallPerson, PausedReason } from './call';
import type { Place } from './media';

const PARTS = Object.fromEntries(Object.entries(Part).map(([name, part]) => [part, name])) as Readonly<
    Record<Part, CallPart>
>;
const PAUSED = Object.fromEntries(
    Object.entries(PausedWhy).map(([name, why]) => [why, name]),
) as unknown as Readonly<Record<PausedWhy, PausedReason>>;

export function partOf(part: Part): CallPart {
    return PARTS[part];
}

export function placeOf({ participant, audioMid, videoMid }: Seat): Place {
    return { device: participant.device, audioMid, videoMid };
}

type MemberOf = (device: DeviceId) => MemberId | null;

/** Of whom nothing comes: whoever waits to be let in. */
export function personOf(one: Participant, memberOf: MemberOf): CallPerson {
    return {
        device: one.device,
        member: memberOf(one.device),
        part: PARTS[one.part],
        sinceMs: one.sinceMs,
        person: one.person,
        signs: one.signs,
        audioMuted: one.audioMuted,
        videoMuted: one.videoMuted,
        paused: 'flowing',
        lines: 0,
        stream: null,
        alarm: '',
    };
}

export function seatedPerson(seat: Seat, stream: MediaStream | null, memberOf: MemberOf): CallPerson {
    const { participant, paused, lines, alarm } = seat;
    return { ...personOf(participant, memberOf), paused: PAUSED[paused], lines, alarm, stream };
}

/** Shown people are replaced only where something about them changed: a picture must not begin anew. */
export function samePeople(some: readonly CallPerson[], others: readonly CallPerson[]): boolean {
    return (
        some.length === others.length &&
        some.every((one, at) => {
            const other = others[at];
            if (other === undefined) return false;
            return (Object.keys(one) as (keyof CallPerson)[]).every((key) => one[key] === other[key]);
        })
    );
}
