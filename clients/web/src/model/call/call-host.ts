/** What a call asks of whose page it is on. `WorldHost` is the agency's own devices', `GuestLine` a guest's. */
import type { ConsultId, DeviceId, MemberId } from '~/protocol/ids';
import type { CallPart, ConsentView } from './call';
import type { CallCommands, VideoWord } from './commands';

/** Where a call is: who this device is in it, and what is known of it here. */
export interface CallHost {
    readonly engine: CallCommands;
    readonly device: DeviceId | null;
    /** The server's clock. */
    readonly nowMs: number;
    readonly online: boolean;
    /** Since when the socket stands, by this device's clock; 0: there is none. Another one has another time. */
    readonly linkedMs: number;
    memberOf(device: DeviceId): MemberId | null;
    /** What this device is in the consult; null: it has no part in its call. */
    partOf(consult: ConsultId): CallPart | null;
    /** False: this device reads no log, and goes by the bridge's word alone. */
    readonly readsConsent: boolean;
    /** The newest, as it is now; a signal, also of its time running out. */
    consentOf(consult: ConsultId): ConsentView | null;
    onVideo(listen: (word: VideoWord) => void): () => void;
}
