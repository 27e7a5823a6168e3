/** What every part of a call's screens is given from above: the call, the time, and what people are called there. */
import { createContext } from 'svelte';
import type { CallModel, CallPart, CallPerson } from '~/model/call/call';
import type { DeviceId, MemberId } from '~/protocol/ids';
import { t } from '~/words/words.svelte';

export interface Seen {
    readonly call: CallModel;
    /** The server's clock; a signal. */
    readonly nowMs: () => number;
    /** Whose name is not known here is called by their part. */
    readonly nameOf: (person: Pick<CallPerson, 'member' | 'part' | 'device'>) => string;
    readonly memberName: (member: MemberId | null) => string;
    // These may change while a screen stands: read them where they are used, and take them out of this object nowhere.
    /** The team or the psychiatrist: records consent, withdraws it, lets people in. */
    readonly leads: boolean;
    /** Of the team: this device may show the person in crisis. */
    readonly team: boolean;
    readonly interprets: boolean;
    /** Guests read nothing of the channel: whether somebody consented, the bridge's restriction alone tells them. */
    readonly readsConsent: boolean;
}

export const [seen, see] = createContext<Seen>();

export function partName(part: CallPart): string {
    return t(`role.${part}`);
}

/** As they are named over their picture: what they are there for comes first. */
export function titleOf({ nameOf }: Pick<Seen, 'nameOf'>, person: CallPerson): string {
    return person.person ? t('call.person') : nameOf(person);
}

/** What a guest is told: nobody's name, since those are sealed from guests. */
export function guestNames(): Pick<Seen, 'nameOf' | 'memberName'> {
    return { nameOf: ({ part }) => partName(part), memberName: () => t('role.responder') };
}

/** By device, which a signal may replace. */
export function personAt(people: readonly CallPerson[], device: DeviceId | null): CallPerson | null {
    return people.find((one) => one.device === device) ?? null;
}
