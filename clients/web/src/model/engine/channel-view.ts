/** What a list of channels shows of one: who can read it, what keeps one from writing, how much is new. */
import { CAP_SEND } from '~/sealing/public/entries';

import type { ChannelView, CompartmentName, DeviceId, Reader, Row } from '../engine';
import type { Host, Room } from './room';
import { wordsOf } from './telling';

const COMPARTMENTS: readonly CompartmentName[] = [
    'operations',
    'clinical',
    'record',
    'substance_use',
    'criminal_justice',
];

export function viewOf(room: Room, last: Row | null, host: Host): ChannelView {
    const { info, chain, follow, marks, strays } = room;
    return {
        id: room.id,
        purpose: info.purpose,
        compartment: COMPARTMENTS[info.compartment] ?? 'record',
        subject: info.subject,
        readers: readersOf(room, host),
        outside: strays.outside,
        leftover: strays.leftover,
        archived: info.archived,
        caughtUp: follow.caughtUp,
        blocked: blockedBecause(room, host, chain.stopped),
        unread: marks.unread,
        seen: marks.read,
        lastMs: last?.atMs ?? 0,
        lastText: last === null ? '' : wordsOf(last),
    };
}

/** Everybody who can read, by the newest signed roster; nobody is taken on the server's word. */
function readersOf({ chain }: Room, host: Host): Reader[] {
    const { head } = chain.sealed.line;
    if (head === null) return [];
    const devices = head.roster.map(({ deviceId, guest }): Reader => ({
        device: deviceId,
        member: host.home.directories.memberOf(deviceId),
        kind: guest === null ? 'member' : 'guest',
        untilMs: guest?.notAfterMs ?? 0,
    }));
    const custodians = head.records.map(({ recordsId }): Reader => ({
        device: recordsId as string as DeviceId,
        member: null,
        kind: 'records',
        untilMs: 0,
    }));
    return [...devices, ...custodians];
}

function blockedBecause({ info, chain, blocked }: Room, host: Host, stopped: string): string {
    if (stopped !== '') return stopped;
    if (info.archived) return 'archived';
    if (chain.epoch < 0) return 'no_keys';
    if (!chain.member) return 'not_member';
    const certificate = host.home.directories.certificate(host.home.keys.deviceId);
    if (certificate === null || (certificate.caps & CAP_SEND) === 0) return 'not_permitted';
    return blocked;
}
