/** On call, paging and the consult: the engine's part (spec 08). */
import type { OnCallCommands } from '../on-call';
import { EngineFailure } from './errors';
import type { Work } from './work';

const nowhere = (): Promise<never> => Promise.reject(new EngineFailure('not_found'));

export class OnCallWork implements OnCallCommands {
    constructor(protected readonly work: Work) {}

    readonly requestConsult = nowhere;
    readonly sendAgain = nowhere;
    readonly actOnConsult = nowhere;
    readonly recommend = nowhere;
    readonly readBack = nowhere;
    readonly openSide = nowhere;
    readonly onCall = nowhere;
    readonly phoneTree = nowhere;
    readonly duty = nowhere;
    readonly setDuty = nowhere;
    readonly testPage = nowhere;
    readonly pagePaths = nowhere;
    readonly rotas = nowhere;
    readonly schedule = nowhere;
    readonly createRota = nowhere;
    readonly changeRota = nowhere;
    readonly endRota = nowhere;
    readonly importCalendar = nowhere;
    readonly createFeed = nowhere;
    readonly endFeeds = nowhere;
    readonly ladders = nowhere;
    readonly createLadder = nowhere;
    readonly changeLadder = nowhere;
    readonly figures = nowhere;
    readonly figuresCsv = nowhere;
}
