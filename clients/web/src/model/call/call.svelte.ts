/**
 * The call of this page, as a whole: what a person does, what the bridge and the paths say, and that what the machine decides is done.
 *
 *     person, bridge, paths, time -> CallMachine (decides) -> Call -> OwnSide    what goes out     (own-side)
 *                                                                  -> CallPaths  where it goes     (call-paths)
 *                                                                  -> LiveView   what is shown     (live-view)
 *
 * No media leave before a consent in force was read; who is not of the team, the psychiatrist or the interpreter stops at once when
 * none is any more. Nothing here knows a browser or a worker: `MediaDoor` and `CallCommands` do.
 */
import { SvelteMap } from 'svelte/reactivity';
import { ProtocolError } from '~/protocol/errors';
import type { ConsultId, DeviceId } from '~/protocol/ids';
import { decodeBridgeSignal, encodeSignal, Part } from '~/protocol/video';
import type {
    CallMedia,
    CallModel,
    CallPart,
    CallView,
    CallWhy,
    Camera,
    ConsentDraft,
    JoinHow,
} from './call';
import type { CallHost } from './call-host';
import type { VideoWord } from './commands';
import { CallPaths } from './call-paths';
import type { Effect } from './effects';
import { LiveView } from './live-view.svelte';
import { CallMachine } from './machine';
import type { MediaDoor, PathStats, PeerEvent } from './media';
import { OwnSide } from './own-side.svelte';
import { Restriction } from './restriction';
import { ShownCall } from './shown-call';

const TICK_MS = 250;

export class Call extends ShownCall implements CallModel {
    /** What the path measured last; for tests and diagnosis. */
    stats = $state.raw<PathStats | null>(null);
    readonly #own: OwnSide;
    readonly #live: LiveView;
    #machine: CallMachine | null = null;
    #paths: CallPaths | null = null;
    /** The person wants no picture. */
    #chosen = false;
    readonly #wants = new SvelteMap<DeviceId, number>();
    #stopTick: () => void = () => undefined;
    #linkedMs = 0;
    #restriction = new Restriction();

