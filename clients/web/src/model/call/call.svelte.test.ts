import { beforeEach, describe, expect, test } from 'vitest';
import { consultId, deviceId, memberId, messageId } from '~/model/sample';
import { WireError } from '~/protocol/errors';
import type { ConsultId } from '~/protocol/ids';
import type { VideoWord } from './commands';
import {
    type BridgeSignal,
    type ClientSignal,
    decodeClientSignal,
    encodeSignal,
    MediaKind,
    Part,
    type Participant,
    PausedWhy,
} from '~/protocol/video';
import { FakeDoor, type FakePeer } from '~/testing/call-media';
import type { CallPart, ConsentDraft, ConsentView } from './call';
import type { CallHost } from './call-host';
import { Call } from './call.svelte';

const CONSULT = consultId(1);
const [ME, LEE, BOSS] = [deviceId(1), deviceId(2), deviceId(3)];
const T0 = 1_795_000_000_000;
const HOW = { person: false, signs: false };
const lee: Participant = {
    device: LEE,
    part: Part.psychiatrist,
    sinceMs: T0,
    person: false,
    signs: false,
    audioMuted: false,
    videoMuted: false,
};
const consent: ConsentView = {
    by: 'person',
    scope: 'Picture and sound.',
    purpose: 'Advice.',
    recipients: ['psychiatrist'],
    expiresMs: T0 + 3_600_000,
    method: 'spoken',
    capacity: '',
    interpreter: false,
    reason: '',
    id: messageId(1),
    device: ME,
    member: memberId(1),
    atMs: T0,
    state: 'in_force',
    withdrawnMs: 0,
};

/** A page: what it knows, what it was asked to say, and the bridge's words for it. */
class Page implements CallHost {
    device = ME;
    nowMs = T0;
    online = true;
    linkedMs = 1;
    readsConsent = true;
    part: CallPart | null = 'responder';
    consent = $state.raw<ConsentView | null>(consent);
    readonly said: ClientSignal[] = [];
    readonly recorded: unknown[] = [];
    tell: (word: VideoWord) => void = () => undefined;
    readonly engine = {
        videoSend: (_: ConsultId, body: Uint8Array) => {
            this.said.push(decodeClientSignal(body));
            return this.online ? Promise.resolve() : Promise.reject(new Error('offline'));
        },
        videoKeys: () => Promise.resolve(),
        recordConsent: (_: ConsultId, draft: ConsentDraft) => {
            this.recorded.push(draft);
            return Promise.resolve();
        },
        withdrawConsent: (consult: ConsultId) => {
            this.recorded.push(consult);
            return Promise.resolve();
        },
    };
    memberOf = () => memberId(7);
    partOf = () => this.part;
    consentOf = () => this.consent;
    onVideo(listen: Page['tell']): () => void {
        this.tell = listen;
        return () => undefined;
    }
}

let page: Page;
let door: FakeDoor;
let call: Call;
beforeEach(() => {
    page = new Page();
    door = new FakeDoor();
    call = new Call(page, door);
    call.open(CONSULT);
});

/** Promises that are kept already. */
const settled = async (): Promise<void> => {
    for (let turn = 0; turn < 10; turn += 1) await Promise.resolve();
};
const words = (): string[] => page.said.splice(0).map(({ kind }) => kind);
const generation = (): number => page.said.findLast(({ kind }) => kind === 'join')?.generation ?? 0;
const hears = (signal: BridgeSignal): void =>
    page.tell({ kind: 'video', consult: CONSULT, body: encodeSignal(signal) });
const peer = (): FakePeer => {
    const last = door.peers.at(-1);
    if (last === undefined) throw new Error('there is no path');
    return last;
};
const goes = (): string =>
    (['audio', 'video'] as const).filter((media) => peer().sent[media] !== null).join(' ');

