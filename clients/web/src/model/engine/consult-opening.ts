/**
 * What a request is sent as: its channel's genesis with everyone who may be paged, and the sealed summary as its first frame
 * (spec 04, "Consult"; spec 08, "Requesting").
 */
import type { Bytes } from '~/protocol/bytes';
import { writeContent } from '~/protocol/bodies';
import {
    type ChannelId,
    type ConsultId,
    type DeviceId,
    idOf,
    type MemberId,
    type MessageId,
} from '~/protocol/ids';
import { ROSTER_DEVICES } from '~/protocol/limits';
import { consultPost, type LadderRoster } from '~/protocol/oncall';
import { pack, unpack } from '~/protocol/pack';
import { type Role, Urgency } from '~/protocol/words';
import { channelFor } from '~/sealing/opening/committer';
import { parseCommit } from '~/sealing/public/commit';
import { DURABLE } from '~/sealing/public/entries';

import type { ConsultRequest } from '../on-call';
import { type Asked, incidentOf } from './asked';
import { deliveryOf, sealingError } from './chain';
import { maySit, seatsFor } from './consult-seats';
import { EngineFailure, NotPermitted } from './errors';
import { Openings } from './openings';
import { urgencyNumber } from './telling';
import type { Work } from './work';

const SPECIALTY_CHARS = 40;
/** To whom the incident's earlier context is given by itself. Signed with the request: no server can add to it. */
const GRANT_TO: readonly Role[] = ['psychiatrist'];

export class ConsultOpening {
    private readonly openings: Openings;

    constructor(private readonly work: Work) {
        this.openings = new Openings(work.home, work.rooms);
    }

    /** The bytes to post. Rejects with `NotPermitted`, `ApiError`. */
    async make({ id, request }: Asked, ladder: LadderRoster): Promise<Bytes> {
        const { home } = this.work;
        const incident = incidentOf(id, request);
        await home.directories.sync();
        const made = await this.openings.make(
            { purpose: 'consult', subject: incident, incident },
            this.seats(request.unit, ladder),
        );
        const urgency = urgencyNumber(request.urgency);
        const messageId = idOf<MessageId>(home.random.bytes(16));
        const { type, data } = firstWords(id, request);
        const nowMs = home.nowMs();
        const directories = home.directories.byAgency;
        const channel = channelFor(made.commit, home.keys.deviceId);
        const delivery = deliveryOf(made.commit, home.keys.deviceId);
        let payload;
        try {
            await channel.processCommit(made.commit.commit.signed, delivery, home.keys, directories, {
                nowMs,
            });
            const body = { type, tsMs: nowMs, msgId: messageId, seen: null, data };
            payload = await channel.seal(body, home.keys, directories, { nowMs, keyClass: DURABLE });
        } catch (error) {
            throw new NotPermitted(sealingError(error).code);
        }
        const post = {
            consult: id,
            incident: request.incident,
            unit: request.unit,
            urgency,
            language: request.language,
            interpreter: request.interpreter,
            specialty: request.specialty,
            ladder: null,
            channel: {
                purpose: 'consult' as const,
                subject: incident,
                genesis: made.post,
                // Its envelope is routine: whom to wake is for the ladder.
                first: { id: messageId, payload, urgency: Urgency.routine },
            },
        };
        return pack(consultPost.write(post));
    }

    /** The server has it: follow its channel, unless it is another one that an earlier try made. */
    async join(id: ConsultId, request: ConsultRequest, post: Bytes, channel: ChannelId): Promise<void> {
        const { genesis } = consultPost.read(unpack(post)).channel;
        const commit = await parseCommit(genesis.commit);
        if (commit.channelId !== channel) return;
        // Known before it comes back through the log: nobody forgets what they asked.
        const { home, said, parts } = this.work;
        const asked = { consult: id, summary: request.summary, grantTo: GRANT_TO };
        await home.life.untilWritten(() => said.take(channel, asked, parts.identity.member));
        const incident = incidentOf(id, request);
        await this.openings.joinPosted(channel, genesis, { purpose: 'consult', subject: incident, incident });
    }

    /** Fails with `BodyError` or `EngineFailure` where the request could not be sent as it is. */
    check(id: ConsultId, request: ConsultRequest): void {
        firstWords(id, request);
        const { language, specialty } = request;
        if (!/^([a-z]{2,3})?$/.test(language) || specialty.length > SPECIALTY_CHARS)
            throw new EngineFailure('too_long');
    }

    /** This device, then who asks, then who may be paged, in the order of the ladder, then the desk. */
    private seats(unit: Asked['request']['unit'], ladder: LadderRoster): DeviceId[] {
        const { home, people, parts } = this.work;
        const members = unit === null ? [] : (people.unit(unit)?.members ?? []);
        const paged = new Set(ladder.devices);
        const devicesOf = (all: readonly MemberId[]): DeviceId[] => all.flatMap((one) => this.mayRead(one));
        const records = home.directories.own.recordsKeys().length;
        return seatsFor(
            [
                [home.keys.deviceId],
                devicesOf([parts.identity.member]),
                devicesOf(members),
                // Only what the signed directory knows as theirs: a server's list names nobody else.
                devicesOf(ladder.members).filter((device) => paged.has(device)),
                devicesOf(people.withRoles(['supervisor'])),
                devicesOf(people.withRoles(['dispatcher'])),
            ],
            ROSTER_DEVICES - records,
        );
    }

    private mayRead(member: MemberId): DeviceId[] {
        const { directories } = this.work.home;
        return directories.devicesOf(member).filter((device) => {
            const certificate = directories.certificate(device);
            return certificate !== null && maySit(certificate.role) && (certificate.compartments & 1) === 1;
        });
    }
}

function firstWords(id: ConsultId, request: ConsultRequest): ReturnType<typeof writeContent> {
    const { urgency, summary } = request;
    return writeContent({
        type: 'consult',
        consult: id,
        urgency: urgencyNumber(urgency),
        summary,
        grantTo: GRANT_TO,
    });
}
