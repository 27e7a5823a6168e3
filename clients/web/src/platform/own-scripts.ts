/**
 * What this page may run: files of its own origin, and no text that became a script or HTML on the way (Trusted Types).
 *
 * The server sends `require-trusted-types-for 'script'`: where a browser knows it, every address of a worker passes through
 * this policy, and setting HTML from a string fails, but for Svelte's own templates, which have a policy of their own. Where a
 * browser does not know it, nothing changes.
 */

interface Policies {
    createPolicy(name: string, rules: { readonly createScriptURL: (url: string) => string | null }): unknown;
}

/** The address, if it leads to a file of this origin; else null, and the browser refuses it. */
export function ownScript(url: string, page: string): string | null {
    try {
        const asked = new URL(url, page);
        // What a page made itself has the page's origin, and is no file.
        return asked.protocol !== 'blob:' && asked.origin === new URL(page).origin ? url : null;
    } catch {
        return null;
    }
}

/** Call once, before anything starts a worker. */
export function trustOwnScripts(): void {
    const { trustedTypes } = globalThis as { readonly trustedTypes?: Policies };
    trustedTypes?.createPolicy('default', { createScriptURL: (url) => ownScript(url, location.href) });
}
