/**
 * Where this person lets others see them (spec 06): per channel, off until they turn it on, and ended by itself at the
 * end of the incident or after the hours that they chose. It goes on over a reload, since its end does too.
 */
import type { ChannelId, Engine, Fix } from './engine';
import type { Handset, PlaceTrouble } from './handset';
import type { World } from './world.svelte';

export interface Share {
    readonly channel: ChannelId;
    /** By the server's clock. 0: until the incident ends. */
    readonly untilMs: number;
    /** 0: exact. Else the cell that the place is moved to the middle of. */
    readonly coarseM: number;
}

type Asked = Pick<Engine, 'kept' | 'keep' | 'position' | 'sharePosition'>;
type Shown = Pick<World, 'channels' | 'incidents' | 'clock' | 'ready'>;

export class Sharing {
    shares = $state.raw<readonly Share[]>([]);
    /** Why no place comes at the moment. */
    trouble = $state.raw<PlaceTrouble | null>(null);
    #stop: (() => void) | null = null;

    constructor(
        private readonly engine: Asked,
        private readonly world: Shown,
        private readonly handset: Pick<Handset, 'watchPlace'>,
    ) {}

    in(channel: ChannelId): Share | null {
        return this.shares.find((share) => share.channel === channel) ?? null;
    }

    /** Go on as before the reload. */
    async load(): Promise<void> {
        const kept = await this.engine.kept('sharing').catch(() => '');
        if (kept === '' || this.shares.length > 0) return;
        this.shares = parse(kept);
        this.#watch();
    }

    /** Rejects with the engine's failure; then nothing is shared. */
    async begin(share: Share): Promise<void> {
        await this.engine.sharePosition(share.channel, true, share.coarseM);
        this.#set([...this.shares.filter((other) => other.channel !== share.channel), share]);
    }

    /** Off for this person at once; others are told as soon as there is a link. */
    async end(channel: ChannelId): Promise<void> {
        this.#set(this.shares.filter((share) => share.channel !== channel));
        await this.engine.sharePosition(channel, false, 0);
    }

    /** End what is due. Call it as time and world go on. */
    check(): void {
        for (const share of this.shares) {
            if (this.#over(share)) void this.end(share.channel).catch(() => undefined);
        }
    }

    /** Take no more places from the device, and forget nothing. */
    rest(): void {
        this.#stop?.();
        this.#stop = null;
    }

    #over(share: Share): boolean {
        if (!this.world.ready) return false;
        if (share.untilMs > 0 && this.world.clock.nowMs >= share.untilMs) return true;
        const channel = this.world.channels.get(share.channel);
        if (!channel || channel.archived) return true;
        const incident = [...this.world.incidents.values()].find((one) => one.id === channel.subject);
        return incident !== undefined && (incident.state === 'closed' || incident.state === 'cancelled');
    }

    #set(shares: readonly Share[]): void {
        this.shares = shares;
        const kept = shares.length === 0 ? '' : JSON.stringify(shares);
        void this.engine.keep('sharing', kept).catch(() => undefined);
        this.#watch();
    }

    #watch(): void {
        if (this.shares.length === 0) {
            this.rest();
            this.trouble = null;
        } else {
            this.#stop ??= this.handset.watchPlace(
                (fix: Fix) => {
                    this.trouble = null;
                    void this.engine.position(fix).catch(() => undefined);
                },
                (trouble) => (this.trouble = trouble),
            );
        }
    }
}

/** What was kept by an older version or not wholly is nothing: a person turns it on again. */
function parse(kept: string): readonly Share[] {
    try {
        const found: unknown = JSON.parse(kept);
        return Array.isArray(found) ? found.filter(isShare) : [];
    } catch {
        return [];
    }
}

function isShare(value: unknown): value is Share {
    if (typeof value !== 'object' || value === null) return false;
    const share = value as Partial<Record<keyof Share, unknown>>;
    return (
        typeof share.channel === 'string' &&
        typeof share.untilMs === 'number' &&
        typeof share.coarseM === 'number'
    );
}
