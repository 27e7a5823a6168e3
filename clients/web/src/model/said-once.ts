/**
 * A word of safety once, in however many channels it stands: a call for help and a check-in go to a unit's channel and to
 * its incidents', so that whoever reads one of them knows. Who reads both sees it once, and one answer is given to all.
 */
import type { ChannelId } from './engine';
import type { UrgentRow } from './world.svelte';

/** The same word in every channel in which it was said. */
export type Said = readonly [UrgentRow, ...UrgentRow[]];

/** Within this time a device's words of safety in several channels are one: they are written in one step. */
const ONE_WORD_MS = 5_000;

/** Rows in order by what was said, each word with the first of its rows in front. */
export function saidOnce(rows: readonly UrgentRow[]): Said[] {
    const found: [UrgentRow, ...UrgentRow[]][] = [];
    for (const row of rows) {
        const safety = row.kind === 'duress' || row.kind === 'check_in';
        const same = found.find(
            ([first, ...more]) =>
                safety &&
                first.kind === row.kind &&
                first.device === row.device &&
                Math.abs(first.writtenMs - row.writtenMs) < ONE_WORD_MS &&
                [first, ...more].every((one) => one.channel !== row.channel),
        );
        if (same === undefined) found.push([row]);
        else same.push(row);
    }
    return found;
}

/** What sounds here, by what was said: in an open channel, and in all others without a word that stands in it as well. */
export function soundingBy(
    sounding: Iterable<UrgentRow>,
    channel: ChannelId | null,
): { readonly here: Said[]; readonly elsewhere: Said[] } {
    const all = saidOnce([...sounding].sort((a, b) => a.atMs - b.atMs));
    const isHere = (said: Said): boolean => said.some((row) => row.channel === channel);
    return { here: all.filter(isHere), elsewhere: all.filter((said) => !isHere(said)) };
}
