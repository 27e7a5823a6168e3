/** The commands of `OnCallCommands`, handed to what holds them while a device works. */
import type { OnCallCommands } from '../on-call';

type Of<Name extends keyof OnCallCommands> = OnCallCommands[Name];

export abstract class OnCallDoor implements OnCallCommands {
    /** Lets `act` at what is at hand; every failure leaves as `EngineFailure`. */
    protected abstract onCallHands<T>(act: (hands: OnCallCommands) => Promise<T>): Promise<T>;

    readonly requestConsult: Of<'requestConsult'> = (...asked) =>
        this.onCallHands((hands) => hands.requestConsult(...asked));
    readonly sendAgain: Of<'sendAgain'> = (...asked) =>
        this.onCallHands((hands) => hands.sendAgain(...asked));
    readonly actOnConsult: Of<'actOnConsult'> = (...asked) =>
        this.onCallHands((hands) => hands.actOnConsult(...asked));
    readonly sawConsult: Of<'sawConsult'> = (...asked) =>
        this.onCallHands((hands) => hands.sawConsult(...asked));
    readonly recommend: Of<'recommend'> = (...asked) =>
        this.onCallHands((hands) => hands.recommend(...asked));
    readonly readBack: Of<'readBack'> = (...asked) => this.onCallHands((hands) => hands.readBack(...asked));
    readonly openSide: Of<'openSide'> = (...asked) => this.onCallHands((hands) => hands.openSide(...asked));
    readonly inviteGuest: Of<'inviteGuest'> = (...asked) =>
        this.onCallHands((hands) => hands.inviteGuest(...asked));
    readonly guests: Of<'guests'> = (...asked) => this.onCallHands((hands) => hands.guests(...asked));
    readonly letGuestIn: Of<'letGuestIn'> = (...asked) =>
        this.onCallHands((hands) => hands.letGuestIn(...asked));
    readonly endGuest: Of<'endGuest'> = (...asked) => this.onCallHands((hands) => hands.endGuest(...asked));
    readonly onCall: Of<'onCall'> = (...asked) => this.onCallHands((hands) => hands.onCall(...asked));
    readonly phoneTree: Of<'phoneTree'> = (...asked) =>
        this.onCallHands((hands) => hands.phoneTree(...asked));
    readonly duty: Of<'duty'> = (...asked) => this.onCallHands((hands) => hands.duty(...asked));
    readonly setDuty: Of<'setDuty'> = (...asked) => this.onCallHands((hands) => hands.setDuty(...asked));
    readonly testPage: Of<'testPage'> = (...asked) => this.onCallHands((hands) => hands.testPage(...asked));
    readonly pagePaths: Of<'pagePaths'> = (...asked) =>
        this.onCallHands((hands) => hands.pagePaths(...asked));
    readonly rotas: Of<'rotas'> = (...asked) => this.onCallHands((hands) => hands.rotas(...asked));
    readonly schedule: Of<'schedule'> = (...asked) => this.onCallHands((hands) => hands.schedule(...asked));
    readonly createRota: Of<'createRota'> = (...asked) =>
        this.onCallHands((hands) => hands.createRota(...asked));
    readonly changeRota: Of<'changeRota'> = (...asked) =>
        this.onCallHands((hands) => hands.changeRota(...asked));
    readonly endRota: Of<'endRota'> = (...asked) => this.onCallHands((hands) => hands.endRota(...asked));
    readonly importCalendar: Of<'importCalendar'> = (...asked) =>
        this.onCallHands((hands) => hands.importCalendar(...asked));
    readonly createFeed: Of<'createFeed'> = (...asked) =>
        this.onCallHands((hands) => hands.createFeed(...asked));
    readonly endFeeds: Of<'endFeeds'> = (...asked) => this.onCallHands((hands) => hands.endFeeds(...asked));
    readonly ladders: Of<'ladders'> = (...asked) => this.onCallHands((hands) => hands.ladders(...asked));
    readonly createLadder: Of<'createLadder'> = (...asked) =>
        this.onCallHands((hands) => hands.createLadder(...asked));
    readonly changeLadder: Of<'changeLadder'> = (...asked) =>
        this.onCallHands((hands) => hands.changeLadder(...asked));
    readonly skills: Of<'skills'> = (...asked) => this.onCallHands((hands) => hands.skills(...asked));
    readonly setSkills: Of<'setSkills'> = (...asked) =>
        this.onCallHands((hands) => hands.setSkills(...asked));
    readonly figures: Of<'figures'> = (...asked) => this.onCallHands((hands) => hands.figures(...asked));
    readonly figuresCsv: Of<'figuresCsv'> = (...asked) =>
        this.onCallHands((hands) => hands.figuresCsv(...asked));
}
