/**
 * What this browser lacks of what keys and messages need. An old browser is told so by name: there are no fallback curves,
 * since a key that can be copied out is none.
 */
import type { Lack } from '~/model/handset';

export async function lacks(): Promise<readonly Lack[]> {
    if (!globalThis.isSecureContext) return ['insecure'];
    const missing: Lack[] = [];
    if (!(await canMakeKeys())) missing.push('keys');
    if (!('locks' in navigator)) missing.push('locks');
    if (!(await canStore())) missing.push('storage');
    if (!canRunModuleWorkers()) missing.push('workers');
    return missing;
}

async function canMakeKeys(): Promise<boolean> {
    try {
        await crypto.subtle.generateKey('Ed25519', false, ['sign', 'verify']);
        await crypto.subtle.generateKey('X25519', false, ['deriveBits']);
        return true;
    } catch {
        return false;
    }
}

/** A private window may have the interface and refuse to open anything. */
function canStore(): Promise<boolean> {
    return new Promise((resolve) => {
        try {
            const request = indexedDB.open('leeside-fitness');
            request.onerror = () => resolve(false);
            request.onblocked = () => resolve(false);
            request.onsuccess = () => {
                request.result.close();
                indexedDB.deleteDatabase('leeside-fitness');
                resolve(true);
            };
        } catch {
            resolve(false);
        }
    });
}

/**
 * A browser that knows module workers reads the option; an old one never looks at it.
 *
 * Reading it fails, and so no worker is made. One that is made and ended at once has begun to load at times, and what it loads is
 * then refused aloud.
 */
function canRunModuleWorkers(): boolean {
    let read = false;
    const options = {
        get type(): 'module' {
            read = true;
            throw new TypeError('it was read');
        },
    };
    try {
        // An old browser makes one of this page, which is no script.
        new Worker(location.href, options).terminate();
    } catch {
        // As expected.
    }
    return read;
}
