/** From the server's row of a consult, and what is sealed about it, to what a screen shows. Pure. Spec 08. */
import type { ChannelId, MemberId } from '~/protocol/ids';
import type { Consult } from '~/protocol/oncall';

import type { ConsultAction, ConsultView } from '../on-call';
import type { Said } from './said';
import { urgencyName } from './telling';

export interface Known {
    readonly me: MemberId;
    /** What was asked in its channel, as far as this device could ever read it. */
    readonly said: Said | null;
    readonly reads: (channel: ChannelId) => boolean;
    /** The incident's earlier context is open here. */
    readonly context: boolean;
}

export function consultView(row: Consult, { me, said, reads, context }: Known): ConsultView {
    // A channel's request counts for the consult that it names, and for no other.
    const asked = said?.consult === row.id ? said : null;
    return {
        id: row.id,
        incident: row.incident,
        unit: row.unit,
        member: row.member,
        mine: row.member === me,
        urgency: urgencyName(row.urgency),
        language: row.language,
        interpreter: row.interpreter,
        specialty: row.specialty,
        state: row.state,
        channel: reads(row.channel) ? row.channel : null,
        side: row.side !== null && reads(row.side) ? row.side : null,
        summary: asked?.summary ?? '',
        opened: asked !== null,
        context,
        step: row.step,
        steps: row.steps,
        requestedMs: row.requestedMs,
        stepMs: row.stepMs,
        nextMs: row.nextMs,
        acceptedBy: row.acceptedBy,
        acceptedMs: row.acceptedMs,
        joinedMs: row.joinedMs,
        endedMs: row.endedMs,
        heldUntilMs: row.heldUntilMs,
        alarms: row.alarms,
        takenBy: row.takenBy,
        targets: row.targets.map(({ member, step, state, atMs }) => ({ member, step, state, atMs })),
        tried: row.tried,
        may: row.me.may.filter((one): one is ConsultAction => one !== 'side'),
        ringing: row.me.ringing,
    };
}
