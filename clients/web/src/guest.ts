/** The page of guests begins: loaded by `main.ts` at `/guest` alone. */
import { mount } from 'svelte';

import { LazyCall } from './model/call/lazy-call.svelte';
import { GuestVisit, type GuestState } from './model/guest/visit';
import type { GuestLine } from './model/guest/guest-line';
import { systemClock, systemRandom } from './platform/clock';
import { lacks } from './platform/fitness';
import { BrowserDialer } from './platform/dialer';
import { BrowserHttp } from './platform/http';
import { Tone } from './platform/tone';
import { BrowserVisitStore } from './platform/visit-store';
import { readGuestFragment } from './sealing/opening/guest-link';
import GuestPage from './views/guest/GuestPage.svelte';
import Unfit from './views/start/Unfit.svelte';
import { bestLanguage, speak, useWords } from './words/words.svelte';

export async function beginVisit(target: Element): Promise<void> {
    const link = readGuestFragment(location.hash);
    // What it carries must not stay in the history of a shared computer.
    if (location.hash !== '') history.replaceState(null, '', location.pathname);
    await speak(bestLanguage(navigator.languages));
    await Promise.all([useWords('shared'), useWords('start'), useWords('guest'), useWords('call')]);
    // A guest needs no worker and no lock between tabs.
    const missing = (await lacks()).filter((one) => one !== 'workers' && one !== 'locks');
    if (missing.length > 0) {
        mount(Unfit, { target, props: { missing } });
        return;
    }
    const { clock, random } = { clock: systemClock, random: systemRandom };
    const http = new BrowserHttp(location.origin);
    const store = new BrowserVisitStore();
    const dialer = new BrowserDialer(location.origin);
    let line: GuestLine | null = null;
    const call = new LazyCall(
        async () => {
            const { guestCallOf } = await import('./call');
            if (line === null) throw new Error('not in the room yet');
            return guestCallOf(line);
        },
        () => Date.now(),
    );
    const start = (put: (state: GuestState) => void): GuestVisit => {
        const visit = new GuestVisit({ clock, random, http, store, dialer }, put);
        visit.onLine((stands, consult) => {
            line = stands;
            call.open(consult);
        });
        void visit.run(link);
        return visit;
    };
    const tone = new Tone();
    const onsound = (): void => void tone.arm().then(() => tone.play());
    mount(GuestPage, { target, props: { start, call, onsound } });
    // Another link, opened in this very tab, begins anew with it.
    addEventListener('hashchange', () => {
        if (readGuestFragment(location.hash) !== null) location.reload();
    });
}
