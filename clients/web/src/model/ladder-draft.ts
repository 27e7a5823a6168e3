/** A ladder as it is being written: what may be sent, and how long it takes to climb. Pure. Spec 08, "Ladders". */
import type { LadderDraft, LadderStep, Phone } from './on-call';

export const MOST_STEPS = 10;
export const MOST_PHONES = 10;
export const SHORTEST_S = 5;
export const LONGEST_S = 3_600;
export const MOST_REPEATS = 5;

export type LadderFault =
    | { readonly kind: 'no_label' }
    | { readonly kind: 'empty_step' | 'bad_delay' | 'bad_repeats'; readonly step: number }
    | { readonly kind: 'bad_phone'; readonly phone: number };

export const newStep = (): LadderStep => ({
    rotas: [],
    members: [],
    delayS: 60,
    repeats: 0,
    language: false,
    specialty: '',
    licence: '',
});

/** A number as people write it, as E.164 has it; empty: it is none. */
export function phoneNumber(typed: string): string {
    const tidy = typed.replace(/[\s()./-]/g, '').replace(/^00/, '+');
    return /^\+[1-9][0-9]{6,14}$/.test(tidy) ? tidy : '';
}

export function ladderFault({ label, steps, phones }: LadderDraft): LadderFault | null {
    if (label.trim() === '') return { kind: 'no_label' };
    const inRange = (n: number, from: number, to: number): boolean =>
        Number.isInteger(n) && n >= from && n <= to;
    for (const [n, step] of steps.entries()) {
        if (step.rotas.length === 0 && step.members.length === 0) return { kind: 'empty_step', step: n };
        if (!inRange(step.delayS, SHORTEST_S, LONGEST_S)) return { kind: 'bad_delay', step: n };
        if (!inRange(step.repeats, 0, MOST_REPEATS)) return { kind: 'bad_repeats', step: n };
    }
    const bad = phones.findIndex((one: Phone) => one.label.trim() === '' || phoneNumber(one.number) === '');
    return bad < 0 ? null : { kind: 'bad_phone', phone: bad };
}

/** How long it takes until all supervisors are paged, if nobody answers and everybody can be reached. */
export function climbS(steps: readonly LadderStep[]): number {
    return steps.reduce((sum, step) => sum + step.delayS * (step.repeats + 1), 0);
}
