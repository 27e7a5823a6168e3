/** Asking for a psychiatrist: how urgent is the first tap, "page now" the second. Everything else has an answer beforehand. */
import type { Engine, IncidentId, UnitId, Urgency } from './engine';
import type { Handset } from './handset';
import type { ConsultId, ConsultView } from './on-call';

/** Of the sealed line (spec 05, `consult`). */
export const LONGEST_LINE = 500;
/** A request that the server did not confirm by then shows the phone tree, and goes on trying (spec 08). */
export const CONFIRM_MS = 10_000;

/** What a person may choose; the list is short, since it is chosen with a thumb. The person's own languages come first. */
const LANGUAGES = ['en', 'es', 'zh', 'vi', 'ar', 'fr', 'pt', 'ru', 'uk', 'ko', 'tl', 'hi', 'so', 'am', 'fa'];

export function languageChoices(own: readonly string[]): readonly string[] {
    const primary = own.map((tag) => tag.toLowerCase().split('-')[0] ?? '');
    return [...new Set([...primary, ...LANGUAGES])].filter((code) => /^[a-z]{2,3}$/.test(code));
}

/** The telephone is to be used now: nobody can promise that the server does anything. */
export function needsTelephone(consult: Pick<ConsultView, 'state' | 'requestedMs'>, nowMs: number): boolean {
    switch (consult.state) {
        case 'unconfirmed':
            return nowMs - consult.requestedMs >= CONFIRM_MS;
        case 'unsent':
        case 'exhausted':
            return true;
        default:
            return false;
    }
}

export class Asking {
    urgency = $state.raw<Urgency>('important');
    language = $state.raw('');
    interpreter = $state.raw(false);
    summary = $state('');
    incident = $state.raw<IncidentId | null>(null);
    /** It is being written down: a second tap must not ask twice. */
    busy = $state.raw(false);

    constructor(
        private readonly engine: Pick<Engine, 'requestConsult'>,
        private readonly handset: Pick<Handset, 'setting' | 'keepSetting'>,
        urgency: Urgency,
        incident: IncidentId | null,
    ) {
        this.urgency = urgency;
        this.incident = incident;
        this.language = handset.setting('consult_language');
    }

    /** Null: it is on its way already. Rejects with the engine's failure; then nothing was asked. */
    async go(unit: UnitId | null): Promise<ConsultId | null> {
        if (this.busy) return null;
        this.busy = true;
        try {
            this.handset.keepSetting('consult_language', this.language);
            return await this.engine.requestConsult({
                incident: this.incident,
                unit,
                urgency: this.urgency,
                language: this.language,
                interpreter: this.interpreter,
                specialty: '',
                summary: this.summary.trim().slice(0, LONGEST_LINE),
            });
        } finally {
            this.busy = false;
        }
    }
}
