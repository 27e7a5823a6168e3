/**
 * Many members, a server that orders and compares and sets, and everything that goes wrong.
 *
 * Devices go offline, race each other, are revoked, removed, admitted and given context; they restart from what they kept.
 * At the end all agree on the chain, and each can read exactly what it was a member for or was given.
 */

import { describe, expect, it } from 'vitest';
import { NOW_MS, PERIODIC, World, seededNumbers } from '../conformance/world';
import { codeOf } from '../conformance/vectors';
import { SealingError } from '../errors';
import { ChannelLine, live, verifyCommit } from '../public/acceptance';
import { verifyBoxes } from '../public/boxes';
import { REASON_MEMBER, REASON_REVOKE } from '../public/commit';
import type { Bytes } from '../public/encoding';
import { ALL_CAPS, CAP_SEND, DURABLE } from '../public/entries';
import { SealedChannel } from './channel';
import type { Change, MadeCommit } from './committer';
import { acceptGrant, makeGrant } from './grants';

const MEMBERS = Array.from({ length: 8 }, (_, n) => `m${n}`);
const ABLE = MEMBERS.slice(0, 4);
const STEPS = 50;

interface Said {
    readonly frame: Bytes;
    readonly epoch: number;
    readonly roster: ReadonlySet<string>;
}

/** A device's records as a store would have them, written only when they changed. */
class Store {
    #head: Bytes | null = null;
    readonly #epochs = new Map<number, Bytes>();

    write(channel: SealedChannel): void {
        const unsaved = channel.unsaved();
        this.#head = unsaved.head ?? this.#head;
        for (const [epoch, record] of unsaved.epochs) this.#epochs.set(epoch, record);
        channel.saved(unsaved);
    }

