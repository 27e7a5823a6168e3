/** What a consult's stage, and what was tried, are as sentences. */
import { pagedNow, stageOf, type TriedLine } from '~/model/consult-progress';
import type { ConsultView } from '~/model/on-call';
import type { World } from '~/model/world.svelte';
import { listed } from '~/words/time';
import { language, t } from '~/words/words.svelte';

/** What happens now. Nothing in it counts down: a screen reader says it once. `unconfirmedLong`: for ten seconds and more. */
export function stageWords(world: World, consult: ConsultView, unconfirmedLong = false): string {
    const stage = stageOf(consult, world.clock.nowMs);
    const names = listed(pagedNow(consult).map((one) => world.memberName(one)));
    const mine = consult.acceptedBy !== null && consult.acceptedBy === world.me?.member;
    switch (stage) {
        case 'unconfirmed':
            return t(unconfirmedLong ? 'stage.unconfirmed_long' : 'stage.unconfirmed');
        case 'paging':
        case 'on_hold':
            return names === ''
                ? t(stage === 'paging' ? 'stage.paging_nobody' : 'stage.on_hold_nobody')
                : t(`stage.${stage}`, { names });
        case 'accepted':
        case 'in_session':
            return mine
                ? t(`stage.${stage}_mine`)
                : t(`stage.${stage}`, { name: world.memberName(consult.acceptedBy) });
        case 'taken':
            return t('stage.taken', { name: world.memberName(consult.takenBy) });
        case 'unsent':
        case 'held':
        case 'starting':
        case 'exhausted':
        case 'ended':
        case 'cancelled':
            return t(`stage.${stage}`);
    }
}

export function triedWords(world: World, line: TriedLine): string {
    const names = listed(line.members.map((one) => world.memberName(one))) || t('tried.somebody');
    return t(`tried.${line.event}`, { names, word: line.word.replaceAll('_', ' ') });
}

/** `Spanish` for `es`, in the present language; the code itself where the browser has no name for it. */
export function languageName(code: string): string {
    if (code === '') return t('consult.any_language');
    try {
        return new Intl.DisplayNames([language()], { type: 'language' }).of(code) ?? code;
    } catch {
        return code;
    }
}
