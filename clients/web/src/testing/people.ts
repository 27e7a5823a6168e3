/** People for tests: an engine each, over a store of its own and one double of the server. */
import 'fake-indexeddb/auto';

import { FakeClock } from '~/link/testing/doubles';
import { toHex } from '~/protocol/bytes';
import type { ChannelId, MemberId } from '~/protocol/ids';
import type { Role } from '~/protocol/words';
import { Commands } from '~/model/engine/commands';
import type { ChannelView, EngineEvent, Row, Snapshot, Standing } from '~/model/engine';
import type { Random } from '~/model/ports';
import { systemRandom } from '~/platform/clock';
import { BrowserStore } from '~/platform/local-store';

import { cryptographyIsDone } from './cryptography';
import { FillingStore } from './filling-store';
import { RelayDouble } from './relay-double';

const LOOKS = 40_000;
let stores = 0;

/** What the incident of `Town.desk` is about. */
export const DETAILS = {
    typeCode: 'EDP',
    district: 'Harbour',
    address: 'Quay Street 4',
    place: null,
    narrative: 'The sister called.',
    disposition: '',
};

/** Real chance for keys, none for delays: tests go the same way each time. */
const CHANCE: Random = {
    bytes: (count) => systemRandom.bytes(count),
    uniform: (low, high) => Math.floor((low + high) / 2),
};

/** One server, one clock, and whoever came. */
export class Town {
    private constructor(
        readonly clock: FakeClock,
        readonly relay: RelayDouble,
    ) {}

    static async create(): Promise<Town> {
        const clock = new FakeClock();
        return new Town(clock, await RelayDouble.create(clock));
    }

    /** Somebody with an approved device, at work. */
    async person(...roles: Role[]): Promise<Person> {
        const person = await this.stranger(...roles);
        await this.until(() => person.standing.kind === 'pending');
        if (person.standing.kind === 'pending') await this.relay.approve(person.standing.device);
        await this.until(() => person.standing.kind === 'active');
        await this.until(() => person.online);
        return person;
    }

    /** Somebody whose device waits for approval. */
    async stranger(...roles: Role[]): Promise<Person> {
        const { member, code } = this.relay.invite(roles);
        const person = await this.newcomer(member);
        await person.engine.enrol({ code, root: this.root });
        return person;
    }

    /** A member with an empty browser. */
    async newcomer(member: MemberId): Promise<Person> {
        const person = new Person(this, member, `store ${++stores}`);
        await person.start();
        return person;
    }

    /** Two dispatchers in the operations channel of one incident. */
    async desk(): Promise<{ readonly ana: Person; readonly ben: Person; readonly channel: ChannelId }> {
        const ana = await this.person('dispatcher');
        const ben = await this.person('dispatcher');
        await this.rest(2);
        // Both are listed before one opens: the desk is whom the server lists as dispatchers.
        await ana.engine.reconnect();
        await this.rest(2);
        const incident = await ana.engine.openIncident(2, DETAILS);
        const operations = (): ChannelId | null =>
            ben.of('incident').findLast((event) => event.incident.id === incident)?.incident.operations ??
            null;
        await this.until(() => operations() !== null, 'the incident at the other dispatcher');
        const channel = operations() ?? ('' as ChannelId);
        await this.until(
            () => ben.channel(channel)?.caughtUp === true && ana.channel(channel)?.caughtUp === true,
        );
        return { ana, ben, channel };
    }

    /** As an enrolment link carries it. */
    get root(): string {
        return toHex(this.relay.rootPublic);
    }

    /** Until it is so; time goes on meanwhile, a little at each look. */
    async until(holds: () => boolean, what = 'what was waited for'): Promise<void> {
        for (let look = 0; look < LOOKS; look++) {
            if (holds()) return;
            await this.breathe();
            if (look % 32 === 31) await this.clock.pass(50);
        }
        throw new Error(`did not come: ${what}`);
    }

    /** Let pass what is under way, with some seconds of time. */
    async rest(seconds = 5): Promise<void> {
        for (let step = 0; step < seconds * 4; step++) {
            for (let turn = 0; turn < 40; turn++) await this.breathe();
            await this.clock.pass(250);
        }
    }

    /** One turn of the loop, and until cryptography has caught up: time never overtakes it, however busy the machine is. */
    private async breathe(): Promise<void> {
        do await new Promise<void>((resolve) => setImmediate(resolve));
        while (!cryptographyIsDone());
    }
}

export class Person {
    engine: Commands;
    snapshot: Snapshot | null = null;
    readonly events: EngineEvent[] = [];
    /** What this browser keeps: it can be full for a while. */
    readonly disk: FillingStore;

    constructor(
        readonly town: Town,
        readonly member: MemberId,
        store: string,
    ) {
        this.disk = new FillingStore(
            new BrowserStore({ name: store, persist: () => Promise.resolve(true), pinIterations: 1_000 }),
        );
        this.engine = this.newEngine();
    }

    async start(): Promise<void> {
        this.snapshot = await this.engine.start((events) => this.events.push(...events));
    }

    /** The page is loaded anew: another engine over the same store. */
    async reload(): Promise<void> {
        await this.engine.stop();
        this.events.length = 0;
        this.engine = this.newEngine();
        await this.start();
    }

    private newEngine(): Commands {
        const { clock, relay } = this.town;
        return new Commands({
            clock,
            random: CHANCE,
            http: relay.http(),
            dialer: relay.dialer(),
            store: this.disk,
            origin: 'https://leeside.test',
        });
    }

    // ---- what the screen would show

    of<K extends EngineEvent['kind']>(kind: K): Extract<EngineEvent, { kind: K }>[] {
        return this.events.filter((event): event is Extract<EngineEvent, { kind: K }> => event.kind === kind);
    }

    get standing(): Standing {
        return this.of('standing').at(-1)?.standing ?? this.snapshot?.standing ?? { kind: 'new' };
    }

    get device() {
        const { standing } = this;
        if (standing.kind !== 'active') throw new Error('not at work');
        return standing.me.device;
    }

    get online(): boolean {
        return (this.of('link').at(-1)?.link ?? this.snapshot?.link)?.state === 'online';
    }

    channel(id: ChannelId): ChannelView | undefined {
        const told = this.of('channel').filter((event) => event.channel.id === id);
        return told.at(-1)?.channel ?? this.snapshot?.channels.find((channel) => channel.id === id);
    }

    /** The newest word about a row. */
    row(id: string): Row | undefined {
        return this.of('row')
            .filter((event) => event.row.id === id)
            .at(-1)?.row;
    }

    /** How far a message came. */
    step(id: string): string {
        const row = this.row(id);
        return row !== undefined && 'progress' in row ? row.progress.step : '';
    }

    async rows(channel: ChannelId): Promise<readonly Row[]> {
        return await this.engine.history(channel, Number.MAX_SAFE_INTEGER, 100);
    }

    async texts(channel: ChannelId): Promise<string[]> {
        return (await this.rows(channel)).flatMap((row) => (row.kind === 'text' ? [row.text] : []));
    }
}
