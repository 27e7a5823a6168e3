/** Telephone numbers for when nothing else works. They are the person's own, kept sealed on this device. */
import type { Engine } from './engine';

export interface PhoneEntry {
    readonly name: string;
    readonly number: string;
}

const MOST = 100;

export class PhoneList {
    entries = $state.raw<readonly PhoneEntry[]>([]);
    /** They were read. Before, nothing may be said about whether there are any. */
    loaded = $state.raw(false);

    constructor(private readonly engine: Pick<Engine, 'keep' | 'kept'>) {}

    async load(): Promise<void> {
        this.entries = parse(await this.engine.kept('phones').catch(() => ''));
        this.loaded = true;
    }

    /** Rejects with the engine's failure; then the list is as it was. */
    async add(name: string, number: string): Promise<void> {
        const entry = { name: name.trim(), number: tidyNumber(number) };
        if (entry.name === '' || entry.number === '' || this.entries.length >= MOST) return;
        await this.#save([...this.entries, entry]);
    }

    async remove(entry: PhoneEntry): Promise<void> {
        await this.#save(this.entries.filter((one) => one !== entry));
    }

    async #save(entries: readonly PhoneEntry[]): Promise<void> {
        await this.engine.keep('phones', entries.length === 0 ? '' : JSON.stringify(entries));
        this.entries = entries;
    }
}

/** What a telephone can dial: digits, and `+ * # ,` as they stand. */
export function tidyNumber(typed: string): string {
    return typed.replace(/[^\d+*#,]/g, '').slice(0, 40);
}

function parse(kept: string): readonly PhoneEntry[] {
    try {
        const found: unknown = JSON.parse(kept || '[]');
        return Array.isArray(found) ? found.filter(isEntry) : [];
    } catch {
        return [];
    }
}

function isEntry(value: unknown): value is PhoneEntry {
    if (typeof value !== 'object' || value === null) return false;
    const entry = value as Partial<Record<keyof PhoneEntry, unknown>>;
    return typeof entry.name === 'string' && typeof entry.number === 'string';
}
