/**
 * The call of this page, as screens have it: the machine's decisions done, what comes of them as signals.
 *
 * No media leave before a consent in force was read; who is not of the team, the psychiatrist or the interpreter stops at once when
 * none is any more. Nothing here knows a browser or a worker: `MediaDoor` and `CallEngine` do.
 */
import { SvelteMap } from 'svelte/reactivity';
import { ProtocolError } from '~/protocol/errors';
import type { ConsultId, DeviceId, MemberId } from '~/protocol/ids';
import { decodeBridgeSignal, encodeSignal, Part, type Participant, PausedWhy } from '~/protocol/video';
import {
    byPlace,
    type CallMe,
    type CallMedia,
    type CallMode,
    type CallModel,
    type CallPart,
    type CallPerson,
    type CallPhase,
    type CallWhy,
    type Camera,
    type ConsentDraft,
    type ConsentView,
    type DeviceTrouble,
    type Grade,
    type JoinHow,
    type ModeWhy,
} from './call';
import type { CallCommands } from './commands';
import { ModeLadder } from './ladder';
import { layersFor } from './layers';
import { CallMachine, type Effect, type Seat } from './machine';
import type { MediaDoor, MediaPeer, MediaSeal, OwnMedia, PathStats, PeerEvent } from './media';

const TICK_MS = 250;
const CAMERA_LINES = 360;

/** Where a call is: who this device is in it, and what is known of it here. */
export interface CallHost {
    readonly engine: CallCommands;
    readonly device: DeviceId | null;
    /** The server's clock. */
    readonly nowMs: number;
    readonly online: boolean;
    memberOf(device: DeviceId): MemberId | null;
    /** What this device is in the consult; null: it has no part in its call. */
    partOf(consult: ConsultId): CallPart | null;
    /** False: this device reads no log, and goes by the bridge's word alone. */
    readonly readsConsent: boolean;
    consentOf(consult: ConsultId): ConsentView | null;
    /** `body` null: a signal was not passed on, for the reason `code`. */
    onVideo(listen: (consult: ConsultId, body: Uint8Array | null, code: number) => void): () => void;
}

const PARTS = Object.fromEntries(Object.entries(Part).map(([name, part]) => [part, name])) as Readonly<
    Record<Part, CallPart>
>;
const PAUSED = Object.fromEntries(
    Object.entries(PausedWhy).map(([name, why]) => [why, name]),
) as unknown as Readonly<Record<PausedWhy, CallPerson['paused']>>;
const KEEPS_TALKING: ReadonlySet<CallPart> = new Set(['responder', 'psychiatrist', 'interpreter']);

