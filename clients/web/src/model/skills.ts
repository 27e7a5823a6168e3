/** What a person writes of a member's skills: lists by commas, and a telephone number as anybody types one. */
import type { Skills } from './on-call';

/** Of each list (spec 08, "Rotas"). */
const MOST = 8;
const LONGEST = 40;

export interface SkillsDraft {
    languages: string[];
    specialties: string;
    licences: string;
    phone: string;
}
export type SkillsFault = 'languages' | 'specialties' | 'licences' | 'phone';

export function draftOf(skills: Skills): SkillsDraft {
    return {
        languages: [...skills.languages],
        specialties: skills.specialties.join(', '),
        licences: skills.licences.join(', '),
        phone: skills.phone,
    };
}

/** The words between commas, each once. */
function listed(text: string): readonly string[] {
    const words = text.split(',').map((word) => word.trim());
    return [...new Set(words)].filter((word) => word !== '');
}

/** What would be kept, and what cannot be. */
export function read(draft: SkillsDraft): {
    readonly skills: Omit<Skills, 'revision'>;
    readonly faults: readonly SkillsFault[];
} {
    const skills = {
        languages: draft.languages,
        specialties: listed(draft.specialties),
        licences: listed(draft.licences),
        phone: draft.phone.replaceAll(/[\s().-]/g, ''),
    };
    const faults: SkillsFault[] = [];
    if (skills.languages.length > MOST) faults.push('languages');
    for (const list of ['specialties', 'licences'] as const) {
        const tooLong = skills[list].some((word) => Array.from(word).length > LONGEST);
        if (tooLong || skills[list].length > MOST) faults.push(list);
    }
    if (!/^(\+[1-9][0-9]{6,14})?$/.test(skills.phone)) faults.push('phone');
    return { skills, faults };
}