function welcome(change: Partial<Extract<BridgeSignal, { kind: 'welcome' }>> = {}): BridgeSignal {
    const of = generation();
    const base = { serverMs: T0, waiting: false, restricted: false, participants: [], turn: [] };
    return { kind: 'welcome', generation: of, ...base, ...change };
}

/** In the call with Lee, over a path that stands. Returns the generation. */
async function live(part: CallPart = 'responder', how = HOW): Promise<number> {
    page.part = part;
    await call.join(how);
    const of = generation();
    hears(welcome());
    hears({ kind: 'offer', generation: of, version: 0, sdp: 'offer' });
    hears({ kind: 'slot', generation: of, participant: lee, audioMid: 'a', videoMid: 'b' });
    await settled();
    peer().tell({ kind: 'connected' });
    return of;
}

function later(ms: number): void {
    page.nowMs += ms;
    door.tick();
}

describe('a call', () => {
    test('is joined, answered, and shows who is there', async () => {
        const of = await live();
        expect(page.said).toEqual([
            { kind: 'join', generation: of, person: false, signs: false },
            { kind: 'answer', generation: of, version: 0, sdp: 'answer to offer' },
        ]);
        expect([call.phase, call.me?.part, call.mayAdmit]).toEqual(['live', 'responder', true]);
        expect(call.participants).toMatchObject([
            { device: LEE, member: memberId(7), part: 'psychiatrist', paused: 'flowing', lines: 0 },
        ]);
        expect(peer().places).toEqual([{ device: LEE, audioMid: 'a', videoMid: 'b' }]);
        expect(goes()).toBe('audio video');
    });

    test('keeps showing the same people while nothing about them changes: no picture begins anew', async () => {
        const of = await live();
        const { participants } = call;
        later(250);
        expect(call.participants).toBe(participants);
        hears({ kind: 'paused', generation: of, device: LEE, why: PausedWhy.bandwidth, lines: 180 });
        expect(call.participants).not.toBe(participants);
        expect(call.participants[0]).toMatchObject({ paused: 'bandwidth', lines: 180 });
        expect(call.participants[0]?.stream).toBe(participants[0]?.stream);
    });

    test('that is left ends everything that ran for it', async () => {
        await live();
        call.leave();
        expect([call.phase, call.why, call.participants, call.own]).toEqual(['ended', 'left', [], null]);
        expect([door.on, peer().closed, door.sealing]).toEqual([[], true, 0]);
        const said = page.said.length;
        later(60_000);
        expect(page.said).toHaveLength(said);
    });

    test('ends when another one is opened', async () => {
        await live();
        call.open(consultId(2));
        expect([call.consult, call.phase]).toEqual([consultId(2), 'off']);
        expect([door.on, door.sealing]).toEqual([[], 0]);
        expect(page.said.at(-1)?.kind).toBe('leave');
    });

    test('takes words of its own consult alone, and none that it cannot read', async () => {
        const of = await live();
        const gone = encodeSignal({ kind: 'gone', generation: of, device: LEE, why: 0 });
        page.tell({ kind: 'video', consult: consultId(2), body: gone });
        page.tell({ kind: 'video', consult: CONSULT, body: Uint8Array.of(0x91, 0x7e) });
        expect(call.participants).toHaveLength(1);
        page.tell({ kind: 'video', consult: CONSULT, body: gone });
        expect(call.participants).toHaveLength(0);
    });

    test('whose path does not take the offer asks for another seat', async () => {
        const of = await live();
        hears({ kind: 'offer', generation: of, version: 1, sdp: 'bad' });
        page.nowMs += 10;
        await settled();
        expect(call.phase).toBe('reconnecting');
        expect(generation()).toBeGreaterThan(of);
        expect([door.peers[0]?.closed, call.participants.length]).toEqual([false, 1]);
    });

    test('whose media left unsealed is over, and says so', async () => {
        await live();
        peer().tell({ kind: 'unsealed' });
        expect([call.phase, call.why]).toEqual(['failed', 'unsealed']);
        expect([door.on, door.sealing, page.said.at(-1)?.kind]).toEqual([[], 0, 'leave']);
    });

    test('goes over a new path while the old one is still shown', async () => {
        const of = await live();
        hears({ kind: 'migrate', generation: of });
        hears(welcome());
        expect(door.peers).toHaveLength(2);
        expect(door.peers.map(({ sent }) => sent.audio !== null)).toEqual([true, true]);
        peer().tell({ kind: 'frame' });
        expect(door.peers.map(({ closed }) => closed)).toEqual([true, false]);
        expect([call.phase, door.sealing]).toEqual(['live', 1]);
    });

    test('asks on a new socket for all that it missed, also where the old one was lost for a moment only', async () => {
        await live();
        words();
        page.linkedMs = 0;
        later(250);
        page.linkedMs = 1;
        later(250);
        expect(words()).toEqual([]);
        page.linkedMs = 2;
        later(250);
        expect(words()).toContain('join');
    });
});

