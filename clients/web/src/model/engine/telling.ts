/**
 * From an entry that was read, or a message that waits, to the row that a person is shown. Pure. Spec chapters 05 and 10.
 *
 * A content counts only in the lane of its type and under the key that it names: a status of another unit, or a position
 * under another device's key, does not hold and is told as unreadable.
 */
import { type Content, type ContentType, placeOf } from '~/protocol/bodies';
import { SERVER_DEVICE, splitKey } from '~/protocol/ids';
import { Lane, Mark as MARKS, Urgency as URGENCIES } from '~/protocol/words';

import { draftOf } from './consents';
import type { ChannelId, DeviceId, Mark, MemberId, MessageId, ProgressView, Row, Urgency } from '../engine';
import type { Reading } from './reading';

/** Whose rows are told, and in which channel. */
export interface Teller {
    readonly channel: ChannelId;
    readonly me: MemberId;
    memberOf(device: DeviceId): MemberId | null;
    /** How far what stands in the log has come. */
    progress(message: {
        readonly id: MessageId;
        readonly offset: number;
        readonly device: DeviceId;
        readonly member: MemberId | null;
    }): ProgressView;
    /** What a recommendation was read back as, the newest last. */
    readBacks(
        id: MessageId,
    ): readonly { readonly member: MemberId | null; readonly text: string; readonly atMs: number }[];
    /** Plain bytes of a file that were fetched or sent so far. */
    doneBytes(id: MessageId, sizeBytes: number): number;
}

/** What a row says of itself besides its content. */
export interface Envelope {
    readonly id: MessageId;
    readonly offset: number;
    readonly device: DeviceId;
    readonly atMs: number;
    readonly writtenMs: number;
}

const URGENCY_NAMES: readonly Urgency[] = ['routine', 'important', 'urgent'];
const MARK_NAMES = new Map(Object.entries(MARKS).map(([name, number]) => [number as number, name as Mark]));

export function urgencyName(urgency: URGENCIES): Urgency {
    return URGENCY_NAMES[urgency] ?? 'routine';
}

export function urgencyNumber(urgency: Urgency): URGENCIES {
    return URGENCIES[urgency];
}

export function markNumber(mark: Mark | null): MARKS {
    return mark === null ? MARKS.none : MARKS[mark];
}

/** Why an entry cannot be shown as what it claims to be; empty when it can. */
export function closedBecause({ entry, content, code }: Reading): string {
    if (code !== '') return code;
    if (content === null) return '';
    if (content.type === 'unsupported') return 'unsupported';
    const { lane, key } = placeOf(content, entry.device);
    return lane === entry.lane && key === entry.key ? '' : 'E_BODY';
}

/** The content of an entry, if it opened and stands where it belongs. */
export function contentOf(reading: Reading): Content | null {
    const { content } = reading;
    if (content === null || content.type === 'unsupported' || closedBecause(reading) !== '') return null;
    return content;
}

/** The row of an entry; null for what a screen shows otherwise: values, acknowledgements, pruned messages. */
export function tellRow(reading: Reading, teller: Teller): Row | null {
    const { entry, body } = reading;
    const why = closedBecause(reading);
    const envelope = {
        id: entry.id,
        offset: entry.offset,
        device: entry.device,
        atMs: entry.atMs,
        writtenMs: body?.tsMs ?? entry.atMs,
    };
    if (why !== '') return quiet(reading) ? null : { ...base(envelope, teller), kind: 'closed', why };
    const content = contentOf(reading);
    if (content === null) return null;
    const told = { ...envelope, member: teller.memberOf(entry.device) };
    return rowOf(content, envelope, teller, () => teller.progress(told));
}

/** The row of a message of this device that waits, or was accepted and did not come back yet. */
export function tellWaiting(
    content: Content,
    envelope: Envelope,
    progress: ProgressView,
    teller: Teller,
): Row | null {
    return rowOf(content, envelope, teller, () => progress);
}

/** What fails a check in silence: nothing of a person's is lost by it. */
function quiet({ entry, code }: Reading): boolean {
    if (code === 'pruned') return true;
    // The next marks say all again, and what the server itself may write is a deletion, which has no content.
    return splitKey(entry.key)?.kind === 'receipt' || entry.device === SERVER_DEVICE;
}

function base(envelope: Envelope, teller: Teller) {
    const member = teller.memberOf(envelope.device);
    return { channel: teller.channel, ...envelope, member, mine: member === teller.me };
}

function rowOf(
    content: Content,
    envelope: Envelope,
    teller: Teller,
    progress: () => ProgressView,
): Row | null {
    const common = base(envelope, teller);
    switch (content.type) {
        case 'text':
            return {
                ...common,
                kind: 'text',
                text: content.text,
                urgency: urgencyName(content.urgency),
                replyTo: content.replyTo,
                progress: progress(),
            };
        case 'attachment': {
            const { name, mediaType, caption, sizeBytes } = content;
            const doneBytes = teller.doneBytes(envelope.id, sizeBytes);
            const file = { name, mediaType, caption, sizeBytes, doneBytes };
            return { ...common, kind: 'file', file, progress: progress() };
        }
        case 'assignment': {
            const { unit, priority, note } = content;
            return { ...common, kind: 'assignment', unit, priority, note, progress: progress() };
        }
        case 'check_in':
        case 'duress':
            return {
                ...common,
                kind: content.type,
                unit: content.unit,
                fix: content.fix,
                progress: progress(),
            };
        case 'consult':
            return {
                ...common,
                kind: 'consult',
                summary: content.summary,
                urgency: urgencyName(content.urgency),
            };
        case 'recommendation':
            return {
                ...common,
                kind: 'recommendation',
                text: content.text,
                readBack: teller.readBacks(envelope.id),
                progress: progress(),
            };
        case 'consent':
            return { ...common, kind: 'consent', consent: draftOf(content) };
        case 'consent_withdrawn':
            return { ...common, kind: 'consent_withdrawn', consent: content.consent };
        case 'timeline': {
            const mark = MARK_NAMES.get(content.mark);
            if (mark === undefined) return null;
            return { ...common, kind: 'timeline', mark, unit: content.unit, note: content.note };
        }
        case 'context_wanted':
            return {
                ...common,
                kind: 'context_wanted',
                fromEpoch: content.fromEpoch,
                reason: content.reason,
            };
        default:
            return null;
    }
}

/** What asks for an acknowledgement, and how often it sounds until then; null for everything else. */
export function pressingS(content: Content): number | null {
    switch (content.type) {
        case 'text':
            return content.urgency === URGENCIES.urgent ? content.repeatS : null;
        case 'assignment':
        case 'check_in':
        case 'duress':
        case 'recommendation':
            return content.repeatS;
        default:
            return null;
    }
}

/** The words of a row for a list of channels. */
export function wordsOf(row: Row): string {
    switch (row.kind) {
        case 'text':
        case 'recommendation':
            return row.text;
        case 'consult':
            return row.summary;
        case 'file':
            return row.file.caption === '' ? row.file.name : row.file.caption;
        case 'assignment':
        case 'timeline':
            return row.note;
        default:
            return '';
    }
}

/** Types that stand as rows in the log. */
const ROW_TYPES: ReadonlySet<ContentType> = new Set([
    'text',
    'attachment',
    'assignment',
    'check_in',
    'duress',
    'timeline',
    'context_wanted',
    'consult',
    'recommendation',
    'consent',
    'consent_withdrawn',
]);

export function isRow(lane: Lane, content: Content): boolean {
    return lane === Lane.log && ROW_TYPES.has(content.type);
}
