/** What a page asks of the engine for calls, and what it hears of them. */
import type { VideoRefused } from '~/link/connection';
import type { ChannelId, ConsultId } from '~/protocol/ids';
import type { Bytes } from '~/protocol/bytes';
import type { VideoTold } from '~/protocol/messages';
import type { ConsentDraft, ConsentView } from './call';

export interface CallCommands {
    /** Say something to the bridge (`encodeSignal`). Rejects with `offline`; that it was passed on, nobody says. */
    videoSend(consult: ConsultId, body: Bytes): Promise<void>;
    /** The keys of this call go over the port (handed over, not copied), now and with each new epoch. */
    videoKeys(consult: ConsultId, port: MessagePort): Promise<void>;
    recordConsent(consult: ConsultId, draft: ConsentDraft): Promise<void>;
    /** Ends the newest consent; `not_found` where there is none. */
    withdrawConsent(consult: ConsultId): Promise<void>;
}

export type CallEvent =
    /** The bridge's word, as it came: `decodeBridgeSignal`. */
    | { readonly kind: 'video'; readonly consult: ConsultId; readonly body: Bytes }
    /** A signal was not passed on: a number of spec 90, and when to say it again (0: nothing is said of that). */
    | {
          readonly kind: 'video_refused';
          readonly consult: ConsultId;
          readonly code: number;
          readonly retryMs: number;
      }
    | { readonly kind: 'consent'; readonly channel: ChannelId; readonly consent: ConsentView | null };

/** What comes of a call's words. */
export type VideoWord = Exclude<CallEvent, { readonly kind: 'consent' }>;

/** What came over the socket, as a page hears it. */
export function wordOf(said: VideoTold | VideoRefused): VideoWord {
    const { consult } = said;
    if (said.kind === 'video_told') return { kind: 'video', consult, body: said.body };
    return { kind: 'video_refused', consult, code: said.error, retryMs: said.retryMs };
}