describe('a join', () => {
    test.each([
        ['in a browser that cannot seal', () => (door.fit = false), 'unfit_browser'],
        ['of who has no part in it', () => (page.part = null), 'not_permitted'],
        ['without a link', () => (page.online = false), 'offline'],
        ['before anybody consented', () => (page.consent = null), 'no_consent'],
        ['after the consent is over', () => (page.consent = { ...consent, state: 'over' }), 'no_consent'],
        ['after it was withdrawn', () => (page.consent = { ...consent, state: 'withdrawn' }), 'no_consent'],
    ])('%s is none: nothing is sent, and no camera is asked for', async (_, change, why) => {
        change();
        await call.join(HOW);
        expect([call.phase, call.why]).toEqual(['failed', why]);
        expect([page.said, door.devices]).toEqual([[], []]);
    });

    test('of a guest, who can read no consent, goes by the bridge', async () => {
        page.readsConsent = false;
        page.consent = null;
        await live('interpreter', { person: true, signs: true });
        expect(page.said[0]).toMatchObject({ kind: 'join', person: false, signs: true });
        expect(goes()).toBe('audio video');
    });

    test('without camera and microphone sees and hears all the same', async () => {
        door.trouble = 'refused';
        await live();
        expect([call.phase, call.trouble, goes()]).toEqual(['live', 'refused', '']);
        expect(call.me).toMatchObject({ audioMuted: true, videoMuted: true });
    });

    test('whose camera another program has is heard all the same', async () => {
        door.hasCamera = false;
        await live();
        expect([call.trouble, goes()]).toEqual(['busy', 'audio']);
        expect(call.me).toMatchObject({ audioMuted: false, videoMuted: true });
    });

    test('that shows the person takes the camera on the back', async () => {
        door.twoCameras = true;
        await call.test();
        await live('responder', { person: true, signs: true });
        expect(door.devices.map(({ camera }) => camera)).toEqual(['front', 'back']);
        expect(page.said[0]).toMatchObject({ person: true, signs: false });
        expect(call.me).toMatchObject({ camera: 'back', person: true });
    });

    test('that is stopped while the browser asks for the camera is none, and no camera stays on', async () => {
        let answer: () => void = () => undefined;
        door.asked = new Promise<void>((resolve) => (answer = resolve));
        const joining = call.join(HOW);
        expect(call.phase).toBe('joining');
        call.leave();
        answer();
        await joining;
        expect([call.phase, page.said, door.on, door.sealing]).toEqual(['off', [], [], 0]);
    });

    test('that the relay refuses is told', async () => {
        await call.join(HOW);
        page.tell({ kind: 'video_refused', consult: CONSULT, code: WireError.expired, retryMs: 0 });
        expect([call.phase, call.why, door.on]).toEqual(['ended', 'over', []]);
    });

    test('that waits to be let in sends nothing of anybody', async () => {
        page.part = 'supervisor';
        await call.join(HOW);
        hears(welcome({ waiting: true }));
        expect([call.phase, goes()]).toEqual(['waiting', '']);
    });
});

