/**
 * Who can read a consult as it goes on (spec 04, "Consult"; spec 08, "Context"). Levels, not edges: each rule looks at the row
 * and at the signed roster, does what is missing, and finds nothing to do the next time; whoever was cut off is caught up with.
 *
 * - The device on which a person accepted takes the others of the ladder out, once, and so signs that they came.
 * - Whoever is asked later, or comes on a device that is newer than the request, is let in by a member that is online.
 * - The incident's earlier context goes to the one who accepted, if their certified role is one that the requester's signed
 *   request names, and who signed something in the consult's channel. Never on the server's word.
 */
import type { DeviceId, MemberId } from '~/protocol/ids';
import { ROSTER_DEVICES } from '~/protocol/limits';
import type { Consult } from '~/protocol/oncall';
import { Compartment } from '~/protocol/words';
import { REASON_PERIODIC } from '~/sealing/public/commit';
import { CAP_ADMIT, CAP_GRANT } from '~/sealing/public/entries';

import type { ConsultId } from '../on-call';
import { StoreFull, Verdict } from '../ports';
import { leavingAfter, maySit, neededBy, type Seated } from './consult-seats';
import { isExpected } from './errors';
import { noteOfNumber, readNumber } from './notes';
import type { Room } from './room';
import type { Work } from './work';

/** Messages that are looked through for one of who came. */
const NEWEST = 100;

export class ConsultTending {
    private readonly busy = new Set<ConsultId>();
    private readonly again = new Map<ConsultId, Consult>();

    private readonly accepting = new Set<ConsultId>();

    constructor(private readonly work: Work) {}

    /** A person accepts on this device. Without that a server's word makes it sign nothing. */
    async accepts(id: ConsultId): Promise<void> {
        this.accepting.add(id);
        try {
            await this.work.home.history.keepNotes(new Map([[`accepts ${id}`, noteOfNumber(1)]]));
        } catch (error) {
            // A full device answers all the same, and remembers it for as long as it runs.
            if (!(error instanceof StoreFull)) throw error;
        }
    }

    /** Something about a consult may have changed. Waits for nobody. */
    look(row: Consult): void {
        this.work.consults.guests.look(row);
        if (this.busy.has(row.id)) {
            this.again.set(row.id, row);
            return;
        }
        this.busy.add(row.id);
        this.work.parts.life.begin(async () => {
            try {
                for (let next: Consult | undefined = row; next !== undefined;) {
                    // Whatever breaks off is done at the next look: there is one every ten seconds.
                    await this.tend(next).catch(unlessExpected);
                    next = this.again.get(row.id);
                    this.again.delete(row.id);
                }
            } finally {
                this.busy.delete(row.id);
            }
        });
    }

    private async tend(row: Consult): Promise<void> {
        if (!this.work.isOnline) return;
        const room = this.standing(row.channel);
        if (room !== null) {
            await this.shrink(row, room);
            await this.widen(row, room);
        }
        await this.giveContext(row);
    }

    private async shrink(row: Consult, room: Room): Promise<void> {
        const { home, people } = this.work;
        const goes = row.state === 'accepted' || row.state === 'in_session';
        if (!goes || row.acceptedDevice !== home.keys.deviceId) return;
        if (!(await this.hasAccepted(row.id))) return;
        // Once an acceptance: whoever a person lets in afterwards stays.
        const note = `shrunk ${row.id}`;
        if (readNumber(await home.history.note(note)) === row.acceptedMs) return;
        const unit =
            row.unit === null
                ? people.unitsOf(row.member).flatMap(({ members }) => members)
                : (people.unit(row.unit)?.members ?? null);
        const leaving = leavingAfter(row, this.seated(room), unit);
        if (leaving.length > 0) await room.chain.remove(leaving);
        else if (!hasCommitted(room, home.keys.deviceId)) {
            // Nobody has to go: that they came is signed all the same.
            await room.chain.commit(() =>
                hasCommitted(room, home.keys.deviceId) ? null : { reason: REASON_PERIODIC },
            );
        }
        await home.history.keepNotes(new Map([[note, noteOfNumber(row.acceptedMs)]]));
    }

    /** It is over for a day, or not this person's any more. */
    async forget(id: ConsultId): Promise<void> {
        this.accepting.delete(id);
        const notes = [`accepts ${id}`, `shrunk ${id}`, `context ${id}`];
        await this.work.home.history.keepNotes(new Map(notes.map((name) => [name, null])));
    }

