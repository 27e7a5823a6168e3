/** The engine's worker: sealing and storage here, so that they never hold up a finger. The page speaks to it by comlink. */
import { expose } from 'comlink';

import { Commands } from '~/model/engine/commands';
import { systemClock, systemRandom } from '~/platform/clock';
import { BrowserDialer } from '~/platform/dialer';
import { BrowserHttp } from '~/platform/http';
import { BrowserStore } from '~/platform/local-store';

const { origin } = self.location;

expose(
    new Commands({
        clock: systemClock,
        random: systemRandom,
        http: new BrowserHttp(origin),
        dialer: new BrowserDialer(origin),
        store: new BrowserStore(),
        origin,
    }),
);