describe('a test of camera and sound', () => {
    test('is for this person alone, and off again', async () => {
        await call.test();
        expect([call.phase, door.listening, page.said]).toEqual(['testing', 1, []]);
        call.endTest();
        expect([call.phase, door.listening, door.on]).toEqual(['off', 0, []]);
    });

    test('goes over into the call with what is open already', async () => {
        await call.test();
        await live();
        expect([door.devices.length, door.listening]).toEqual([1, 0]);
    });
});

describe('consent', () => {
    /** As it comes over the channel, and is noticed. */
    function becomes(state: ConsentView['state']): void {
        page.consent = { ...consent, state };
        later(250);
    }

    test.each([
        ['responder', 'audio video', ['restrict']],
        ['psychiatrist', 'audio video', ['restrict']],
        ['interpreter', 'audio video', []],
        ['supervisor', '', []],
        ['receiving_facility', '', []],
    ] as const)('that is withdrawn leaves a %s with: %s', async (part, left, said) => {
        await live(part);
        expect(goes()).toBe('audio video');
        words();
        becomes('withdrawn');
        expect(goes()).toBe(left);
        expect(words()).toEqual(said);
    });

    test('that ran out is withdrawn for whoever must have one', async () => {
        await live('supervisor');
        becomes('over');
        expect(goes()).toBe('');
    });

    test('that the bridge says is withdrawn counts at once, whatever the channel says so far', async () => {
        const of = await live('supervisor');
        hears({ kind: 'restricted', generation: of, restricted: true, by: LEE });
        expect([call.restricted, goes()]).toEqual([true, '']);
        hears({ kind: 'restricted', generation: of, restricted: false, by: LEE });
        expect(goes()).toBe('audio video');
    });

    test('that is given again opens it again', async () => {
        const of = await live();
        becomes('withdrawn');
        hears({ kind: 'restricted', generation: of, restricted: true, by: ME });
        words();
        becomes('in_force');
        expect(page.said).toEqual([{ kind: 'restrict', generation: of, restricted: false }]);
    });

    test('is what lets anybody in', async () => {
        const of = await live();
        const boss = { ...lee, device: BOSS, part: Part.supervisor };
        hears({ kind: 'waiting', generation: of, participant: boss });
        expect(call.waiting).toMatchObject([{ device: BOSS, part: 'supervisor' }]);
        becomes('withdrawn');
        words();
        call.admit(BOSS);
        expect(words()).toEqual([]);
        becomes('in_force');
        words();
        call.admit(BOSS);
        expect(words()).toEqual(['admit']);
    });
});

