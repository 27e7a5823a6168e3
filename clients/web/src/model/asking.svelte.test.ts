import { describe, expect, it } from 'vitest';
import { Asking, CONFIRM_MS, languageChoices, needsTelephone } from './asking.svelte';
import type { ConsultRequest } from './on-call';
import { consult, consultId, incidentId, unitId } from './sample';

function setUp(answer: () => Promise<ReturnType<typeof consultId>>) {
    const asked: ConsultRequest[] = [];
    const settings = new Map([['consult_language', 'es']]);
    const engine = {
        requestConsult: (request: ConsultRequest) => {
            asked.push(request);
            return answer();
        },
    };
    const handset = {
        setting: (name: string) => settings.get(name) ?? '',
        keepSetting: (name: string, value: string) => void settings.set(name, value),
    };
    return { asked, settings, asking: new Asking(engine, handset, 'urgent', incidentId(1)) };
}

describe('asking', () => {
    it('needs nothing but the two taps, and remembers the language', async () => {
        const { asked, asking, settings } = setUp(() => Promise.resolve(consultId(7)));
        expect(await asking.go(unitId(2))).toBe(consultId(7));
        expect(asked).toEqual([
            {
                incident: incidentId(1),
                unit: unitId(2),
                urgency: 'urgent',
                language: 'es',
                interpreter: false,
                specialty: '',
                summary: '',
            },
        ]);
        asking.language = 'so';
        await asking.go(null);
        expect(settings.get('consult_language')).toBe('so');
    });

    it('asks once for two taps, and lets a person try again after a failure', async () => {
        let fail: (error: Error) => void = () => undefined;
        const { asked, asking } = setUp(() => new Promise((_, reject) => (fail = reject)));
        const first = asking.go(null);
        expect(await asking.go(null)).toBeNull();
        fail(new Error('store_full'));
        await expect(first).rejects.toThrow('store_full');
        expect(asking.busy).toBe(false);
        void asking.go(null);
        expect(asked).toHaveLength(2);
    });
});

describe('the telephone', () => {
    it('is wanted once the server is silent for ten seconds, and no earlier', () => {
        const waiting = consult(1, { state: 'unconfirmed', requestedMs: 1_000 });
        expect(needsTelephone(waiting, 1_000 + CONFIRM_MS - 1)).toBe(false);
        expect(needsTelephone(waiting, 1_000 + CONFIRM_MS)).toBe(true);
    });

    it.each([
        ['unsent', true],
        ['exhausted', true],
        ['paging', false],
        ['accepted', false],
    ] as const)('is wanted for one that is %s: %s', (state, wanted) => {
        expect(needsTelephone(consult(1, { state }), 1e9)).toBe(wanted);
    });
});

it('offers the own languages first, each once', () => {
    const found = languageChoices(['fr-CA', 'es', 'x-odd', 'en-GB']);
    expect(found.slice(0, 3)).toEqual(['fr', 'es', 'en']);
    expect(new Set(found).size).toBe(found.length);
});
