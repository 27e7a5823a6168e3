/**
 * The call that is being taken: five questions, where, and how urgent. What is written survives a closed sheet and a
 * reload (sealed at rest by `Engine.keep`), until the incident is open.
 */

import { parsePlace } from './board';
import type { Engine, IncidentDetails } from './engine';
import { QUESTIONS, screened } from './incident-strip';
import type { Question } from './incident-strip';

/** The name that it is kept under. */
const KEPT = 'screening';
/** A person in front of a caller asks five questions in this time. */
export const SCREENING_TARGET_MS = 90_000;

interface Written {
    startedMs: number;
    typeCode: string;
    priority: number;
    district: string;
    address: string;
    place: string;
    answers: Record<Question, string>;
}

function blank(): Written {
    return {
        startedMs: 0,
        typeCode: 'EDP',
        priority: 3,
        district: '',
        address: '',
        place: '',
        answers: { who: '', happening: '', weapons: '', medical: '', alone: '' },
    };
}

export class Screening {
    written = $state(blank());
    readonly #engine: Pick<Engine, 'keep' | 'kept'>;

    constructor(engine: Pick<Engine, 'keep' | 'kept'>) {
        this.#engine = engine;
    }

    /** Something was written that no incident holds yet. */
    get begun(): boolean {
        const { district, address, place, answers } = this.written;
        return [district, address, place, ...Object.values(answers)].some((text) => text.trim() !== '');
    }

    /** Words are there that are no place. */
    get placeWrong(): boolean {
        return this.written.place.trim() !== '' && parsePlace(this.written.place) === null;
    }

    /** The first moment of this call; a call that goes on keeps its own. */
    begin(nowMs: number): void {
        if (this.written.startedMs === 0) this.written.startedMs = nowMs;
    }

    details(label: (question: Question) => string, notAsked: string): IncidentDetails {
        const { typeCode, district, address, place, answers } = this.written;
        return {
            typeCode: typeCode.trim(),
            district: district.trim(),
            address: address.trim(),
            place: parsePlace(place),
            narrative: screened(answers, label, notAsked),
            disposition: '',
        };
    }

    /** Write it down. Fails silently: what is on the screen is still there. */
    async keep(): Promise<void> {
        const words = this.begun ? JSON.stringify(this.written) : '';
        await this.#engine.keep(KEPT, words).catch(() => undefined);
    }

    /** Go on with what was kept, unless something is written already. */
    async resume(): Promise<void> {
        const words = await this.#engine.kept(KEPT).catch(() => '');
        if (words === '' || this.begun) return;
        const found = read(words);
        if (found !== null) this.written = found;
    }

    /** The incident is open: the next call begins empty. */
    async clear(): Promise<void> {
        this.written = blank();
        await this.keep();
    }
}

/** What was kept by this or an older version; null: nothing that can be used. */
function read(words: string): Written | null {
    let found: unknown;
    try {
        found = JSON.parse(words);
    } catch {
        return null;
    }
    if (typeof found !== 'object' || found === null) return null;
    const old = found as Record<string, unknown>;
    const text = (from: Record<string, unknown>, name: string): string =>
        typeof from[name] === 'string' ? from[name] : '';
    const answers = (typeof old.answers === 'object' && old.answers !== null ? old.answers : {}) as Record<
        string,
        unknown
    >;
    const made = blank();
    made.startedMs = typeof old.startedMs === 'number' ? old.startedMs : 0;
    made.priority = [1, 2, 3, 4, 5].find((n) => n === old.priority) ?? made.priority;
    made.typeCode = text(old, 'typeCode') || made.typeCode;
    made.district = text(old, 'district');
    made.address = text(old, 'address');
    made.place = text(old, 'place');
    for (const question of QUESTIONS) made.answers[question] = text(answers, question);
    return made;
}