describe('a person in it', () => {
    test('turns sound and picture off and on: the camera is off, the microphone sends silence', async () => {
        await live();
        words();
        call.mute('video', true);
        await settled();
        expect([goes(), door.on.map(({ kind }) => kind), words()]).toEqual(['audio', ['audio'], ['mute']]);
        call.mute('audio', true);
        expect([goes(), peer().sent.audio?.enabled]).toEqual(['audio', false]);
        call.mute('video', false);
        await settled();
        expect([goes(), door.on.map(({ kind }) => kind)]).toEqual(['audio video', ['audio', 'video']]);
    });

    test('whose camera does not come on again is said to have it off: nobody waits for a picture', async () => {
        await live();
        call.mute('video', true);
        await settled();
        door.trouble = 'busy';
        call.mute('video', false);
        await settled();
        expect(call.me).toMatchObject({ audioMuted: false, videoMuted: true });
        expect([call.trouble, goes()]).toEqual(['busy', 'audio']);
        expect(page.said.at(-1)).toMatchObject({ kind: 'mute', media: MediaKind.video, muted: true });
        door.trouble = null;
        call.mute('video', false);
        await settled();
        expect([call.me?.videoMuted, call.trouble, goes()]).toEqual([false, 'none', 'audio video']);
    });

    test('whose other camera does not open is said to have none, and is heard', async () => {
        await live();
        door.trouble = 'busy';
        await call.camera('back');
        expect(call.me).toMatchObject({ audioMuted: false, videoMuted: true });
        expect(door.on.map(({ kind }) => kind)).toEqual(['audio']);
    });

    test('who leaves while the camera comes on again has no camera on', async () => {
        await live();
        call.mute('video', true);
        await settled();
        call.mute('video', false);
        call.leave();
        await settled();
        expect(door.on).toEqual([]);
    });

    test('shows the person in crisis: told to all, by the camera on the back, and back again', async () => {
        door.twoCameras = true;
        await live();
        words();
        await call.showPerson(true);
        expect(page.said).toMatchObject([{ kind: 'join', person: true }]);
        expect(call.me).toMatchObject({ person: true, camera: 'back' });
        await call.showPerson(false);
        expect(call.me).toMatchObject({ person: false, camera: 'front' });
    });

    test('of the team alone does so', async () => {
        await live('psychiatrist');
        words();
        await call.showPerson(true);
        expect([words(), call.me?.person]).toEqual([[], false]);
    });

    test('asks for pictures in the size in which they are shown, and for none of who is not there', async () => {
        const of = await live();
        words();
        call.want(LEE, 720);
        call.want(LEE, 720);
        call.want(BOSS, 180);
        expect(page.said).toEqual([
            { kind: 'want', generation: of, pictures: [{ device: LEE, lines: 720 }] },
            { kind: 'want', generation: of, pictures: [{ device: LEE, lines: 720 }] },
        ]);
    });

    test('who wants no picture gets and sends none, until they want it again', async () => {
        const of = await live();
        call.want(LEE, 720);
        words();
        call.audioOnly(true);
        expect([call.mode, call.modeWhy, goes()]).toEqual(['audio', 'chosen', 'audio']);
        expect(page.said).toEqual([{ kind: 'want', generation: of, pictures: [{ device: LEE, lines: 0 }] }]);
        call.audioOnly(false);
        expect([call.mode, goes()]).toEqual(['video', 'audio video']);
        expect(page.said.at(-1)).toMatchObject({ pictures: [{ device: LEE, lines: 720 }] });
    });

    test('records and withdraws consent for this consult', async () => {
        await call.recordConsent(consent);
        await call.withdrawConsent();
        expect(page.recorded).toEqual([consent, CONSULT]);
        call.close();
        await call.recordConsent(consent);
        expect(page.recorded).toHaveLength(2);
    });

    test('sees that somebody is muted', async () => {
        const of = await live();
        hears({ kind: 'muted', generation: of, device: LEE, media: MediaKind.audio, muted: true });
        expect(call.participants[0]?.audioMuted).toBe(true);
    });
});

describe('a weak link', () => {
    test('makes the picture smaller, then sound only, and says why', async () => {
        const of = await live();
        hears({ kind: 'quality', generation: of, up: 1, down: 2, audioOnly: false });
        expect([call.up, call.down, peer().sizes]).toEqual([1, 2, 'qhf']);
        later(4_000);
        expect([call.mode, call.modeWhy, peer().sizes]).toEqual(['smaller', 'weak', 'q']);
        hears({ kind: 'quality', generation: of, up: 1, down: 1, audioOnly: true });
        later(1_000);
        expect([call.mode, goes()]).toEqual(['audio', 'audio']);
    });

    test('that is gone leaves text and telephone, and the seat', async () => {
        await live();
        peer().tell({ kind: 'silent' });
        expect([call.phase, call.participants.length]).toEqual(['reconnecting', 1]);
        later(1);
        later(8_000);
        expect([call.mode, call.modeWhy]).toEqual(['text', 'lost']);
    });
});
