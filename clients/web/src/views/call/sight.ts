/** What a call's screens are given where there is a world: for who is enrolled. Guests have their own (guest/GuestCall). */
import { isInside } from '~/model/call/seating';
import type { CallPart } from '~/model/call/call';
import type { ConsultView } from '~/model/on-call';
import type { Held } from '../shared/held';
import { t } from '~/words/words.svelte';
import { partName, type Seen } from './seen';

/** What this person will be to the call; null: they read the consult, and are no part of its call. */
export function partOf({ world }: Pick<Held, 'world'>, consult: ConsultView): CallPart | null {
    const { me } = world;
    if (me === null) return null;
    if (consult.acceptedBy === me.member) return 'psychiatrist';
    const unit = consult.unit === null ? undefined : world.units.get(consult.unit);
    if (consult.mine || unit?.members.includes(me.member) === true) return 'responder';
    return me.roles.includes('supervisor') ? 'supervisor' : null;
}

/** `consult` is a signal: who is what may change while the screen stands. */
export function sightOf({ call, world }: Held, consult: () => ConsultView | undefined): Seen {
    const part = (): CallPart | null => {
        // The bridge has the last word, where it has spoken.
        if (isInside(call) && call.me?.part) return call.me.part;
        const about = consult();
        return about === undefined ? null : partOf({ world }, about);
    };
    return {
        call,
        nowMs: () => world.clock.nowMs,
        nameOf: ({ member, part: its, device }) => {
            if (member !== null) return world.memberName(member);
            const about = consult();
            const guest = about && world.guests.get(about.id)?.find((one) => one.device === device);
            return t('call.guest', { role: guest?.role ? t(`role.${guest.role}`) : partName(its) });
        },
        memberName: (member) => world.memberName(member),
        get leads() {
            return part() === 'responder' || part() === 'psychiatrist';
        },
        get team() {
            return part() === 'responder';
        },
        interprets: false,
        readsConsent: true,
    };
}