export class Call implements CallModel {
    consult = $state.raw<ConsultId | null>(null);
    phase = $state.raw<CallPhase>('off');
    why = $state.raw<CallWhy>('');
    sinceMs = $state.raw(0);
    me = $state.raw<CallMe | null>(null);
    own = $state.raw<MediaStream | null>(null);
    level = $state.raw(0);
    trouble = $state.raw<DeviceTrouble>('none');
    twoCameras = $state.raw(false);
    participants = $state.raw<readonly CallPerson[]>([]);
    waiting = $state.raw<readonly CallPerson[]>([]);
    mayAdmit = $state.raw(false);
    restricted = $state.raw(false);
    mode = $state.raw<CallMode>('video');
    modeWhy = $state.raw<ModeWhy>('');
    up = $state.raw<Grade>(3);
    down = $state.raw<Grade>(3);
    /** What the path measured last; for tests and diagnosis. */
    stats = $state.raw<PathStats | null>(null);
    readonly consent: ConsentView | null = $derived.by(() => this.#consentNow());

    #machine: CallMachine | null = null;
    #ladder = new ModeLadder();
    #seal: MediaSeal | null = null;
    readonly #peers = new Map<number, MediaPeer>();
    #media: OwnMedia | null = null;
    #camera: Camera = 'front';
    #chosen = false;
    #sendingVideo = true;
    readonly #wants = new SvelteMap<DeviceId, number>();
    #stopTick: () => void = () => undefined;
    #stopLevel: () => void = () => undefined;
    #wasOnline = true;
    #consentHeld = true;

    constructor(
        private readonly host: CallHost,
        private readonly door: MediaDoor,
    ) {
        host.onVideo((consult, body, code) => this.#told(consult, body, code));
    }

    get canPip(): boolean {
        return this.door.canPip;
    }

    // ---- what a person does

    open(consult: ConsultId): void {
        if (this.consult === consult) return;
        this.close();
        this.consult = consult;
    }

    close(): void {
        this.leave();
        this.#endMedia();
        this.consult = null;
        this.phase = 'off';
        this.why = '';
    }

    async test(): Promise<void> {
        if (this.#goesOn) return;
        const { consult } = this;
        if (!(await this.#openMedia(this.#camera))) return;
        // Another consult was opened, or a join was faster.
        if (this.consult !== consult || this.phase === 'joining') return;
        this.phase = 'testing';
        this.why = '';
        this.sinceMs = this.host.nowMs;
        const audio = this.#media?.audio;
        this.#stopLevel();
        if (audio) this.#stopLevel = this.door.listen(audio, (level) => (this.level = level));
    }

    endTest(): void {
        if (this.phase !== 'testing') return;
        this.#endMedia();
        this.phase = 'off';
    }

    async join({ person, signs }: JoinHow): Promise<void> {
        const { consult, host } = this;
        if (consult === null || this.#goesOn) return;
        const part = host.partOf(consult);
        const refusal = this.#refusal(part);
        if (refusal !== null || host.device === null || part === null) {
            this.#fail(refusal ?? 'not_permitted');
            return;
        }
        this.#stopLevel();
        // Shown as joining while the browser asks for the camera.
        this.phase = 'joining';
        this.why = '';
        this.sinceMs = host.nowMs;
        const shows = person && part === 'responder';
        if (shows && this.twoCameras && this.#camera !== 'back') this.#camera = 'back';
        // Who has neither camera nor microphone sees and hears all the same.
        if (this.#media === null || (shows && this.twoCameras)) await this.#openMedia(this.#camera);
        // Left, or another consult was opened, while the browser asked.
        if (!this.#isJoining(consult)) return;
        this.#chosen = false;
        this.#ladder = new ModeLadder();
        this.#consentHeld = true;
        this.#wasOnline = host.online;
        this.#seal = this.door.seal((port) => host.engine.videoKeys(consult, port));
        this.#machine = new CallMachine(host.device);
        const mine = {
            audioMuted: false,
            videoMuted: this.#media?.video == null,
            person: shows,
            signs: signs && part === 'interpreter',
        };
        this.#machine.join(mine, Part[part], host.nowMs);
        this.#stopTick = this.door.every(TICK_MS, () => this.#tick());
        this.#done();
    }

    leave(): void {
        if (this.#machine === null) {
            if (this.phase === 'testing' || this.phase === 'joining') {
                this.#endMedia();
                this.phase = 'off';
            }
            return;
        }
        this.#machine.leave('left', this.host.nowMs);
        this.#done();
    }

    mute(media: CallMedia, on: boolean): void {
        this.#machine?.mute(media, on);
        this.#done();
        if (media === 'video') void this.#videoMuted(on);
    }

    async camera(which: Camera): Promise<void> {
        this.#camera = which;
        if (this.#media === null || this.me?.videoMuted === true) {
            this.#tell();
            return;
        }
        await this.#openMedia(which);
        this.#done();
    }

    async showPerson(on: boolean): Promise<void> {
        if (this.#machine?.part !== Part.responder) return;
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
        if (this.#isAgreed) this.#machine?.admit(device);
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

    // ---- inside

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
        return this.#isAgreed ? null : 'no_consent';
    }

    get #isAgreed(): boolean {
        return !this.host.readsConsent || this.consent?.state === 'in_force';
    }

    #consentNow(): ConsentView | null {
        const consent = this.consult === null ? null : this.host.consentOf(this.consult);
        const over = consent?.state === 'in_force' && consent.expiresMs <= this.host.nowMs;
        return over ? { ...consent, state: 'over' } : consent;
    }

    #fail(why: CallWhy): void {
        this.#endMedia();
        this.phase = 'failed';
        this.why = why;
        this.sinceMs = this.host.nowMs;
    }

    async #openMedia(camera: Camera): Promise<boolean> {
        const before = this.#media;
        // Few phones let two cameras be open at once.
        before?.video?.stop();
        const opened = await this.door.open(camera, true);
        if ('trouble' in opened) {
            this.trouble = opened.trouble;
            return false;
        }
        for (const track of before?.stream.getTracks() ?? []) track.stop();
        this.trouble = 'none';
        this.#media = opened;
        this.#camera = camera;
        this.own = opened.stream;
        this.twoCameras = opened.twoCameras;
        return true;
    }

    async #videoMuted(on: boolean): Promise<void> {
        if (on) this.#media?.video?.stop();
        else if (this.#media?.video?.readyState !== 'live') await this.#openMedia(this.#camera);
        this.#done();
    }

    #endMedia(): void {
        this.#stopLevel();
        this.#stopLevel = () => undefined;
        for (const track of this.#media?.stream.getTracks() ?? []) track.stop();
        this.#media = null;
        this.own = null;
        this.level = 0;
    }

    #told(consult: ConsultId, body: Uint8Array | null, code: number): void {
        if (consult !== this.consult || this.#machine === null) return;
        const { nowMs } = this.host;
        if (body === null) this.#machine.refused(code, nowMs);
        else {
            try {
                this.#machine.hear(decodeBridgeSignal(body), nowMs);
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
        const { nowMs, online } = this.host;
        if (online && !this.#wasOnline) machine.linked(nowMs);
        this.#wasOnline = online;
        machine.tick(nowMs);
        this.#watchConsent(machine);
        this.#done();
    }

    /** The team's devices say to the bridge what the channel says: whom media may reach. */
    #watchConsent(machine: CallMachine): void {
        const held = this.#isAgreed;
        if (held === this.#consentHeld) return;
        this.#consentHeld = held;
        if (machine.part === Part.responder) machine.restrict(!held);
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
                machine.alarm(generation, event.mid, event.alarm);
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

    /** Do what the machine decided, and show what is so now. */
    #done(): void {
        const machine = this.#machine;
        if (machine === null) {
            this.#tell();
            return;
        }
        for (let effects = machine.take(); effects.length > 0; effects = machine.take())
            for (const effect of effects) this.#do(machine, effect);
        if (!machine.goesOn) this.#end(machine);
        else this.#tell();
    }

    #do(machine: CallMachine, effect: Effect): void {
        switch (effect.do) {
            case 'signal':
                if (this.consult === null) break;
                // Without a link it is lost, as any of them may be: what waits for an answer is said again.
                void this.host.engine
                    .videoSend(this.consult, encodeSignal(effect.signal))
                    .catch(() => undefined);
                break;
            case 'open': {
                const { generation } = effect;
                const peer = this.#seal?.peer(effect.turn, (event) => this.#heard(generation, event));
                if (peer !== undefined) this.#peers.set(generation, peer);
                break;
            }
            case 'offer': {
                const peer = this.#peers.get(effect.generation);
                if (peer === undefined) break;
                void peer.answer(effect.sdp).then(
                    (sdp) => {
                        machine.answered(effect.generation, effect.version, sdp);
                        this.#done();
                    },
                    () => {
                        machine.failed(effect.generation, this.host.nowMs);
                        this.#done();
                    },
                );
                break;
            }
            case 'places':
                this.#peers
                    .get(effect.generation)
                    ?.setPlaces(machine.seatsOf(effect.generation).map(placeOf));
                break;
            case 'close':
                this.#peers.get(effect.generation)?.close();
                this.#peers.delete(effect.generation);
                break;
            case 'stop':
                break;
        }
    }

    #end(machine: CallMachine): void {
        this.#stopTick();
        for (const peer of this.#peers.values()) peer.close();
        this.#peers.clear();
        this.#seal?.end();
        this.#seal = null;
        this.#endMedia();
        this.#tell();
        if (this.#machine === machine) this.#machine = null;
        this.participants = [];
        this.waiting = [];
    }

    /** What goes out now: nothing without consent, by who must have it, nor before the call stands. */
    #mayBeHeard(machine: CallMachine): boolean {
        const part = machine.part === null ? null : PARTS[machine.part];
        const talks = part !== null && KEEPS_TALKING.has(part);
        const held = this.#isAgreed;
        const stands =
            machine.phase === 'live' || machine.phase === 'reconnecting' || machine.phase === 'joining';
        return stands && machine.mayBeHeard && (held || talks);
    }

    #sendOwn(machine: CallMachine): void {
        const may = this.#mayBeHeard(machine);
        const { audio = null, video = null } = this.#media ?? {};
        const picture = this.mode === 'video' || this.mode === 'smaller';
        // Sound that is muted goes out as silence: it keeps the path, and says that it stands.
        if (audio !== null) audio.enabled = !machine.mine.audioMuted;
        this.#sendingVideo = may && picture && !machine.mine.videoMuted;
        const lines = shorterSide(video);
        for (const peer of this.#peers.values()) {
            peer.send('audio', may ? audio : null);
            peer.send('video', this.#sendingVideo ? video : null);
            peer.setLayers(layersFor(lines, this.mode));
        }
    }

    #sayWants(): void {
        const chosen = this.#chosen;
        const seats = this.#machine?.seats ?? [];
        const wanted = chosen
            ? seats.map(({ participant }) => ({ device: participant.device, lines: 0 }))
            : [...this.#wants].map(([device, lines]) => ({ device, lines }));
        const there = new Set(seats.map(({ participant }) => participant.device));
        this.#machine?.want(wanted.filter(({ device }) => there.has(device)));
    }

    // ---- showing

    #tell(): void {
        const machine = this.#machine;
        if (machine === null) return;
        this.phase = machine.phase;
        this.why = machine.why;
        this.sinceMs = machine.sinceMs;
        this.restricted = machine.restricted;
        this.mayAdmit = machine.admits;
        this.up = machine.up;
        this.down = machine.down;
        this.#tellMode(machine);
        this.#tellMe(machine);
        if (machine.goesOn) this.#sendOwn(machine);
        this.#tellPeople(machine);
    }

    #tellMode(machine: CallMachine): void {
        const grade = Math.min(machine.up, machine.down) as Grade;
        const lost = machine.phase === 'reconnecting' || grade === 0;
        const { audioOnly } = machine;
        const state = this.#ladder.look({ grade, audioOnly, lost, chosen: this.#chosen }, this.host.nowMs);
        this.mode = state.mode;
        this.modeWhy = state.why;
    }

    #tellMe(machine: CallMachine): void {
        const { device } = this.host;
        if (device === null) return;
        const part = machine.part === null ? null : PARTS[machine.part];
        const me: CallMe = { device, part, camera: this.#camera, ...machine.mine };
        if (JSON.stringify(me) !== JSON.stringify(this.me)) this.me = me;
    }

    #tellPeople(machine: CallMachine): void {
        const people = machine.seats.map((seat) => this.#person(machine, seat)).sort(byPlace);
        if (!samePeople(people, this.participants)) this.participants = people;
        const waiting = [...machine.waiting.values()].map((one) => this.#personOf(one)).sort(byPlace);
        if (!samePeople(waiting, this.waiting)) this.waiting = waiting;
    }

    #person(machine: CallMachine, seat: Seat): CallPerson {
        const peer = machine.generation === null ? undefined : this.#peers.get(machine.generation);
        const stream = peer === undefined || seat.audioMid === '' ? null : peer.stream(placeOf(seat));
        return {
            ...this.#personOf(seat.participant),
            paused: PAUSED[seat.paused],
            lines: seat.lines,
            alarm: seat.alarm,
            stream,
        };
    }

    #personOf(one: Participant): CallPerson {
        return {
            device: one.device,
            member: this.host.memberOf(one.device),
            part: PARTS[one.part],
            sinceMs: one.sinceMs,
            person: one.person,
            signs: one.signs,
            audioMuted: one.audioMuted,
            videoMuted: one.videoMuted,
            paused: 'flowing',
            lines: 0,
            stream: null,
            alarm: '',
        };
    }
}

function placeOf({ participant, audioMid, videoMid }: Seat) {
    return { device: participant.device, audioMid, videoMid };
}

function shorterSide(video: MediaStreamTrack | null): number {
    const { width, height } = video?.getSettings() ?? {};
    return width === undefined || height === undefined ? CAMERA_LINES : Math.min(width, height);
}

/** Shown people are replaced only where something about them changed: a picture must not begin anew. */
function samePeople(some: readonly CallPerson[], others: readonly CallPerson[]): boolean {
    return (
        some.length === others.length &&
        some.every((one, at) => {
            const other = others[at];
            if (other === undefined) return false;
            return (Object.keys(one) as (keyof CallPerson)[]).every((key) => one[key] === other[key]);
        })
    );
}
