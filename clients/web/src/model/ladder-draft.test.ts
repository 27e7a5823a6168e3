import { describe, expect, it } from 'vitest';
import { climbS, ladderFault, newStep, phoneNumber } from './ladder-draft';
import type { LadderDraft } from './on-call';
import { rotaId } from './sample';

const step = { ...newStep(), rotas: [rotaId(1)] };
const draft = (change: Partial<LadderDraft> = {}): LadderDraft => ({
    label: 'Nights',
    steps: [step],
    phones: [],
    ...change,
});

it.each([
    ['+1 (555) 010-0100', '+15550100100'],
    ['0043 1 234567', '+431234567'],
    ['555 0100', ''],
    ['+0123456789', ''],
    ['+1555x0100', ''],
])('reads the number %s as "%s"', (typed, found) => {
    expect(phoneNumber(typed)).toBe(found);
});

describe('a ladder', () => {
    it.each([
        [null, {}],
        [null, { steps: [] }],
        [{ kind: 'no_label' }, { label: ' ' }],
        [{ kind: 'empty_step', step: 1 }, { steps: [step, newStep()] }],
        [{ kind: 'bad_delay', step: 0 }, { steps: [{ ...step, delayS: 4 }] }],
        [{ kind: 'bad_delay', step: 0 }, { steps: [{ ...step, delayS: 60.5 }] }],
        [{ kind: 'bad_repeats', step: 0 }, { steps: [{ ...step, repeats: 6 }] }],
        [{ kind: 'bad_phone', phone: 0 }, { phones: [{ label: 'Desk', number: '555' }] }],
        [{ kind: 'bad_phone', phone: 0 }, { phones: [{ label: '', number: '+15550100100' }] }],
    ] as const)('has the fault %o with %o', (fault, change) => {
        expect(ladderFault(draft(change))).toEqual(fault);
    });

    it('takes as long as its steps and their repeats', () => {
        expect(climbS([step, { ...step, delayS: 30, repeats: 2 }])).toBe(60 + 90);
        expect(climbS([])).toBe(0);
    });
});
