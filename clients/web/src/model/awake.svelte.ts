/**
 * The screen stays on while this person's unit works an incident, by itself: whoever stands in a stairwell at night does not
 * look for a switch first. Whoever wants the battery more turns it off in "Me".
 */
import type { Handset } from './handset';
import type { World } from './world.svelte';

export class Awake {
    /** The person did not turn it off. */
    allowed = $state.raw(true);
    readonly #handset: Pick<Handset, 'setting' | 'keepSetting'>;
    readonly #world: Pick<World, 'me' | 'units' | 'incidents'>;
    /** A unit of this person is sent to an incident that goes on. */
    readonly #works: boolean = $derived.by(() => {
        const { me, units, incidents } = this.#world;
        if (me === null) return false;
        const own = new Set(
            [...units.values()].filter((x) => x.members.includes(me.member)).map((x) => x.id),
        );
        return [...incidents.values()].some(
            ({ state, units: sent }) =>
                (state === 'assigned' || state === 'on_scene') && sent.some((unit) => own.has(unit)),
        );
    });

    constructor(
        handset: Pick<Handset, 'setting' | 'keepSetting'>,
        world: Pick<World, 'me' | 'units' | 'incidents'>,
    ) {
        this.#handset = handset;
        this.#world = world;
        this.allowed = handset.setting('awake') !== 'off';
    }

    get wanted(): boolean {
        return this.allowed && this.#works;
    }

    allow(on: boolean): void {
        this.allowed = on;
        this.#handset.keepSetting('awake', on ? '' : 'off');
    }
}
