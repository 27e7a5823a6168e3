/** The desk on a stage: `?scene=busy&theme=dark&language=es&view=dispatcher`. Nothing here is part of the product. */
import { FakeCall } from '../fake-call.svelte';
import { mount } from 'svelte';
import type { Handset } from '~/model/handset';
import { Awake } from '~/model/awake.svelte';
import { Safety } from '~/model/safety.svelte';
import { Sharing } from '~/model/sharing.svelte';
import { World } from '~/model/world.svelte';
import { trustOwnScripts } from '~/platform/own-scripts';
import '~/views/shared/tokens.css';
import '~/views/shared/elements.css';
import { speak, useWords, type Language } from '~/words/words.svelte';
import Stage from './Stage.svelte';
import { engineOf, snapshotOf, type Scene } from './pretended';

trustOwnScripts();
const asked = new URLSearchParams(location.search);
const scene = (asked.get('scene') ?? 'busy') as Scene;
document.documentElement.dataset.theme = asked.get('theme') ?? 'light';
document.documentElement.lang = asked.get('language') ?? 'en';
await Promise.all((['shared', 'chat', 'consult', 'desk', 'admin'] as const).map((area) => useWords(area)));
await speak((asked.get('language') ?? 'en') as Language);

const settings = new Map<string, string>();
const handset = new Proxy({} as Handset, {
    get: (_, name) => {
        if (name === 'setting') return (key: string) => settings.get(key) ?? '';
        if (name === 'keepSetting') return (key: string, value: string) => settings.set(key, value);
        if (name === 'languages') return ['en'];
        return () => Promise.resolve(false);
    },
});
const start = snapshotOf(scene, Date.now());
const engine = engineOf(start, Date.now);
const world = new World(engine, (work) => requestAnimationFrame(work));
void engine.start((events) => world.receive(events));
if (scene !== 'loading') world.load(start);
setInterval(() => world.clock.tick(), 1_000);
Object.assign(globalThis, { stage: { engine, world, start } });

const target = document.getElementById('app');
if (target) {
    mount(Stage, {
        target,
        props: {
            held: {
                engine,
                world,
                handset,
                sharing: new Sharing(engine, world, handset),
                safety: new Safety(engine, handset),
                awake: new Awake(handset, world),
                call: new FakeCall(),
            },
            view: asked.get('view') ?? 'dispatcher',
            path: asked.get('path')?.split('/') ?? [],
        },
    });
}