    private async widen(row: Consult, room: Room): Promise<void> {
        if (!this.may(CAP_ADMIT) || this.missing(row, room).length === 0) return;
        // Any online member does it; who is first in rank is first in time, and the others find it done.
        await this.work.upkeep.turn(room);
        await this.work.home.directories.sync();
        await room.sync();
        const free = ROSTER_DEVICES - room.chain.roster.length - this.records;
        const missing = this.missing(row, room).slice(0, Math.max(0, free));
        if (missing.length === 0) return;
        await room.chain.admit(missing);
        // They came too late for the first words, which say what is asked.
        if (!this.may(CAP_GRANT) || !room.chain.sealed.epochsHeld().includes(0)) return;
        for (const device of missing) await room.chain.grant(device, [0]);
    }

    private async hasAccepted(id: ConsultId): Promise<boolean> {
        return this.accepting.has(id) || readNumber(await this.work.home.history.note(`accepts ${id}`)) === 1;
    }

    private missing(row: Consult, room: Room): DeviceId[] {
        const there = new Set(room.chain.roster);
        return neededBy(row)
            .flatMap((member) => this.devicesOf(member))
            .filter((device) => !there.has(device));
    }

    private async giveContext(row: Consult): Promise<void> {
        const { home, incidents, said, parts } = this.work;
        const { acceptedBy, acceptedDevice } = row;
        const comes = row.state === 'accepted' || row.state === 'in_session';
        if (!comes || acceptedBy === null || acceptedDevice === null) return;
        if (acceptedBy === parts.identity.member) return;
        const asked = said.of(row.channel);
        const certificate = home.directories.certificate(acceptedDevice);
        if (asked?.consult !== row.id || certificate?.memberId !== acceptedBy) return;
        if (!asked.grantTo.some((role) => role === certificate.role)) return;
        if (!(await this.hasSigned(row.channel, acceptedDevice))) return;
        const { operations } = incidents.channelsOf(row.incident);
        const room = operations === null ? null : this.standing(operations);
        if (room === null || !this.may(CAP_ADMIT | CAP_GRANT)) return;
        // Whoever let them in also gives; written down before, so that one who is cut off in between gives later.
        const note = `context ${row.id}`;
        const owes = readNumber(await home.history.note(note)) === 1;
        if (!owes) {
            if (this.isIn(room, acceptedDevice)) return;
            await this.work.upkeep.turn(room);
            await room.sync();
            if (this.isIn(room, acceptedDevice)) return;
            await home.history.keepNotes(new Map([[note, noteOfNumber(1)]]));
        }
        const devices = this.devicesOf(acceptedBy);
        await room.chain.admit(devices);
        for (const device of devices) await room.chain.grant(device);
        await home.history.keepNotes(new Map([[note, null]]));
    }

    /** Whether a device committed something in a consult's channel, or said something there. */
    private async hasSigned(channel: Room['id'], device: DeviceId): Promise<boolean> {
        const room = this.work.rooms.find(channel);
        if (room === null || !this.isIn(room, device)) return false;
        if (hasCommitted(room, device)) return true;
        const { history } = this.work.home;
        const newest = await history.before(room.chain.contentLog, Number.MAX_SAFE_INTEGER, NEWEST);
        return newest.some((entry) => entry.device === device && entry.verdict === Verdict.opened);
    }

    // ---- what is known

    private standing(channel: Room['id']): Room | null {
        const room = this.work.rooms.find(channel);
        if (room === null || room.info.archived) return null;
        return room.chain.member && room.chain.stopped === '' ? room : null;
    }

    private isIn(room: Room, device: DeviceId): boolean {
        return room.chain.roster.includes(device);
    }

    private seated({ chain }: Room): Seated[] {
        const { directories } = this.work.home;
        return (chain.sealed.line.head?.roster ?? []).map(({ deviceId, guest }) => {
            const certificate = guest === null ? directories.certificate(deviceId) : null;
            return {
                device: deviceId,
                member: certificate?.memberId ?? null,
                role: certificate?.role ?? '',
            };
        });
    }

    /** The devices of a member that stand now and may sit and read there. */
    private devicesOf(member: MemberId): DeviceId[] {
        const { directories } = this.work.home;
        return directories.devicesOf(member).filter((device) => {
            const certificate = directories.certificate(device);
            if (certificate === null || !maySit(certificate.role)) return false;
            return ((certificate.compartments >> Compartment.operations) & 1) === 1;
        });
    }

    private may(caps: number): boolean {
        const { directories, keys } = this.work.home;
        return ((directories.certificate(keys.deviceId)?.caps ?? 0) & caps) === caps;
    }

    private get records(): number {
        return this.work.home.directories.own.recordsKeys().length;
    }
}

/** Whether a device made a commit behind the first. */
function hasCommitted({ chain }: Room, device: DeviceId): boolean {
    return [...chain.sealed.line.commits.values()].some(
        ({ committer, epoch }) => epoch > 0 && committer === device,
    );
}

function unlessExpected(error: unknown): void {
    if (!isExpected(error)) throw error;
}
