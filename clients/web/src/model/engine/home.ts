/** What all channels of one device share: its keys, its copy, its directory, the server's HTTP half, and the time. */
import type { Api } from '~/link/api';
import type { ChannelId } from '~/protocol/ids';
import type { DeviceKeys } from '~/sealing/opening/keys';

import type { AlarmKind, DeviceId } from '../engine';
import type { History, Random } from '../ports';
import type { Directories } from './directories';
import type { Life } from './life';

/** What someone may be doing. `stopsSending`: nothing is sent in this channel until a person decided. */
export interface Alarm {
    readonly channel: ChannelId | null;
    readonly kind: AlarmKind;
    readonly code: string;
    readonly stopsSending: boolean;
    readonly device?: DeviceId;
}

export interface Home {
    readonly api: Api;
    readonly history: History;
    readonly keys: DeviceKeys;
    readonly directories: Directories;
    readonly random: Random;
    readonly life: Life;
    /** The server's time, as the link last told it: device clocks are wrong. */
    readonly nowMs: () => number;
    readonly report: (alarm: Alarm) => void;
}
