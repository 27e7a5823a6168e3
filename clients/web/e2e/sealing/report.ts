/** What came of the checks. */

import type { Made } from './interop';

export interface Report {
    /** By group: how many checks passed. */
    readonly passed: Readonly<Record<string, number>>;
    readonly failed: readonly { readonly group: string; readonly name: string; readonly why: string }[];
    readonly skipped: readonly { readonly group: string; readonly why: string; readonly count: number }[];
    /** What this browser sealed for the other client; null where nobody asked. */
    readonly made: Made | null;
}

/** Collects the outcome of checks, one group at a time. */
export class Checks {
    readonly #passed = new Map<string, number>();
    readonly #failed: { group: string; name: string; why: string }[] = [];
    readonly #skipped = new Map<string, { group: string; why: string; count: number }>();

    /** Runs one check; it fails when it throws. */
    async check(group: string, name: string, body: () => Promise<void> | void): Promise<void> {
        try {
            await body();
            this.#passed.set(group, (this.#passed.get(group) ?? 0) + 1);
        } catch (error) {
            const why = error instanceof Error ? `${error.name}: ${error.message}` : 'threw what is no error';
            this.#failed.push({ group, name, why });
        }
    }

    /** Notes what could not be checked here, and why. */
    skip(group: string, why: string): void {
        const key = `${group}\n${why}`;
        const { count } = this.#skipped.get(key) ?? { count: 0 };
        this.#skipped.set(key, { group, why, count: count + 1 });
    }

    report(made: Made | null): Report {
        const passed = Object.fromEntries(this.#passed);
        return { passed, failed: this.#failed, skipped: [...this.#skipped.values()], made };
    }
}

/** Fails the check when the two are not the same. */
export function same(found: unknown, due: unknown): void {
    if (found !== due) throw new Error(`found ${String(found)}, due was ${String(due)}`);
}
