/** The real call of a page, loaded when somebody opens one: where the model of calls and the browser's media meet. */
import type { Engine } from './model/engine';
import type { CallModel } from './model/call/call';
import { Call } from './model/call/call.svelte';
import { WorldHost } from './model/call/world-host';
import type { World } from './model/world.svelte';
import { BrowserMedia } from './platform/call/media-door';

export function callOf(engine: Engine, world: World): CallModel {
    return new Call(new WorldHost(engine, world), new BrowserMedia());
}
