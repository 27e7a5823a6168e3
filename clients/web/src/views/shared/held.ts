/** What every view is given from above: the engine to ask, the world to show, the device it is shown on. */
import { createContext } from 'svelte';
import type { Awake } from '~/model/awake.svelte';
import type { CallModel } from '~/model/call/call';
import type { Engine } from '~/model/engine';
import type { Handset } from '~/model/handset';
import type { Safety } from '~/model/safety.svelte';
import type { Sharing } from '~/model/sharing.svelte';
import type { World } from '~/model/world.svelte';

export interface Held {
    readonly engine: Engine;
    readonly world: World;
    readonly handset: Handset;
    readonly sharing: Sharing;
    readonly safety: Safety;
    readonly awake: Awake;
    /** The one call of this page, whatever screen is shown. */
    readonly call: CallModel;
}

export const [held, hold] = createContext<Held>();
