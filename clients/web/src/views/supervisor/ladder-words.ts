/** What a step of a ladder asks of whom it pages, as words behind its delay. */
import type { LadderStep } from '~/model/on-call';
import { t } from '~/words/words.svelte';

export function languageRule(step: Pick<LadderStep, 'language' | 'specialty' | 'licence'>): string {
    const rules = [
        ...(step.language ? [t('ladder.rule_language')] : []),
        ...(step.specialty === '' ? [] : [t('ladder.rule_specialty', { name: step.specialty })]),
        ...(step.licence === '' ? [] : [t('ladder.rule_licence', { name: step.licence })]),
    ];
    return rules.map((rule) => `; ${rule}`).join('');
}
