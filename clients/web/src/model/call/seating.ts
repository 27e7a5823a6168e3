/**
 * Where everybody of a call is shown. Pure; the views only draw it.
 *
 * The order is the call's own (`byPlace`): the person in crisis first. The first other is large, and so is everybody who
 * interprets a signed language, for as long as they are there: a hand that is small cannot be read. Whoever watches may bring
 * one more to the front; it stands beside the first, and never in its place.
 */
import type { DeviceId } from '~/protocol/ids';
import type { CallPerson, CallView } from './call';

export interface Seating {
    /** In order, one at least unless nobody else is there. */
    readonly large: readonly CallPerson[];
    readonly small: readonly CallPerson[];
}

export function seating(people: readonly CallPerson[], front: DeviceId | null): Seating {
    const large = people.filter((one, at) => at === 0 || one.signs || one.device === front);
    return { large, small: people.filter((one) => !large.includes(one)) };
}

const HEIGHTS = [180, 360, 720] as const;

/** What to ask of the bridge for a picture that is `px` high on a screen of `ratio` dots a pixel: a size that is sent. */
export function linesFor(px: number, ratio: number): number {
    if (px <= 0) return 0;
    // A little less than the screen could show looks the same, and leaves the link to the sound.
    const dots = px * Math.min(ratio, 2) * 0.75;
    return HEIGHTS.find((lines) => lines >= dots) ?? 720;
}

/** In a room of the call, or on the way into it: the screen stays on, and no other call begins. */
export function isUnderWay({ phase }: Pick<CallView, 'phase'>): boolean {
    return phase === 'joining' || phase === 'waiting' || isInside({ phase });
}

/** A seat is held. */
export function isInside({ phase }: Pick<CallView, 'phase'>): boolean {
    return phase === 'live' || phase === 'reconnecting';
}

/** Nobody sends anything before there is one. */
export function hasConsent({ consent }: Pick<CallView, 'consent'>): boolean {
    return consent?.state === 'in_force';
}

/** How the link is in one word, the worse of both ways. */
export type LinkWord = 'good' | 'fair' | 'poor' | 'lost';
const WORDS: readonly LinkWord[] = ['lost', 'poor', 'fair', 'good'];

export function linkWord(grade: CallView['up']): LinkWord {
    return WORDS[grade] ?? 'lost';
}
