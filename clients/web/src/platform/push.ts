/**
 * Being woken: asking for the permission, subscribing at the browser's push service, giving it up.
 *
 * A push carries no content (spec 02). Whether it gets through a phone that is set to silent is the phone's to say: the screen
 * tells people to let this app through.
 */

export type PushState = 'on' | 'off' | 'refused' | 'impossible';

/** `impossible`: this browser has none (iOS has it for an installed app alone), or the service worker is not there. */
export async function pushState(): Promise<PushState> {
    if (!('PushManager' in globalThis) || !('serviceWorker' in navigator)) return 'impossible';
    if (Notification.permission === 'denied') return 'refused';
    const registration = await navigator.serviceWorker.getRegistration();
    if (!registration) return 'impossible';
    return (await registration.pushManager.getSubscription()) ? 'on' : 'off';
}

/**
 * Ask the person, then subscribe with the server's VAPID key (base64url, RFC 8292). Call it from a tap. Null: refused, or the
 * push service cannot be reached.
 */
export async function subscribe(vapidKey: string): Promise<PushSubscriptionJSON | null> {
    if ((await Notification.requestPermission()) !== 'granted') return null;
    const registration = await navigator.serviceWorker.ready;
    try {
        const made = await registration.pushManager.subscribe({
            userVisibleOnly: true,
            applicationServerKey: vapidKey,
        });
        return made.toJSON();
    } catch {
        return null;
    }
}

/** Give it up, here and at the push service. */
export async function unsubscribe(): Promise<void> {
    const registration = await navigator.serviceWorker.getRegistration();
    const made = await registration?.pushManager.getSubscription();
    await made?.unsubscribe();
}

/**
 * Take away every notice while a person looks at the page, now and whenever they come back: it shows what waits and what rings,
 * and a notice of a consult that somebody else accepted meanwhile would be wrong.
 */
export function clearNotices(): void {
    if (!('serviceWorker' in navigator)) return;
    const clear = async (): Promise<void> => {
        if (document.visibilityState !== 'visible') return;
        const registration = await navigator.serviceWorker.getRegistration();
        for (const notice of (await registration?.getNotifications()) ?? []) notice.close();
    };
    document.addEventListener('visibilitychange', () => void clear());
    void clear();
}
