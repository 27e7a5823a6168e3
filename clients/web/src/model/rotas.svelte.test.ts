import { beforeEach, describe, expect, it } from 'vitest';
import type { RotaDraft, RotaId, RotaView, Span } from './on-call';
import { Rotas, WEEKS } from './rotas.svelte';
import { memberId, rota, rotaId } from './sample';
import { midnightAfter, mondayOf } from './weeks';

const nowMs = new Date(2026, 10, 28, 3).getTime();
const monday = mondayOf(nowMs);
let stored: RotaView[];
let changes: (readonly [RotaId, number, Partial<RotaDraft>])[];
let questions: { id: RotaId; fromMs: number; untilMs: number; answer: (spans: readonly Span[]) => void }[];
let conflict: boolean;
let rotas: Rotas;
let engine: ConstructorParameters<typeof Rotas>[0];

const span = (n: number): Span => ({ fromMs: 0, untilMs: 1, member: memberId(n), why: 'rotation' });

beforeEach(() => {
    stored = [rota(1), rota(2)];
    changes = [];
    questions = [];
    conflict = false;
    engine = {
        rotas: () => Promise.resolve([...stored]),
        schedule: (id: RotaId, fromMs: number, untilMs: number) =>
            new Promise<readonly Span[]>((answer) => questions.push({ id, fromMs, untilMs, answer })),
        changeRota: (id: RotaId, revision: number, change: Partial<RotaDraft>) => {
            changes.push([id, revision, change]);
            return conflict ? Promise.reject(new Error('conflict')) : Promise.resolve();
        },
    };
    rotas = new Rotas(engine, nowMs);
});

async function answered(n: number, work: Promise<void>): Promise<void> {
    for (let turn = 0; turn < 5; turn += 1) await Promise.resolve();
    questions.at(-1)?.answer([span(n)]);
    await work;
}

it('shows the first rota in whole local weeks', async () => {
    expect(rotas.all).toBeNull();
    await answered(7, rotas.load());
    expect(rotas.rota?.id).toBe(rotaId(1));
    expect(rotas.spans).toEqual([span(7)]);
    expect(questions).toMatchObject([
        { id: rotaId(1), fromMs: monday, untilMs: midnightAfter(monday, WEEKS * 7) },
    ]);
});

it('shows nothing, and asks nothing, where there is no rota', async () => {
    stored = [];
    await rotas.load();
    expect([rotas.rota, rotas.spans, questions.length]).toEqual([null, [], 0]);
});

it('shows an owner their own, and no other', async () => {
    stored = [rota(1), rota(2, { owners: [memberId(8), memberId(9)] })];
    const own = new Rotas(engine, nowMs, memberId(9));
    await answered(1, own.load());
    expect(own.all?.map((one) => one.id)).toEqual([rotaId(2)]);
    expect(own.rota?.id).toBe(rotaId(2));
    const nobodys = new Rotas(engine, nowMs, memberId(7));
    await nobodys.load();
    expect([nobodys.all, nobodys.rota]).toEqual([[], null]);
});

it('keeps the newest answer, whichever comes last', async () => {
    await answered(1, rotas.load());
    const second = rotas.choose(rotaId(2));
    const back = rotas.choose(rotaId(1));
    questions[2]?.answer([span(1)]);
    await back;
    questions[1]?.answer([span(2)]);
    await second;
    expect([rotas.rota?.id, rotas.spans]).toEqual([rotaId(1), [span(1)]]);
});

it('moves by weeks, and to a time that is out of sight', async () => {
    await answered(1, rotas.load());
    await answered(2, rotas.move(WEEKS));
    expect(rotas.mondayMs).toBe(midnightAfter(monday, WEEKS * 7));
    await answered(3, rotas.show(nowMs));
    expect([rotas.mondayMs, rotas.spans]).toEqual([monday, [span(3)]]);
    const before = questions.length;
    await rotas.show(midnightAfter(monday, 20));
    expect(questions).toHaveLength(before);
});

describe('a change', () => {
    it('is of the revision that was seen, and shows what came of it', async () => {
        await answered(1, rotas.load());
        stored = [rota(1, { revision: 2, label: 'New' }), rota(2)];
        await answered(4, rotas.change({ label: 'New' }));
        expect(changes).toEqual([[rotaId(1), 1, { label: 'New' }]]);
        expect([rotas.rota?.label, rotas.spans]).toEqual(['New', [span(4)]]);
    });

    it('that came second shows the newer rota, and says so', async () => {
        await answered(1, rotas.load());
        conflict = true;
        stored = [rota(1, { revision: 5 }), rota(2)];
        await expect(answered(4, rotas.change({ label: 'New' }))).rejects.toThrow('conflict');
        expect(rotas.rota?.revision).toBe(5);
    });
});
