/**
 * The engine as a page has it: in a worker of its own. Which tab may have one, `tab.ts` says; who loses it calls `stop`.
 */
import { proxy, type Remote, transfer, wrap } from 'comlink';

import type { Engine, EngineEvent, Snapshot } from '~/model/engine';

const PERSIST_WAIT_MS = 500;

/** A new engine. It opens nothing before `start`. */
export function startWorker(): Engine {
    const worker = new Worker(new URL('../worker.ts', import.meta.url), { type: 'module', name: 'engine' });
    const remote = wrap<Engine>(worker);
    let listener: ((events: readonly EngineEvent[]) => void) | null = null;

    worker.onerror = () => {
        // It could not be loaded, or broke outside every promise: nothing more will be heard of it.
        listener?.([{ kind: 'standing', standing: { kind: 'ended', why: 'failed' } }]);
        worker.terminate();
    };
    const start = async (listen: (events: readonly EngineEvent[]) => void): Promise<Snapshot> => {
        listener = listen;
        // Only a page may ask; the worker reads what was granted. Refused or not, work begins; and where a browser asks the
        // person, it does not wait for an answer that may never come.
        const asked = navigator.storage.persist().catch(() => false);
        await Promise.race([asked, new Promise((resolve) => setTimeout(resolve, PERSIST_WAIT_MS))]);
        return await remote.start(proxy(listen));
    };
    const stop = async (): Promise<void> => {
        // Its last words (`ended`, `other_tab`) come before the answer.
        await remote.stop();
        worker.terminate();
    };
    const videoKeys: Engine['videoKeys'] = (consult, port) =>
        remote.videoKeys(consult, transfer(port, [port]));
    return commandsOf(remote, { start, stop, videoKeys });
}

/** Every command of the remote engine, but for those that this side has a part in. */
function commandsOf(remote: Remote<Engine>, own: Pick<Engine, 'start' | 'stop' | 'videoKeys'>): Engine {
    return new Proxy(own as Engine, {
        get: (_, name) => {
            if (name === 'start' || name === 'stop' || name === 'videoKeys') return own[name];
            // An engine is no promise, whoever awaits it.
            if (typeof name !== 'string' || name === 'then') return undefined;
            return remote[name as keyof Engine];
        },
    });
}
