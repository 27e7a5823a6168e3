/** A local store that can be full for a while: then nothing that writes succeeds, and everything can be read. */
import { type LocalStore, StoreFull, type Stores, type StoreState } from '~/model/ports';

const READS: ReadonlySet<PropertyKey> = new Set([
    'bytes',
    'key',
    'names',
    'channels',
    'first',
    'get',
    'waiting',
    'accepted',
    'place',
    'knownAt',
    'before',
    'state',
    'value',
    'message',
    'unopened',
    'pressing',
    'chain',
    'chainEpoch',
    'directory',
    'posted',
    'note',
    'notes',
]);

export class FillingStore implements LocalStore {
    full = false;
    /** How often something could not be written. */
    refused = 0;

    constructor(private readonly inner: LocalStore) {}

    state(): Promise<StoreState> {
        return this.inner.state();
    }

    async create(pin?: string): Promise<Stores> {
        return this.filling(await this.inner.create(pin));
    }

    async open(): Promise<Stores> {
        return this.filling(await this.inner.open());
    }

    async unlock(pin: string): Promise<Stores> {
        return this.filling(await this.inner.unlock(pin));
    }

    wipe(): Promise<void> {
        return this.inner.wipe();
    }

    private filling(stores: Stores): Stores {
        return {
            vault: this.guard(stores.vault),
            outbox: this.guard(stores.outbox),
            history: this.guard(stores.history),
            persisted: stores.persisted,
            onGone: (tell) => stores.onGone(tell),
            close: () => stores.close(),
        };
    }

    private guard<T extends object>(part: T): T {
        return new Proxy(part, {
            get: (target, name) => {
                const member: unknown = Reflect.get(target, name, target);
                if (typeof member !== 'function') return member;
                return (...given: unknown[]): unknown => {
                    if (!this.full || READS.has(name)) return Reflect.apply(member, target, given);
                    this.refused += 1;
                    return Promise.reject(new StoreFull('full'));
                };
            },
        });
    }
}
