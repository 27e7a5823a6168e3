/**
 * `?scene=NAME&lang=es&theme=dark&dir=rtl`: the screens on a pretended engine. `window.scenes` lists what there is.
 * Every part of the screens adds a folder with a `scenes.ts`.
 */
import { mount } from 'svelte';
import type { GuestState } from '~/model/guest/visit';
import { Clock } from '~/model/clock.svelte';
import { Awake } from '~/model/awake.svelte';
import { Safety } from '~/model/safety.svelte';
import { Sharing } from '~/model/sharing.svelte';
import { World } from '~/model/world.svelte';
import App from '~/views/App.svelte';
import '~/views/shared/tokens.css';
import '~/views/shared/elements.css';
import { showTheme } from '~/views/shared/theme';
import GuestPage from '~/views/guest/GuestPage.svelte';
import OtherTab from '~/views/start/OtherTab.svelte';
import Unfit from '~/views/start/Unfit.svelte';
import { bestLanguage, speak, t, useWords } from '~/words/words.svelte';
import { FakeCall } from './fake-call.svelte';
import { FakeEngine } from './fake-engine';
import { fakeHandset } from './fake-handset';
import { nightMs, type Scene } from './scene';

declare global {
    interface Window {
        scenes: readonly Pick<Scene, 'name' | 'path' | 'taps' | 'without' | 'wide'>[];
        /** The screen stands: a picture may be taken. */
        staged: boolean;
    }
}

const files = import.meta.glob<{ scenes: readonly Scene[] }>('./*/scenes.ts', { eager: true });
const scenes = Object.values(files).flatMap((file) => file.scenes);
window.scenes = scenes.map(({ name, path = '', taps = [], without = '', wide = false }) => ({
    name,
    path,
    taps,
    without,
    wide,
}));

/** Every screen and word beforehand: a picture must not show that something is on its way. */
const screens = import.meta.glob([
    '../src/views/{admin/Admin,chat/Chat,dispatcher/Dispatcher,responder/Responder,responder/StatusSheet}.svelte',
    '../src/views/call/{CallAround,CallPage}.svelte',
    '../src/views/consult/{AskSheet,ConsultPage,RingBars,RingScreen}.svelte',
    '../src/views/psychiatrist/Psychiatrist.svelte',
    '../src/views/supervisor/{Figures,Ladders,Rotas,Supervisor}.svelte',
    '../src/views/shared/{Me,Pages,PhoneNumbers}.svelte',
    '../src/views/start/{AlarmScreen,IdleScreen,Start}.svelte',
]);
const STILL_MS = 100;
const areas = [
    'shared',
    'start',
    'chat',
    'responder',
    'desk',
    'admin',
    'consult',
    'duty',
    'supervisor',
    'guest',
    'call',
] as const;

/** Something stands, and nothing has moved for a moment: a slow machine is not pictured while it is still opening. */
async function settled(target: Element): Promise<void> {
    let movedMs = performance.now();
    const watch = new MutationObserver(() => (movedMs = performance.now()));
    watch.observe(target, { subtree: true, childList: true, characterData: true });
    const opening = t('app.loading');
    while (performance.now() - movedMs < STILL_MS || target.textContent.includes(opening))
        await new Promise((tick) => setTimeout(tick, STILL_MS / 4));
    watch.disconnect();
}

async function stage(scene: Scene, asked: URLSearchParams): Promise<void> {
    showTheme(asked.get('theme') ?? '');
    await Promise.all([...Object.values(screens).map((load) => load()), ...areas.map(useWords)]);
    await speak(bestLanguage([asked.get('lang') ?? 'en']));
    const target = document.getElementById('app');
    if (!target) return;
    if (scene.unfit) {
        mount(Unfit, { target, props: { missing: scene.unfit } });
    } else if (scene.otherTab) {
        mount(OtherTab, { target, props: { onhere: () => undefined } });
    } else if (scene.guest) {
        const { guest } = scene;
        const start = (put: (state: GuestState) => void) => {
            put(guest);
            return { hurry: () => undefined, leave: () => Promise.resolve() };
        };
        mount(GuestPage, { target, props: { start, call: scene.call ? new FakeCall(scene.call()) : null } });
    } else {
        const engine = new FakeEngine(scene);
        const handset = fakeHandset(scene.handset);
        const world = new World(engine, (work) => queueMicrotask(work), new Clock(() => nightMs));
        const sharing = new Sharing(engine, world, handset);
        const safety = new Safety(engine, handset, () => nightMs);
        world.load(await engine.start((events) => world.receive(events)));
        const enrolment = scene.enrolment ?? null;
        const signIn = scene.signIn ?? null;
        const awake = new Awake(handset, world);
        const call = new FakeCall(scene.call?.());
        mount(App, {
            target,
            props: { engine, world, handset, sharing, safety, awake, call, enrolment, signIn },
        });
    }
    await settled(target);
    const direction = asked.get('dir');
    // After the app set its own: a language that reads from the right, without one.
    if (direction) document.documentElement.dir = direction;
    window.staged = true;
}

const asked = new URLSearchParams(location.search);
const scene = scenes.find((one) => one.name === asked.get('scene'));
if (scene) void stage(scene, asked);
else {
    for (const { name } of scenes) {
        const link = document.createElement('a');
        link.href = `?scene=${name}`;
        link.textContent = `${name} `;
        document.body.append(link);
    }
}
