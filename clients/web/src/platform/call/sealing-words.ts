/** What the page, the sealing worker and the engine say to each other about one call's media. Plain data. */
import type { MediaAlarm } from '~/model/call/call';
import type { DeviceId } from '~/protocol/ids';
import type { MediaKind } from '~/protocol/video';

/** Names one transform for good: a number that the page counts up. */
export type TransformId = number;

/** What a transform is told at its making. */
export interface TransformOptions {
    readonly id: TransformId;
    readonly side: 'send' | 'receive';
    readonly media: MediaKind;
}

/** From the page to the sealing worker. */
export type ToSealer =
    /** The engine's end of keys, once. */
    | { readonly kind: 'keys'; readonly port: MessagePort }
    /** Whose frames a receiver opens from now on; null: nobody's. */
    | { readonly kind: 'place'; readonly id: TransformId; readonly device: DeviceId | null }
    /** Say how many frames each sender was given so far. */
    | { readonly kind: 'count'; readonly ask: number };

/** From the sealing worker to the page. */
export type FromSealer =
    /** The transform is in place: its track may be let in. */
    | { readonly kind: 'attached'; readonly id: TransformId }
    | {
          readonly kind: 'counted';
          readonly ask: number;
          readonly given: ReadonlyMap<TransformId, number>;
      }
    | {
          readonly kind: 'alarm';
          readonly id: TransformId;
          readonly alarm: Exclude<MediaAlarm, ''>;
      };
