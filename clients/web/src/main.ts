/**
 * The page begins: is this browser fit, is this the only tab, what stands behind the `#`; then the engine, then the screens.
 * The only place where platform and views meet.
 */
import { mount, unmount } from 'svelte';
import { readFragment, type Enrolment, type SignIn } from './model/fragment';
import { Awake } from './model/awake.svelte';
import { LazyCall } from './model/call/lazy-call.svelte';
import { Safety } from './model/safety.svelte';
import { Sharing } from './model/sharing.svelte';
import { World } from './model/world.svelte';
import { BrowserHandset } from './platform/browser-handset';
import { startWorker } from './platform/engine-client';
import { lacks } from './platform/fitness';
import { trustOwnScripts } from './platform/own-scripts';
import { clearNotices } from './platform/push';
import { stealTab, takeTab } from './platform/tab';
import App from './views/App.svelte';
import './views/shared/elements.css';
import { showTheme } from './views/shared/theme';
import './views/shared/tokens.css';
import { bestLanguage, speak, useWords } from './words/words.svelte';

/** Where guests of a consult come to (spec 08, "Guests"): no device of the agency's, and none of its screens. */
const GUEST_PATH = '/guest';

/** With the next paint; a hidden page has none, and goes on all the same. */
function nextFrame(work: () => void): void {
    let done = false;
    const once = (): void => {
        if (done) return;
        done = true;
        work();
    };
    requestAnimationFrame(once);
    setTimeout(once, 100);
}

/** What the address carries, which is taken out of it at once: it must not stay in the history of a shared tablet. */
function takeSecrets(): { readonly enrolment: Enrolment | null; readonly signIn: SignIn | null } {
    const fragment = readFragment(location.hash);
    if (fragment.kind !== 'route') history.replaceState(null, '', location.pathname);
    return {
        enrolment: fragment.kind === 'enrol' ? fragment.enrolment : null,
        signIn: fragment.kind === 'sign_in' ? fragment.signIn : null,
    };
}

/** Resolves once this tab is the one. */
async function onlyTab(target: Element, onlost: () => void): Promise<void> {
    if (await takeTab(onlost)) return;
    const { default: OtherTab } = await import('./views/start/OtherTab.svelte');
    await new Promise<void>((resolve) => {
        const shown = mount(OtherTab, {
            target,
            props: {
                onhere: () => {
                    void unmount(shown);
                    resolve();
                },
            },
        });
    });
    await stealTab(onlost);
}

async function begin(target: Element): Promise<void> {
    const { enrolment, signIn } = takeSecrets();
    const handset = new BrowserHandset();
    showTheme(handset.setting('theme'));
    const chosen = handset.setting('language');
    await speak(bestLanguage(chosen ? [chosen] : handset.languages));
    await Promise.all([useWords('shared'), useWords('start')]);

    const missing = await lacks();
    if (missing.length > 0) {
        const { default: Unfit } = await import('./views/start/Unfit.svelte');
        mount(Unfit, { target, props: { missing } });
        return;
    }
    let stop: () => void = () => undefined;
    await onlyTab(target, () => stop());

    const engine = startWorker();
    const world = new World(engine, nextFrame);
    stop = () => void engine.stop().catch(() => undefined);
    const sharing = new Sharing(engine, world, handset);
    const safety = new Safety(engine, handset);
    const awake = new Awake(handset, world);
    const call = new LazyCall(
        async () => (await import('./call')).callOf(engine, world),
        () => world.clock.nowMs,
    );
    mount(App, {
        target,
        props: { engine, world, handset, sharing, safety, awake, call, enrolment, signIn },
    });
    void handset.install();
    clearNotices();
    // An enrolment link opened in this very tab begins anew with it; a device at work stays what it is.
    addEventListener('hashchange', () => {
        if (readFragment(location.hash).kind !== 'route') location.reload();
    });
    try {
        world.load(await engine.start((events) => world.receive(events)));
    } catch {
        if (!world.ready) world.receive([{ kind: 'standing', standing: { kind: 'ended', why: 'failed' } }]);
    }
}

trustOwnScripts();
const target = document.getElementById('app');
if (target && location.pathname === GUEST_PATH)
    void import('./guest').then(({ beginVisit }) => beginVisit(target));
else if (target) void begin(target);
