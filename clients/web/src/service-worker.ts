/**
 * The service worker: the client opens without a link, and a push wakes a person.
 *
 * It keeps the client's own files and nothing else: no answer of the server, no message, no token ever passes through it
 * (requests below /v1 are left to the page). A new version waits until every page of the old one is gone or a person said
 * so (`updates.ts`): it never replaces what somebody is working with.
 *
 * A push carries no content (spec 02, "Push"): it only says that something waits, and so does what is shown.
 */
import { clientsClaim } from 'workbox-core';
import { createHandlerBoundToURL, precacheAndRoute } from 'workbox-precaching';
import { NavigationRoute, registerRoute } from 'workbox-routing';
import { CacheFirst } from 'workbox-strategies';
import en from './words/en/push.json';
import es from './words/es/push.json';

declare const self: ServiceWorkerGlobalScope;
declare const __KEPT__: { url: string; revision: string | null }[];

/** One notice stands for all: a person is woken once, and a second push sounds again in its place. */
const NOTICE = 'leeside-waiting';

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
    const words = self.navigator.language.toLowerCase().startsWith('es') ? es : en;
    event.waitUntil(
        self.registration.showNotification(words['push.title'], {
            body: words['push.body'],
            tag: NOTICE,
            renotify: true,
            requireInteraction: true,
            icon: 'icons/icon-192.png',
            badge: 'icons/badge-96.png',
        } as NotificationOptions),
    );
});

self.addEventListener('notificationclick', (event) => {
    event.notification.close();
    event.waitUntil(show());
});

/** The page that is open comes to the front; where none is, one opens. */
async function show(): Promise<void> {
    const pages = await self.clients.matchAll({ type: 'window', includeUncontrolled: true });
    const page = pages.find((one) => one.visibilityState === 'visible') ?? pages[0];
    await (page ? page.focus() : self.clients.openWindow('/'));
}
