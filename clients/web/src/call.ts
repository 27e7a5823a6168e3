/** The real call of a page, loaded when somebody opens one: where the model of calls and the browser's media meet. */
import type { Engine } from './model/engine';
import type { CallModel } from './model/call/call';
import { Call } from './model/call/call.svelte';
import { WorldHost } from './model/call/world-host';
import type { GuestLine } from './model/guest/guest-line';
import type { World } from './model/world.svelte';
import { BrowserMedia } from './platform/call/media-door';

/** A guest's, on the guests' page. */
export function guestCallOf(line: GuestLine): CallModel {
    return new Call(line, new BrowserMedia());
}

export function callOf(engine: Engine, world: World): CallModel {
    return new Call(new WorldHost(engine, world), new BrowserMedia());
}
