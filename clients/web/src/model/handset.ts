/**
 * What a screen may ask of the device that it is shown on: sound, place, telephone-like things. `platform/` has the real
 * one, the stage a pretended one. Nothing here throws unless it says so; what the device cannot do is answered, not hidden.
 */
import type { Captioner } from './captions.svelte';
import type { DeviceId, Fix } from './engine';

export type PlaceTrouble =
    /** The person, or the system, refused; only the browser's settings can change that. */
    | 'refused'
    /** No fix at the moment: indoors, no satellites. It goes on trying. */
    | 'unavailable'
    /** This browser has no geolocation. */
    | 'missing';

/** What an old browser, or an address without TLS, does not have. */
export type Lack = 'insecure' | 'keys' | 'locks' | 'storage' | 'workers';

/** Settings of the screen alone. They stand in the clear at rest: never anything a person wrote. */
export type Setting = 'language' | 'theme' | 'idle_minutes' | 'awake' | 'letter_keys' | 'consult_language';

/** `impossible`: this browser has none (iOS has it for an installed app alone). */
export type PushState = 'on' | 'off' | 'refused' | 'impossible';

export interface Handset {
    /** The person's languages, best first (BCP 47). */
    readonly languages: readonly string[];
    /** A browser that stops telling the place as soon as another app is in front (all of iOS). */
    readonly placeStopsInBackground: boolean;

    setting(name: Setting): string;
    keepSetting(name: Setting, value: string): void;

    /** Browsers let a page sound only after a tap. Call it in one; true when sound is on. */
    armSound(): Promise<boolean>;
    readonly soundArmed: boolean;
    /** Tone and vibration of about a second. Silent when not armed. */
    sound(): void;

    /** Tell every place until the returned function is called. */
    watchPlace(tell: (fix: Fix) => void, trouble: (what: PlaceTrouble) => void): () => void;
    /** The last place that is known, without waiting for one; null: none. Older than 10 min is none. */
    lastPlace(): Promise<Fix | null>;

    /** Keep the screen from going dark; false: this browser cannot, or the battery is low. */
    stayAwake(on: boolean): Promise<boolean>;

    /**
     * Draw a picture anew as a JPEG, upright, its longest side at most `longestPx`: nothing else that the file carried is
     * in it. Null: this browser cannot read it.
     */
    redraw(picture: Blob, longestPx: number): Promise<Blob | null>;

    /** Make a passkey, or sign in with one. Null: the person gave up. */
    passkey(purpose: 'register' | 'sign_in', options: unknown): Promise<unknown>;
    /** The person shows that the device is theirs, without a server. */
    provePerson(): Promise<boolean>;
    /** Go to the agency's own sign-in, for this device; without one, for a code that enrolls a new one. The page is left. */
    agencySignIn(device: DeviceId | null): void;

    /** What is said in a call, as words, on this device alone. */
    captioner(): Promise<Captioner>;

    // -- being woken, and newer versions
    push(): Promise<PushState>;
    /** From a tap, with the server's VAPID key. Null: refused, or the push service cannot be reached. */
    subscribePush(vapidKey: string): Promise<PushSubscriptionJSON | null>;
    unsubscribePush(): Promise<void>;
    /** Called when a newer version of this client waits. */
    onUpdate(listener: () => void): void;
    /** Put it in place; the page loads anew. */
    takeUpdate(): void;

    /** Load the page anew. */
    reload(): void;
    /** Load it anew as the one tab: the other one stops, and says so. */
    useHere(): void;
}
