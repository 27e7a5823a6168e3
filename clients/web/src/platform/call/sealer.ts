/** The sealing worker as the page has it: one a call, for all its paths. */
import type { MediaAlarm } from '~/model/call/call';
import type { DeviceId } from '~/protocol/ids';
import type { FromSealer, ToSealer, TransformId } from './sealing-words';

interface Attaching {
    readonly resolve: () => void;
    readonly reject: (why: Error) => void;
}

type Alarmed = (alarm: Exclude<MediaAlarm, ''>) => void;

export class Sealer {
    readonly worker: Worker;
    #next = 1;
    #asked = 0;
    readonly #attached = new Map<TransformId, Attaching>();
    #spoke = false;
    #failed = false;
    readonly #counted = new Map<number, (given: ReadonlyMap<TransformId, number>) => void>();
    readonly #alarmed = new Map<TransformId, Alarmed>();

    /** `give` is handed the engine's end of the keys. */
    constructor(give: (port: MessagePort) => Promise<void>) {
        this.worker = new Worker(new URL('./media-worker.ts', import.meta.url), {
            type: 'module',
            name: 'media',
        });
        this.worker.onmessage = ({ data }: MessageEvent<FromSealer>) => this.#hear(data);
        this.worker.onerror = () => this.#broke();
        const { port1, port2 } = new MessageChannel();
        this.#say({ kind: 'keys', port: port1 }, [port1]);
        // Without keys nothing goes out and nothing opens; the engine says why in its own words.
        void give(port2).catch(() => undefined);
    }

    newId(): TransformId {
        return this.#next++;
    }

    /** Resolves when the transform of this id runs, and rejects when the worker fails first. Ask before it is made. */
    attached(id: TransformId): Promise<void> {
        return new Promise((resolve, reject) => {
            this.#attached.set(id, { resolve, reject });
            if (this.#failed) this.#broke();
        });
    }

    place(id: TransformId, device: DeviceId | null): void {
        this.#say({ kind: 'place', id, device });
    }

    onAlarm(id: TransformId, alarmed: Alarmed): void {
        this.#alarmed.set(id, alarmed);
    }

    /** How many frames each sender was given so far. A worker that is busy answers late. */
    count(): Promise<ReadonlyMap<TransformId, number>> {
        this.#asked += 1;
        const ask = this.#asked;
        return new Promise((resolve) => {
            this.#counted.set(ask, resolve);
            this.#say({ kind: 'count', ask });
        });
    }

    forget(ids: readonly TransformId[]): void {
        for (const id of ids) {
            this.#attached.delete(id);
            this.#alarmed.delete(id);
        }
    }

    end(): void {
        this.worker.terminate();
        this.#attached.clear();
        this.#counted.clear();
        this.#alarmed.clear();
    }

    /** What waits for it would wait for ever. One that never said anything could not be loaded, and never will say anything. */
    #broke(): void {
        this.#failed = !this.#spoke;
        for (const { reject } of this.#attached.values()) reject(new Error('the sealing worker failed'));
        this.#attached.clear();
    }

    #say(words: ToSealer, transfer: Transferable[] = []): void {
        this.worker.postMessage(words, transfer);
    }

    #hear(words: FromSealer): void {
        this.#spoke = true;
        switch (words.kind) {
            case 'attached':
                this.#attached.get(words.id)?.resolve();
                this.#attached.delete(words.id);
                break;
            case 'counted':
                this.#counted.get(words.ask)?.(words.given);
                this.#counted.delete(words.ask);
                break;
            case 'alarm':
                this.#alarmed.get(words.id)?.(words.alarm);
                break;
        }
    }
}
