/** A consult that this device asked for and the server has not confirmed: its row on the disk, and what a screen shows of it. */
import type { Bytes } from '~/protocol/bytes';
import { NO_BYTES } from '~/protocol/bytes';
import { asId, type ConsultId, type IncidentId, type MemberId } from '~/protocol/ids';
import { pack, unpack } from '~/protocol/pack';

import type { ConsultRequest, ConsultView } from '../on-call';
import type { Vault } from '../ports';
import { noteOf, readNote } from './notes';

const PREFIX = 'consult ';

/** `sent`: the server has it, and its row is not here yet. `withdrawn`: its person took it back, and the server may have it. */
export type AskedState = 'waiting' | 'unsent' | 'sent' | 'withdrawn';

export interface Asked {
    readonly id: ConsultId;
    readonly request: ConsultRequest;
    readonly askedMs: number;
    readonly state: AskedState;
    /** What was, or may have been, sent: those bytes and no others. Null: nothing was made yet. */
    readonly post: Bytes | null;
}

/** The rows, in the vault: on disk when a change resolves, and sealed at rest. */
export class AskedRows {
    constructor(private readonly vault: Vault) {}

    async all(): Promise<Asked[]> {
        const rows: Asked[] = [];
        for (const name of await this.vault.names(PREFIX)) {
            const data = await this.vault.bytes(name);
            if (data !== null) rows.push(read(name.slice(PREFIX.length), data));
        }
        return rows.sort((a, b) => a.askedMs - b.askedMs);
    }

    async keep(asked: Asked): Promise<void> {
        const { id, post, ...plain } = asked;
        const data = pack([noteOf(plain), post ?? NO_BYTES]);
        await this.vault.update(new Map([[PREFIX + id, data]]));
    }

    async drop(id: ConsultId): Promise<void> {
        await this.vault.update(new Map([[PREFIX + id, null]]));
    }
}

/** This program wrote it, into a store that proves its rows. */
function read(id: string, data: Bytes): Asked {
    const [plain, post] = unpack(data) as readonly [Bytes, Bytes];
    return {
        id: asId<ConsultId>(id),
        ...(readNote(plain) as Omit<Asked, 'id' | 'post'>),
        post: post.length === 0 ? null : post,
    };
}

/** The incident of a consult; one that belongs to none goes by its own id (spec 08, "Requesting"). */
export function incidentOf(id: ConsultId, request: ConsultRequest): IncidentId {
    return request.incident ?? (id as string as IncidentId);
}

export function askedView({ id, request, askedMs, state }: Asked, me: MemberId): ConsultView {
    const { unit, urgency, language, interpreter, specialty, summary } = request;
    return {
        id,
        incident: incidentOf(id, request),
        unit,
        member: me,
        mine: true,
        urgency,
        language,
        interpreter,
        specialty,
        state: state === 'sent' ? 'paging' : state === 'unsent' ? 'unsent' : 'unconfirmed',
        channel: null,
        side: null,
        summary,
        opened: true,
        context: false,
        step: -1,
        steps: 0,
        requestedMs: askedMs,
        stepMs: 0,
        nextMs: 0,
        acceptedBy: null,
        acceptedMs: 0,
        joinedMs: 0,
        endedMs: 0,
        heldUntilMs: 0,
        alarms: 0,
        takenBy: null,
        targets: [],
        tried: [],
        may: state === 'sent' ? [] : ['cancel'],
        ringing: false,
    };
}
