/** Passkeys: what the server asks goes to the browser, and its answer back (WebAuthn level 3, JSON). */
import {
    startAuthentication,
    startRegistration,
    type PublicKeyCredentialCreationOptionsJSON,
    type PublicKeyCredentialRequestOptionsJSON,
} from '@simplewebauthn/browser';

/** Null: the person gave up, or this device has no such passkey. The browser tells the two apart to nobody. */
export async function passkey(purpose: 'register' | 'sign_in', options: unknown): Promise<unknown> {
    try {
        return purpose === 'register'
            ? await startRegistration({ optionsJSON: options as PublicKeyCredentialCreationOptionsJSON })
            : await startAuthentication({ optionsJSON: options as PublicKeyCredentialRequestOptionsJSON });
    } catch {
        return null;
    }
}

/**
 * The person shows that the device is theirs: for a screen that locked itself. Nobody checks the signature, since the one
 * who could lie about it already holds the unlocked page; user verification is the point.
 */
export async function provePerson(): Promise<boolean> {
    try {
        const found = await navigator.credentials.get({
            publicKey: {
                challenge: crypto.getRandomValues(new Uint8Array(32)),
                userVerification: 'required',
                timeout: 60_000,
            },
        });
        return found !== null;
    } catch {
        return false;
    }
}
