/**
 * Who may be heard in a call, and who lets whom in: what the bridge and the consult say of it (spec 09, "Who may"). It knows no
 * path and no seat, so it holds while those are lost and found again. What the channel's consent says is `Call`'s to ask besides.
 */
import type { DeviceId } from '~/protocol/ids';
import { Part, type Participant } from '~/protocol/video';

export class CallRights {
    /** What this device is to the call; null before its first join. */
    part: Part | null = null;
    /** Consent was withdrawn: media reach the team, the psychiatrist and the interpreter alone. */
    restricted = false;
    /** Who asks to come in, told to who may let them. */
    readonly waiting = new Map<DeviceId, Participant>();

    /** `part`: what the consult makes of this device; the bridge goes by its own ticket. */
    begin(part: Part): void {
        this.part = part;
        this.restricted = false;
        this.waiting.clear();
    }

    /** Lets people in, and says who hears. */
    get admits(): boolean {
        return this.part === Part.responder || this.part === Part.psychiatrist;
    }

    /** Goes on when consent is withdrawn: who treats, and who carries their words. */
    get staysRestricted(): boolean {
        return this.part !== null && this.part <= Part.interpreter;
    }

    /** Media of mine may go to the others; `agreed`: a consent in force was read, or none can be. */
    mayBeHeard(agreed: boolean): boolean {
        return this.staysRestricted || (agreed && !this.restricted);
    }
}
