/** The sealing worker as the page has it: one a call, for all its paths. */
import type { MediaAlarm } from '~/model/call/call';
import type { DeviceId } from '~/protocol/ids';
import type { FromSealer, ToSealer, TransformId } from './sealing-words';

type Alarmed = (alarm: Exclude<MediaAlarm, ''>) => void;

export class Sealer {
    readonly worker: Worker;
    #next = 1;
    #asked = 0;
    readonly #attached = new Map<TransformId, () => void>();
    readonly #counted = new Map<number, (given: ReadonlyMap<TransformId, number>) => void>();
    readonly #alarmed = new Map<TransformId, Alarmed>();

    /** `give` is handed the engine's end of the keys. */
    constructor(give: (port: MessagePort) => Promise<void>) {
        this.worker = new Worker(new URL('./media-worker.ts', import.meta.url), {
            type: 'module',
            name: 'media',
        });
        this.worker.onmessage = ({ data }: MessageEvent<FromSealer>) => this.#hear(data);
        const { port1, port2 } = new MessageChannel();
        this.#say({ kind: 'keys', port: port1 }, [port1]);
        // Without keys nothing goes out and nothing opens; the engine says why in its own words.
        void give(port2).catch(() => undefined);
    }

    newId(): TransformId {
        return this.#next++;
    }

    /** Resolves when the transform of this id runs. Ask before it is made. */
    attached(id: TransformId): Promise<void> {
        return new Promise((resolve) => this.#attached.set(id, resolve));
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

    #say(words: ToSealer, transfer: Transferable[] = []): void {
        this.worker.postMessage(words, transfer);
    }

    #hear(words: FromSealer): void {
        switch (words.kind) {
            case 'attached':
                this.#attached.get(words.id)?.();
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