    /** From the newest two epochs; the others are recalled one by one, in any order. */
    async read(): Promise<SealedChannel> {
        if (this.#head === null) throw new Error('nothing was written');
        const newest = Math.max(...this.#epochs.keys());
        const lately = [...this.#record(newest), ...this.#record(newest - 1)];
        const channel = await SealedChannel.restore(this.#head, lately);
        for (const record of this.#epochs.values()) await channel.recall(record);
        return channel;
    }

    #record(epoch: number): Bytes[] {
        const record = this.#epochs.get(epoch);
        return record === undefined ? [] : [record];
    }
}

class Simulation {
    readonly tally = {
        stood: 0,
        lost: 0,
        revoked: 0,
        granted: 0,
        rekeyed: 0,
        restarted: 0,
        read: 0,
        denied: 0,
    };
    readonly #line: ChannelLine; // the server's: no keys
    readonly #log: MadeCommit[] = [];
    readonly #said: Said[] = [];
    readonly #views = new Map<string, SealedChannel>();
    readonly #stores = new Map(MEMBERS.map((name) => [name, new Store()]));
    readonly #given = new Map(MEMBERS.map((name) => [name, new Set<number>()]));
    readonly #revoked = new Set<string>();

    private constructor(
        private readonly world: World,
        private readonly random: () => number,
        first: MadeCommit,
    ) {
        this.#line = new ChannelLine(first.commit.channelId);
        for (const name of MEMBERS) {
            this.#views.set(name, new SealedChannel(first.commit.channelId, world.id(name)));
        }
    }

    static async of(seed: number): Promise<Simulation> {
        const world = await World.of(`sim${seed}`);
        for (const name of MEMBERS)
            await world.enrol(name, { caps: ABLE.includes(name) ? ALL_CAPS : CAP_SEND });
        const first = await world.genesis(ABLE);
        const simulation = new Simulation(world, seededNumbers(seed), first);
        expect(await simulation.submit(first)).toBe(true);
        return simulation;
    }

    /** The server: every rule, then compare-and-set. */
    async submit(made: MadeCommit): Promise<boolean> {
        const { directories, directory, book } = this.world;
        const receipt = { ...live(NOW_MS, book), storing: true };
        try {
            const commit = await verifyCommit(this.#line, made.commit.signed, directories, receipt);
            const committer = directory.liveDevice(commit.committer);
            await verifyBoxes(commit, made.boxes, made.boxList.signature, committer.public);
            this.#line.install(commit);
        } catch (error) {
            if (!(error instanceof SealingError) || (error.code !== 'E_FORK' && error.code !== 'E_CHAIN')) {
                throw error;
            }
            this.tally.lost++;
            return false;
        }
        this.#log.push(made);
        this.tally.stood++;
        return true;
    }

    async step(): Promise<void> {
        const online = MEMBERS.filter(() => this.random() > 0.3);
        const roster = this.#roster();
        const there = online.filter((name) => roster.has(name) && !this.#revoked.has(name));
        await Promise.all(there.map((name) => this.#sync(name)));
        if (there.length === 0) return;
        const draw = this.random();
        if (draw < 0.25) await this.#race(there.filter((name) => ABLE.includes(name)));
        else if (draw < 0.32) await this.#revoke();
        else if (draw < 0.45) await this.#give(there);
        else if (draw < 0.55) await this.#restart(this.#one(there));
        else await this.#speak(this.#one(there));
    }

    /** Takes all commits that this member missed, given at once: the channel takes them in turn. */
    async #sync(name: string): Promise<void> {
        const channel = this.#view(name);
        const missed = this.#log.slice(channel.line.epoch + 1);
        const installed = await Promise.all(missed.map((made) => this.world.process(name, channel, made)));
        for (const { alarm } of installed) expect(alarm).toBeNull();
        this.#stores.get(name)?.write(channel);
    }

    /** One to three members change the roster from the same head, at once; all but one lose, and adopt the winner. */
    async #race(able: readonly string[]): Promise<void> {
        const racing = this.#some(able, 1 + Math.floor(this.random() * 3));
        const changes = racing.map((name): readonly [string, Change] => [name, this.#change(name)]);
        const proposals = await Promise.all(
            changes.map(([name, change]) => this.world.commit(name, this.#view(name), change)),
        );
        for (const [n, made] of proposals.entries()) {
            if (!(await this.submit(made))) await this.#sync(racing[n] ?? '');
        }
    }

    #change(name: string): Change {
        const roster = this.#roster();
        const outside = MEMBERS.filter((other) => !roster.has(other) && !this.#revoked.has(other));
        if (outside.length > 0 && this.random() < 0.6) {
            return { reason: REASON_MEMBER, admit: [this.world.seat(this.#one(outside))] };
        }
        const others = [...roster].filter((other) => other !== name);
        if (others.length === 0) return PERIODIC;
        return { reason: REASON_MEMBER, remove: new Set([this.world.id(this.#one(others))]) };
    }

    async #revoke(): Promise<void> {
        if (this.#revoked.size >= 4) return;
        const name = this.#one(MEMBERS.slice(1).filter((other) => !this.#revoked.has(other)));
        await this.world.revoke(name);
        this.#revoked.add(name);
        this.tally.revoked++;
    }

    async #give(there: readonly string[]): Promise<void> {
        const [by, to] = [this.#one(there), this.#one(there)];
        const held = new Set(this.#view(to).epochsHeld());
        const epochs = this.#view(by)
            .epochsHeld()
            .filter((epoch) => !held.has(epoch));
        if (by === to || !ABLE.includes(by) || epochs.length === 0) return;
        const { directories, book: deviceKeys } = this.world;
        const plan = {
            to: this.world.id(to),
            epochs,
            classMask: 1 << DURABLE,
            directories,
            deviceKeys,
            nowMs: NOW_MS,
        };
        const sealed = await makeGrant(this.#view(by), this.world.keysOf(by), plan);
        const keys = this.world.keysOf(to);
        const given = await acceptGrant(this.#view(to), sealed, keys, directories, live(NOW_MS));
        for (const epoch of given) this.#given.get(to)?.add(epoch);
        this.#stores.get(to)?.write(this.#view(to));
        this.tally.granted++;
    }

    async #restart(name: string): Promise<void> {
        const store = this.#stores.get(name);
        if (store === undefined) return;
        const before = this.#view(name);
        const channel = await store.read();
        expect(channel.line.headHash).toBe(before.line.headHash);
        expect(channel.epochsHeld()).toEqual(before.epochsHeld());
        this.#views.set(name, channel);
        this.tally.restarted++;
    }

    async #speak(name: string): Promise<void> {
        const { world } = this;
        const code = await codeOf(() => this.#view(name).canSend(world.directories, NOW_MS));
        if (code !== null) {
            expect(code).toBe('E_REVOKED');
            const made = await world.commit(name, this.#view(name), { reason: REASON_REVOKE });
            expect(await this.submit(made)).toBe(true);
            await this.#sync(name);
            this.tally.rekeyed++;
        }
        const frame = await world.say(name, this.#view(name), this.#said.length);
        this.#said.push({ frame, epoch: this.#view(name).line.epoch, roster: this.#roster() });
    }

    /** Everyone replays the chain; then who can read what is exactly who may. */
    async settle(): Promise<void> {
        for (const name of MEMBERS) {
            await this.#sync(name);
            await this.#restart(name);
            const channel = this.#view(name);
            expect([channel.line.headHash, channel.forkEvidence]).toEqual([this.#line.headHash, null]);
            for (const [number, { frame, epoch, roster }] of this.#said.entries()) {
                const reading = channel.open(frame, this.world.directories, { again: true });
                const may = roster.has(name) || this.#given.get(name)?.has(epoch) === true;
                this.tally[may ? 'read' : 'denied']++;
                if (may) expect((await reading).body.data).toBe(number);
                else expect(await codeOf(() => reading)).toBe('E_NO_KEY');
            }
        }
    }

    #roster(): ReadonlySet<string> {
        const ids = new Set(this.#line.head?.roster.map(({ deviceId }) => deviceId));
        return new Set(MEMBERS.filter((name) => ids.has(this.world.id(name))));
    }

    #view(name: string): SealedChannel {
        const view = this.#views.get(name);
        if (view === undefined) throw new Error(`no member called ${name}`);
        return view;
    }

    #one(names: readonly string[]): string {
        const name = names[Math.floor(this.random() * names.length)];
        if (name === undefined) throw new Error('nobody to choose from');
        return name;
    }

    #some(names: readonly string[], count: number): string[] {
        const left = [...names];
        const chosen: string[] = [];
        while (chosen.length < count && left.length > 0) {
            chosen.push(...left.splice(Math.floor(this.random() * left.length), 1));
        }
        return chosen;
    }
}

describe('who can read what', () => {
    const total: Record<string, number> = {};

    it.each([1, 2, 3, 4])('seed %i', async (seed) => {
        const simulation = await Simulation.of(seed);
        for (let n = 0; n < STEPS; n++) await simulation.step();
        await simulation.settle();
        for (const [kind, count] of Object.entries(simulation.tally))
            total[kind] = (total[kind] ?? 0) + count;
        expect(simulation.tally.stood).toBeGreaterThan(3);
    });

    it('all kinds of trouble came: else this would prove little', () => {
        for (const [kind, count] of Object.entries(total)) expect([kind, count > 0]).toEqual([kind, true]);
        expect(Object.keys(total)).toHaveLength(8);
    });
});

describe('a server that forks', () => {
    it('is found out by the first frame and by the commit', async () => {
        const world = await World.of();
        for (const name of ['a', 'b', 'c']) await world.enrol(name);
        const first = await world.genesis(['a', 'b', 'c']);
        const [a, b, c] = [
            await world.view('a', first),
            await world.view('b', first),
            await world.view('c', first),
        ];
        const [left, right] = [await world.commit('a', a, PERIODIC), await world.commit('b', b, PERIODIC)];
        await world.process('a', a, left);
        await world.process('c', c, left);
        await world.process('b', b, right);
        const frame = await world.say('b', b);
        expect(await codeOf(() => c.open(frame, world.directories))).toBe('E_FORK');
        expect(c.forkEvidence).toBeNull();
        expect(await codeOf(() => world.process('c', c, right))).toBe('E_FORK');
        expect(c.forkEvidence).toEqual([left.commit.signed, right.commit.signed]);
    });
});
