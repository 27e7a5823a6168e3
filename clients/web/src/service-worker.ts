/**
 * The service worker: the client opens without a link, and a push wakes a person.
 *
 * It keeps the client's own files and nothing else: no answer of the server, no message, no token ever passes through it
 * (requests below /v1 are left to the page). A new version waits until every page of the old one is gone or a person said
 * so (`updates.ts`): it never replaces what somebody is working with.
 *
 * A push carries no content (spec 08, "Paging"): it says that something waits, or a consult, and so does what is shown. That a
 * page came here is told to the server at once, without a token: the page's id is the right to say so.
 */
import { clientsClaim } from 'workbox-core';
import { createHandlerBoundToURL, precacheAndRoute } from 'workbox-precaching';
import { NavigationRoute, registerRoute } from 'workbox-routing';
import { CacheFirst } from 'workbox-strategies';
import type { PageId } from './protocol/ids';
import { readPush, type Push } from './protocol/push';
import en from './words/en/push.json';
import es from './words/es/push.json';

declare const self: ServiceWorkerGlobalScope;
declare const __KEPT__: { url: string; revision: string | null }[];

/** One notice stands for all that only waits: a person is woken once, and a second push sounds again in its place. */
const WAITING = 'leeside-waiting';
/** Browsers demand that each push shows something: this stays silent, and the page takes it away (`platform/push.ts`). */
const PROBE = 'leeside-probe';
/** In ms, on and off: long enough to be felt through a coat. */
const VIBRATION = [600, 200, 600, 200, 600, 200, 1200];
/** Before a receipt that found no way is posted again. */
const AGAIN_MS = [1_000, 4_000];

/** `vibrate` and `renotify` are not known to TypeScript's DOM, and to some browsers. */
type Notice = NotificationOptions & { readonly renotify?: boolean; readonly vibrate?: readonly number[] };

precacheAndRoute(__KEPT__);
registerRoute(new NavigationRoute(createHandlerBoundToURL('index.html'), { allowlist: [/^\/$/] }));
// What is loaded when first needed, the map's program say: named by its content, so that an old copy is never wrong.
registerRoute(
    ({ url }) => url.pathname.startsWith('/assets/'),
    new CacheFirst({ cacheName: 'leeside-later' }),
);

self.addEventListener('message', (event) => {
    if (event.data === 'take over') void self.skipWaiting();
});
clientsClaim();

self.addEventListener('push', (event) => {
    event.waitUntil(told(readPush(event.data?.text() ?? '')));
});

self.addEventListener('notificationclick', (event) => {
    event.notification.close();
    const page = (event.notification.data as { page: PageId } | null)?.page;
    event.waitUntil(Promise.all([show(), page === undefined ? undefined : receipt(page, 'seen')]));
});

/** Show what came, and say that it did. What could not be shown did not reach anybody. */
async function told(push: Push): Promise<void> {
    const words = self.navigator.language.toLowerCase().startsWith('es') ? es : en;
    const marks = { icon: 'icons/icon-192.png', badge: 'icons/badge-96.png' };
    const lasting: Notice = { ...marks, renotify: true, requireInteraction: true };
    const ringing: Notice = { ...lasting, vibrate: VIBRATION };
    const notify = (title: string, notice: Notice): Promise<void> =>
        self.registration.showNotification(title, notice);
    switch (push.kind) {
        case 'waiting':
            return notify(words['push.title'], { ...lasting, body: words['push.body'], tag: WAITING });
        case 'consult':
            // The same page again sounds again in its own place; another consult has a notice of its own.
            await notify(words['push.consult'], {
                ...ringing,
                body: words['push.consult_body'],
                tag: push.page,
                data: { page: push.page },
            });
            break;
        case 'test':
            await notify(words['push.test'], {
                ...ringing,
                body: words['push.test_body'],
                tag: push.page,
                data: { page: push.page },
            });
            break;
        case 'probe':
            await notify(words['push.title'], {
                ...marks,
                body: words['push.probe_body'],
                tag: PROBE,
                silent: true,
            });
    }
    await receipt(push.page, 'delivered');
}

/** Tell the server how far a page came. Without a link it is tried twice more; then the page is repeated anyway. */
async function receipt(page: PageId, state: 'delivered' | 'seen'): Promise<void> {
    for (const waitMs of [...AGAIN_MS, 0]) {
        try {
            const answer = await fetch(`/v1/pages/${page}/receipt`, {
                method: 'POST',
                headers: { 'Content-Type': 'application/json' },
                body: JSON.stringify({ state, path: 'push' }),
                credentials: 'omit',
            });
            if (answer.status < 500) return;
        } catch {
            // Nobody answered.
        }
        if (waitMs > 0) await new Promise((go) => setTimeout(go, waitMs));
    }
}

/** The page that is open comes to the front; where none is, one opens. */
async function show(): Promise<void> {
    const pages = await self.clients.matchAll({ type: 'window', includeUncontrolled: true });
    const page = pages.find((one) => one.visibilityState === 'visible') ?? pages[0];
    await (page ? page.focus() : self.clients.openWindow('/'));
}
