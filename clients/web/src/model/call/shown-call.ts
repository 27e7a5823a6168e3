/** A call whose view stands elsewhere: each field of it, for who shows one. */
import type { CallView } from './call';

/** No call was opened. */
export const NO_CALL: CallView = {
    consult: null,
    phase: 'off',
    why: '',
    sinceMs: 0,
    me: null,
    own: null,
    level: 0,
    trouble: 'none',
    twoCameras: false,
    participants: [],
    waiting: [],
    mayAdmit: false,
    restricted: false,
    mode: 'video',
    modeWhy: '',
    up: 3,
    down: 3,
    consent: null,
    canPip: false,
};

export abstract class ShownCall implements CallView {
    /** What is shown now. Reactive where it stands in a signal. */
    protected abstract get view(): CallView;

    get consult() {
        return this.view.consult;
    }
    get phase() {
        return this.view.phase;
    }
    get why() {
        return this.view.why;
    }
    get sinceMs() {
        return this.view.sinceMs;
    }
    get me() {
        return this.view.me;
    }
    get own() {
        return this.view.own;
    }
    get level() {
        return this.view.level;
    }
    get trouble() {
        return this.view.trouble;
    }
    get twoCameras() {
        return this.view.twoCameras;
    }
    get participants() {
        return this.view.participants;
    }
    get waiting() {
        return this.view.waiting;
    }
    get mayAdmit() {
        return this.view.mayAdmit;
    }
    get restricted() {
        return this.view.restricted;
    }
    get mode() {
        return this.view.mode;
    }
    get modeWhy() {
        return this.view.modeWhy;
    }
    get up() {
        return this.view.up;
    }
    get down() {
        return this.view.down;
    }
    get consent() {
        return this.view.consent;
    }
    get canPip() {
        return this.view.canPip;
    }
}
