/**
 * One tab at a time: two engines over one store would send twice and lose their place. A Web Lock is held for as long as
 * the page lives; another page may take it, and this one is told.
 */
const NAME = 'leeside-tab';

/** False: another tab has it. */
export function takeTab(onlost: () => void): Promise<boolean> {
    return hold({ ifAvailable: true }, onlost);
}

/** Take it from the other tab, which stops. */
export async function stealTab(onlost: () => void): Promise<void> {
    await hold({ steal: true }, onlost);
}

function hold(options: LockOptions, onlost: () => void): Promise<boolean> {
    return new Promise((resolve) => {
        let held = false;
        navigator.locks
            .request(NAME, options, (lock) => {
                if (!lock) {
                    resolve(false);
                    return;
                }
                held = true;
                resolve(true);
                return new Promise<void>(() => undefined);
            })
            .catch(() => {
                // A stolen lock rejects its holder; one that was never given counts as somebody else's.
                if (held) onlost();
                else resolve(false);
            });
    });
}
