/** Why a clinical channel may be: what is recorded about it, and how its genesis signs that. Spec chapter 04, "Commit", `auth`. */
import type { ChannelId } from '~/protocol/ids';
import { Urgency } from '~/protocol/words';
import { AUTH_BREAK_GLASS, AUTH_CONSENT, type AuthRecord } from '~/sealing/public/commit';
import { sha256 } from '~/sealing/public/encoding';

import { EngineFailure } from './errors';
import type { Work } from './work';

/** Seal the record where those who are concerned can read it, first; the hash of that frame is what a genesis signs. */
export async function recordGround(
    work: Work,
    channel: ChannelId,
    ground: 'consent' | 'break_glass',
    record: string,
): Promise<AuthRecord> {
    const written = await work.compose(channel, {
        type: 'text',
        urgency: Urgency.important,
        text: record,
        repeatS: 0,
        replyTo: null,
    });
    await work.untilSent(written);
    const frame = (await work.parts.stores.outbox.get(written))?.frame ?? null;
    if (frame === null) throw new EngineFailure('failed');
    return { kind: ground === 'consent' ? AUTH_CONSENT : AUTH_BREAK_GLASS, recordHash: await sha256(frame) };
}
