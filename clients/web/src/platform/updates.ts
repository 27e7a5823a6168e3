/**
 * The installed client: its service worker, and newer versions of it.
 *
 * A newer version is fetched in the background and then waits. The screen offers it, and only a person's word, or the last
 * page's end, puts it in place: never while a message is being written or a call goes on.
 */

/** How often a page that stays open for a whole shift asks whether there is a newer version. */
const ASK_EVERY_MS = 60 * 60 * 1000;

export interface Updates {
    /** Called when a newer version waits. May be called again for a still newer one. */
    onWaiting(listener: () => void): void;
    /** Put the newer version in place; the page loads anew. Call only when nothing unsaved is on the screen. */
    take(): void;
}

/**
 * Register the service worker. Resolves to null where there is none (an old browser, a private window): the client works then,
 * as long as there is a link when it is opened.
 */
export async function installed(): Promise<Updates | null> {
    // Absent in an insecure context, whatever the types say.
    const container = navigator.serviceWorker as ServiceWorkerContainer | undefined;
    if (!container) return null;
    let registration: ServiceWorkerRegistration;
    try {
        registration = await container.register('/service-worker.js', {
            type: 'module',
            updateViaCache: 'none',
        });
    } catch {
        return null;
    }
    const listeners: (() => void)[] = [];
    const tell = (): void => {
        // Without a controller this is the first installation, which takes nobody's place.
        if (registration.waiting && container.controller) for (const listener of listeners) listener();
    };
    registration.addEventListener('updatefound', () => {
        registration.installing?.addEventListener('statechange', tell);
    });
    setInterval(() => void registration.update().catch(() => undefined), ASK_EVERY_MS);
    return {
        onWaiting(listener) {
            listeners.push(listener);
            tell();
        },
        take() {
            container.addEventListener('controllerchange', () => {
                location.reload();
            });
            registration.waiting?.postMessage('take over');
        },
    };
}