    constructor(
        private readonly host: CallHost,
        private readonly door: MediaDoor,
    ) {
        super();
        this.#own = new OwnSide(door);
        this.#live = new LiveView(host, this.#own, door.canPip);
        host.onVideo((word) => this.#told(word));
    }

    protected get view(): CallView {
        return this.#live;
    }

    // ---- before and after the room

    open(consult: ConsultId): void {
        if (this.consult === consult) return;
        this.close();
        this.#live.consult = consult;
    }

    close(): void {
        this.leave();
        this.#own.end();
        this.#live.consult = null;
        this.#live.stand('off');
    }

    async test(): Promise<void> {
        if (this.#goesOn) return;
        const { consult } = this;
        if (!(await this.#own.open(this.#own.camera))) return;
        // Another consult was opened, or a join was faster.
        if (this.consult !== consult || this.phase === 'joining') return;
        this.#live.stand('testing');
        this.#own.listen();
    }

    endTest(): void {
        if (this.phase === 'testing') this.#switchOff();
    }

    async join({ person, signs }: JoinHow): Promise<void> {
        const { consult, host } = this;
        if (consult === null || this.#goesOn) return;
        const part = host.partOf(consult);
        const refusal = this.#refusal(part);
        if (refusal !== null || host.device === null || part === null) {
            this.#own.end();
            this.#live.stand('failed', refusal ?? 'not_permitted');
            return;
        }
        this.#own.quiet();
        // Shown as joining while the browser asks for the camera.
        this.#live.stand('joining');
        const shows = person && part === 'responder';
        const { twoCameras } = this;
        if (shows && twoCameras) this.#own.camera = 'back';
        // Who has neither camera nor microphone sees and hears all the same.
        if (!this.#own.isOpen || (shows && twoCameras)) await this.#own.open(this.#own.camera);
        // Left, or another consult was opened, while the browser asked.
        if (!this.#isJoining(consult)) return;
        this.#begin(consult, host.device, part, { person: shows, signs: signs && part === 'interpreter' });
    }

    #begin(consult: ConsultId, device: DeviceId, part: CallPart, how: JoinHow): void {
        const { host } = this;
        this.#chosen = false;
        this.#restriction = new Restriction();
        this.#linkedMs = host.linkedMs;
        this.#live.begin();
        this.#paths = new CallPaths(
            this.door.seal((port) => host.engine.videoKeys(consult, port)),
            (generation, event) => this.#heard(generation, event),
        );
        this.#machine = new CallMachine(device);
        const mine = { ...how, audioMuted: !this.#own.has('audio'), videoMuted: !this.#own.has('video') };
        this.#machine.join(mine, Part[part], host.nowMs);
        this.#stopTick = this.door.every(TICK_MS, () => this.#tick());
        this.#done();
    }

    leave(): void {
        if (this.#machine !== null) {
            this.#machine.leave('left', this.host.nowMs);
            this.#done();
        } else if (this.phase === 'testing' || this.phase === 'joining') this.#switchOff();
    }

    #switchOff(): void {
        this.#own.end();
        this.#live.stand('off');
    }

    // ---- what a person does in it

    mute(media: CallMedia, on: boolean): void {
        this.#machine?.mute(media, on);
        this.#done();
        void this.#own.turn(media, !on).then(() => this.#opened());
    }

    async camera(which: Camera): Promise<void> {
        this.#own.camera = which;
        // One that is off is opened on this side when it is wanted.
        if (this.#own.isOpen && this.me?.videoMuted !== true) await this.#own.open(which);
        this.#opened();
    }

    /** What could not be opened is said to be off: nobody waits for it. */
    #opened(): void {
        const machine = this.#machine;
        if (machine !== null && this.#own.trouble !== 'none') {
            if (!this.#own.has('audio') && !machine.mine.audioMuted) machine.mute('audio', true);
            if (!this.#own.has('video') && !machine.mine.videoMuted) machine.mute('video', true);
        }
        this.#done();
    }

    async showPerson(on: boolean): Promise<void> {
        if (this.#machine?.rights.part !== Part.responder) return;
        this.#machine.showPerson(on, this.host.nowMs);
        this.#done();
        if (this.twoCameras) await this.camera(on ? 'back' : 'front');
    }

    audioOnly(on: boolean): void {
        this.#chosen = on;
        this.#sayWants();
        this.#done();
    }

    admit(device: DeviceId): void {
        // Whoever cannot read a consent takes this for it.
        if (this.#live.isAgreed) this.#machine?.admit(device);
        this.#done();
    }

    refuse(device: DeviceId): void {
        this.#machine?.refuse(device);
        this.#done();
    }

    restrict(on: boolean): void {
        this.#machine?.restrict(on);
        this.#done();
    }

    want(device: DeviceId, lines: number): void {
        if (this.#wants.get(device) === lines) return;
        this.#wants.set(device, lines);
        this.#sayWants();
        this.#done();
    }

    pip(video: HTMLVideoElement): Promise<void> {
        return this.door.pip(video);
    }

    async recordConsent(draft: ConsentDraft): Promise<void> {
        if (this.consult !== null) await this.host.engine.recordConsent(this.consult, draft);
    }

    async withdrawConsent(): Promise<void> {
        if (this.consult !== null) await this.host.engine.withdrawConsent(this.consult);
    }

    // ---- what it goes by

    get #goesOn(): boolean {
        return this.#machine?.goesOn === true;
    }

    /** A method, since it changes over awaits. */
    #isJoining(consult: ConsultId): boolean {
        return this.consult === consult && this.phase === 'joining';
    }

    #refusal(part: CallPart | null): CallWhy | null {
        if (!this.door.fit) return 'unfit_browser';
        if (part === null) return 'not_permitted';
        if (!this.host.online) return 'offline';
        return this.#live.isAgreed ? null : 'no_consent';
    }

    /** What goes out now: nothing without consent, by who must have it, nor before the call stands. */
    #mayBeHeard({ phase, rights }: CallMachine): boolean {
        const stands = phase === 'live' || phase === 'reconnecting' || phase === 'joining';
        return stands && rights.mayBeHeard(this.#live.isAgreed);
    }

    #sayWants(): void {
        const seats = this.#machine?.seats ?? [];
        const wanted = this.#chosen
            ? seats.map(({ participant }) => ({ device: participant.device, lines: 0 }))
            : [...this.#wants].map(([device, lines]) => ({ device, lines }));
        const there = new Set(seats.map(({ participant }) => participant.device));
        this.#machine?.want(wanted.filter(({ device }) => there.has(device)));
    }

    // ---- what comes: words of the bridge, time, what a path says

    #told(word: VideoWord): void {
        if (word.consult !== this.consult || this.#machine === null) return;
        const { nowMs } = this.host;
        if (word.kind === 'video_refused') this.#machine.refused(word.code, word.retryMs, nowMs);
        else {
            try {
                this.#machine.hear(decodeBridgeSignal(word.body), nowMs);
            } catch (error) {
                // A word of a newer bridge: what counts is said in words that are known.
                if (!(error instanceof ProtocolError)) throw error;
            }
        }
        this.#done();
    }

    #tick(): void {
        const machine = this.#machine;
        if (machine === null) return;
        const { nowMs, linkedMs } = this.host;
        // A socket that was lost for less than a tick is another one all the same.
        if (linkedMs !== 0 && linkedMs !== this.#linkedMs) machine.linked(nowMs);
        if (linkedMs !== 0) this.#linkedMs = linkedMs;
        machine.tick(nowMs);
        this.#watchConsent(machine, nowMs);
        this.#done();
    }

    /** Team and psychiatrist say to the bridge what the channel says: whom media may reach. */
    #watchConsent(machine: CallMachine, nowMs: number): void {
        if (!machine.rights.admits || !machine.hasSeat) return;
        const says = this.#restriction.look(this.#live.isAgreed, machine.rights.restricted, nowMs);
        if (says !== null) machine.restrict(says);
    }

    #heard(generation: number, event: PeerEvent): void {
        const machine = this.#machine;
        if (machine === null) return;
        const { nowMs } = this.host;
        switch (event.kind) {
            case 'connected':
                machine.connected(generation, nowMs);
                break;
            case 'silent':
                machine.silent(generation, nowMs);
                break;
            case 'heard':
                machine.heard(generation, nowMs);
                break;
            case 'frame':
                machine.frame(generation, nowMs);
                break;
            case 'failed':
                machine.failed(generation, nowMs);
                break;
            case 'moved':
                machine.moved(generation, nowMs);
                break;
            case 'alarm':
                machine.alarm(generation, event.mid, event.alarm, nowMs);
                break;
            case 'unsealed':
                machine.unsealed(nowMs);
                break;
            case 'stats':
                if (generation === machine.generation) this.stats = event.stats;
                break;
        }
        this.#done();
    }

    // ---- doing

    /** Do what the machine decided, send what may go out, and show what is so now. */
    #done(): void {
        const machine = this.#machine;
        const paths = this.#paths;
        if (machine === null || paths === null) return;
        for (let effects = machine.take(); effects.length > 0; effects = machine.take())
            for (const effect of effects) this.#do(machine, paths, effect);
        if (!machine.goesOn) {
            this.#end(machine, paths);
            return;
        }
        this.#live.tell(machine, paths, this.#chosen);
        const { audioMuted, videoMuted } = machine.mine;
        const { mode } = this.#live;
        this.#own.sendOver(paths.all(), { heard: this.#mayBeHeard(machine), mode, audioMuted, videoMuted });
    }

    #do(machine: CallMachine, paths: CallPaths, effect: Effect): void {
        switch (effect.do) {
            case 'signal':
                if (this.consult === null) break;
                // Without a link it is lost, as any of them may be: what waits for an answer is said again.
                void this.host.engine
                    .videoSend(this.consult, encodeSignal(effect.signal))
                    .catch(() => undefined);
                break;
            case 'open':
                paths.open(effect.generation, effect.turn);
                break;
            case 'offer': {
                const { generation, version } = effect;
                void paths.answer(generation, effect.sdp)?.then(
                    (sdp) => {
                        machine.answered(generation, version, sdp);
                        this.#done();
                    },
                    () => {
                        machine.failed(generation, this.host.nowMs);
                        this.#done();
                    },
                );
                break;
            }
            case 'places':
                paths.place(effect.generation, machine.seatsOf(effect.generation));
                break;
            case 'close':
                paths.close(effect.generation);
                break;
            case 'stop':
                break;
        }
    }

    #end(machine: CallMachine, paths: CallPaths): void {
        this.#stopTick();
        paths.end();
        this.#own.end();
        this.#live.tell(machine, null, this.#chosen);
        this.#live.empty();
        this.#machine = null;
        this.#paths = null;
    }
}
