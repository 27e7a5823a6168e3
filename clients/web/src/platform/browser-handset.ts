/** The real device under the screens: settings, sound, place, passkeys, push. See the port for what each promises. */
import type { Captioner } from '~/model/captions.svelte';
import type { DeviceId, Fix } from '~/model/engine';
import type { Handset, PlaceTrouble, PushState, Setting } from '~/model/handset';
import { lastPlace, watchPlace } from './place';
import { pushState, subscribe, unsubscribe } from './push';
import { stealTab } from './tab';
import { Tone } from './tone';
import { installed, type Updates } from './updates';
import { AwakeScreen } from './wake-lock';

/** iPads say that they are Macs; only the touch points tell. */
function isApplePortable(): boolean {
    return (
        /iPhone|iPad|iPod/.test(navigator.userAgent) ||
        (navigator.userAgent.includes('Macintosh') && navigator.maxTouchPoints > 1)
    );
}

export class BrowserHandset implements Handset {
    readonly languages = navigator.languages;
    readonly placeStopsInBackground = isApplePortable();
    readonly #tone = new Tone();
    readonly #awake = new AwakeScreen();
    #updates: Updates | null = null;
    #onUpdate: (() => void)[] = [];

    /** Register the service worker; what waits is told to those who asked. */
    async install(): Promise<void> {
        this.#updates = await installed();
        this.#updates?.onWaiting(() => {
            for (const listener of this.#onUpdate) listener();
        });
    }

    setting(name: Setting): string {
        try {
            return localStorage.getItem(`leeside.${name}`) ?? '';
        } catch {
            return '';
        }
    }

    keepSetting(name: Setting, value: string): void {
        try {
            localStorage.setItem(`leeside.${name}`, value);
        } catch {
            // A setting that cannot be kept holds until the page is loaded anew.
        }
    }

    armSound(): Promise<boolean> {
        return this.#tone.arm();
    }

    get soundArmed(): boolean {
        return this.#tone.armed;
    }

    sound(): void {
        this.#tone.play();
    }

    watchPlace(tell: (fix: Fix) => void, trouble: (what: PlaceTrouble) => void): () => void {
        return watchPlace(tell, trouble);
    }

    lastPlace(): Promise<Fix | null> {
        return lastPlace();
    }

    stayAwake(on: boolean): Promise<boolean> {
        this.#awake.want(on);
        return Promise.resolve('wakeLock' in navigator);
    }

    async redraw(picture: Blob, longestPx: number): Promise<Blob | null> {
        const drawing = await import('./redraw');
        return drawing.redraw(picture, longestPx);
    }

    async passkey(purpose: 'register' | 'sign_in', options: unknown): Promise<unknown> {
        const webauthn = await import('./passkey');
        return webauthn.passkey(purpose, options);
    }

    async provePerson(): Promise<boolean> {
        const webauthn = await import('./passkey');
        return webauthn.provePerson();
    }

    agencySignIn(device: DeviceId | null): void {
        location.assign(`/v1/oidc/start${device === null ? '' : `?device=${device}`}`);
    }

    async captioner(): Promise<Captioner> {
        const { BrowserCaptioner } = await import('./captions');
        return new BrowserCaptioner();
    }

    push(): Promise<PushState> {
        return pushState().catch(() => 'impossible');
    }

    subscribePush(vapidKey: string): Promise<PushSubscriptionJSON | null> {
        return subscribe(vapidKey).catch(() => null);
    }

    unsubscribePush(): Promise<void> {
        return unsubscribe().catch(() => undefined);
    }

    onUpdate(listener: () => void): void {
        this.#onUpdate.push(listener);
    }

    takeUpdate(): void {
        this.#updates?.take();
    }

    reload(): void {
        location.reload();
    }

    useHere(): void {
        // Taken first: a page that finds the other tab at work would ask once more.
        void stealTab(() => undefined).finally(() => {
            location.reload();
        });
    }
}
