/**
 * What is shown of a call that is held here, as signals. Screens read them; `Call` alone changes them, by telling what its machine
 * has decided. What a call carries on a weak link (`ladder.ts`) is found here too, since it is a matter of what was shown before.
 */
import type { ConsultId } from '~/protocol/ids';
import type { CallHost } from './call-host';
import { partOf, personOf, samePeople, seatedPerson } from './call-people';
import type { CallPaths } from './call-paths';
import {
    byPlace,
    type CallMe,
    type CallMode,
    type CallPerson,
    type CallPhase,
    type CallView,
    type CallWhy,
    type ConsentView,
    type Grade,
    type ModeWhy,
} from './call';
import { ModeLadder } from './ladder';
import type { CallMachine } from './machine';
import type { OwnSide } from './own-side.svelte';

export class LiveView implements CallView {
    consult = $state.raw<ConsultId | null>(null);
    phase = $state.raw<CallPhase>('off');
    why = $state.raw<CallWhy>('');
    sinceMs = $state.raw(0);
    me = $state.raw<CallMe | null>(null);
    participants = $state.raw<readonly CallPerson[]>([]);
    waiting = $state.raw<readonly CallPerson[]>([]);
    mayAdmit = $state.raw(false);
    restricted = $state.raw(false);
    mode = $state.raw<CallMode>('video');
    modeWhy = $state.raw<ModeWhy>('');
    up = $state.raw<Grade>(3);
    down = $state.raw<Grade>(3);
    readonly consent: ConsentView | null = $derived.by(() =>
        this.consult === null ? null : this.host.consentOf(this.consult),
    );
    #ladder = new ModeLadder();

    constructor(
        private readonly host: CallHost,
        private readonly side: OwnSide,
        readonly canPip: boolean,
    ) {}

    get own(): MediaStream | null {
        return this.side.stream;
    }
    get level() {
        return this.side.level;
    }
    get trouble() {
        return this.side.trouble;
    }
    get twoCameras() {
        return this.side.twoCameras;
    }

    /** Somebody consented, and it holds; whoever cannot read that goes by the bridge's word. */
    get isAgreed(): boolean {
        return !this.host.readsConsent || this.consent?.state === 'in_force';
    }

    /** It is in this phase from now on, without a machine. */
    stand(phase: CallPhase, why: CallWhy = ''): void {
        this.phase = phase;
        this.why = why;
        this.sinceMs = this.host.nowMs;
    }

    /** A call begins: nothing is known of its link. */
    begin(): void {
        this.#ladder = new ModeLadder();
    }

    /** Nobody is there any more. */
    empty(): void {
        this.participants = [];
        this.waiting = [];
    }

    /** Show what is so now. `chosen`: the person wants no picture. */
    tell(machine: CallMachine, paths: CallPaths | null, chosen: boolean): void {
        const { rights } = machine;
        this.phase = machine.phase;
        this.why = machine.why;
        this.sinceMs = machine.sinceMs;
        this.restricted = rights.restricted;
        this.mayAdmit = rights.admits;
        this.up = machine.up;
        this.down = machine.down;
        this.#tellMode(machine, chosen);
        this.#tellMe(machine);
        this.#tellPeople(machine, paths);
    }

    #tellMode({ up, down, phase, audioOnly }: CallMachine, chosen: boolean): void {
        const grade = Math.min(up, down) as Grade;
        const lost = phase === 'reconnecting' || grade === 0;
        const state = this.#ladder.look({ grade, audioOnly, lost, chosen }, this.host.nowMs);
        this.mode = state.mode;
        this.modeWhy = state.why;
    }

    #tellMe({ rights, mine }: CallMachine): void {
        const { device } = this.host;
        if (device === null) return;
        const part = rights.part === null ? null : partOf(rights.part);
        const me: CallMe = { device, part, camera: this.side.camera, ...mine };
        if (JSON.stringify(me) !== JSON.stringify(this.me)) this.me = me;
    }

    #tellPeople({ generation, seats, rights }: CallMachine, paths: CallPaths | null): void {
        const memberOf: CallHost['memberOf'] = (device) => this.host.memberOf(device);
        const people = seats
            .map((seat) => seatedPerson(seat, paths?.stream(generation, seat) ?? null, memberOf))
            .sort(byPlace);
        if (!samePeople(people, this.participants)) this.participants = people;
        const waiting = [...rights.waiting.values()].map((one) => personOf(one, memberOf)).sort(byPlace);
        if (!samePeople(waiting, this.waiting)) this.waiting = waiting;
    }
}
