import { expect, test } from 'vitest';
import { Screening } from './screening.svelte';

/** A sealed drawer of notes. */
function drawer(notes = new Map<string, string>()) {
    return {
        notes,
        keep: (name: string, text: string): Promise<void> => {
            notes.set(name, text);
            return Promise.resolve();
        },
        kept: (name: string): Promise<string> => Promise.resolve(notes.get(name) ?? ''),
    };
}

test('what was written survives a reload, and ends with the incident', async () => {
    const engine = drawer();
    const first = new Screening(engine);
    first.begin(1_000);
    first.written.address = 'Quay Street 4';
    first.written.answers.who = 'Her brother';
    await first.keep();
    const second = new Screening(engine);
    await second.resume();
    second.begin(9_000);
    expect(second.written).toEqual(first.written);
    expect(second.written.startedMs).toBe(1_000);
    await second.clear();
    expect([second.begun, engine.notes.get('screening')]).toEqual([false, '']);
});

test('what is being written is not overwritten by what was kept', async () => {
    const engine = drawer(new Map([['screening', JSON.stringify({ address: 'Old Lane' })]]));
    const screening = new Screening(engine);
    screening.written.district = 'Harbour';
    await screening.resume();
    expect([screening.written.address, screening.written.district]).toEqual(['', 'Harbour']);
});

test.each(['', 'no json', '[]', 'null', '{"priority":9,"answers":7,"address":{}}'])(
    'kept words that are none (%s) begin an empty call',
    async (words) => {
        const screening = new Screening(drawer(new Map([['screening', words]])));
        await screening.resume();
        expect([screening.begun, screening.written.priority, screening.written.typeCode]).toEqual([
            false,
            3,
            'EDP',
        ]);
    },
);

test('a store that fails loses nothing that is on the screen', async () => {
    const broken = { keep: () => Promise.reject(new Error()), kept: () => Promise.reject(new Error()) };
    const screening = new Screening(broken);
    screening.written.address = 'Quay Street 4';
    await screening.keep();
    await screening.resume();
    expect(screening.written.address).toBe('Quay Street 4');
});

test('a place is checked, and everything is trimmed', () => {
    const screening = new Screening(drawer());
    screening.written.place = 'by the church';
    expect(screening.placeWrong).toBe(true);
    screening.written.place = '47.5621, 19.1234';
    screening.written.address = ' Quay Street 4 ';
    const details = screening.details((question) => question, '-');
    expect(screening.placeWrong).toBe(false);
    expect(details).toMatchObject({
        address: 'Quay Street 4',
        place: { latE7: 475_621_000, lonE7: 191_234_000 },
    });
    expect(details.narrative).toBe('who: -\nhappening: -\nweapons: -\nmedical: -\nalone: -');
});
