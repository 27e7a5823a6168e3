/** What the call's machine asks to be done: it decides, and does nothing itself. */
import type { ClientSignal, TurnServer } from '~/protocol/video';

export type Effect =
    | { readonly do: 'signal'; readonly signal: ClientSignal }
    | { readonly do: 'open'; readonly generation: number; readonly turn: readonly TurnServer[] }
    | { readonly do: 'offer'; readonly generation: number; readonly version: number; readonly sdp: string }
    | { readonly do: 'close'; readonly generation: number }
    /** Who sits where at this generation changed. */
    | { readonly do: 'places'; readonly generation: number }
    /** It is over: camera and microphone off, everything closed. */
    | { readonly do: 'stop' };

/** Takes them in the order in which they are to be done. */
export type Ask = (effect: Effect) => void;
