/** Who can be put on a rota or a ladder, and ids for what is made here. */
import type { MemberView } from '~/model/engine';
import type { World } from '~/model/world.svelte';

/** Whoever may be paged, psychiatrists first: a supervisor or clinician covers in need. */
export function pageable(world: World): readonly MemberView[] {
    const rank = (one: MemberView): number =>
        one.roles.includes('psychiatrist') ? 0 : one.roles.includes('supervisor') ? 1 : 2;
    return [...world.members.values()]
        .filter((one) => !one.ended)
        .sort((a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name));
}

/** 16 random bytes in hexadecimal, as all ids. */
export function newId(): string {
    return crypto.randomUUID().replaceAll('-', '');
}
