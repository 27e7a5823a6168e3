/** What stands on the stage: a state of the world under a name, the screen that shows it, and what is tapped first. */
import type { CallView } from '~/model/call/call';
import type { ChannelId, EngineEvent, Row, Snapshot } from '~/model/engine';
import type { Enrolment, SignIn } from '~/model/fragment';
import type { GuestState } from '~/model/guest/visit';
import type { Handset, Lack } from '~/model/handset';
import type {
    DutyView,
    FiguresView,
    GuestView,
    LadderView,
    OnCallView,
    PagePath,
    Phone,
    RotaView,
    Span,
} from '~/model/on-call';

/** The night of every scene: 2026-11-28, 02:14 UTC. */
export const nightMs = Date.UTC(2026, 10, 28, 2, 14);
export const minutesAgo = (n: number): number => nightMs - n * 60_000;

export const GUEST_LINK =
    'https://leeside.example.org/guest#K7QX-22MD-9F4T-HN3C.q1J7mXbE0kYwT5rV3uZc8sLdN2fGhP4aQ6eR9tKyW_o';

/** What the server would say of who is on call; what is not here never comes. */
export interface OnCallScene {
    readonly onCall?: OnCallView;
    readonly duty?: DutyView;
    readonly phones?: readonly Phone[];
    readonly paths?: readonly PagePath[];
    readonly rotas?: readonly RotaView[];
    readonly spans?: readonly Span[];
    readonly ladders?: readonly LadderView[];
    readonly figures?: FiguresView;
    readonly guests?: readonly GuestView[];
}

export interface Scene {
    /** Names its picture: `home`, `chat-offline`. */
    readonly name: string;
    /** Behind the `#`. */
    readonly path?: string;
    readonly snapshot: Snapshot;
    readonly rows?: ReadonlyMap<ChannelId, readonly Row[]>;
    /** What happens after the snapshot. */
    readonly events?: readonly EngineEvent[];
    /** The engine's kept notes: drafts, telephone numbers. */
    readonly kept?: Readonly<Record<string, string>>;
    readonly handset?: Partial<Handset>;
    readonly enrolment?: Enrolment;
    /** What the agency's own sign-in brought back. */
    readonly signIn?: SignIn;
    readonly unfit?: readonly Lack[];
    readonly otherTab?: boolean;
    /** The page of a guest, in place of the client. */
    readonly guest?: GuestState;
    /** Made when it is shown: pictures are drawn then. */
    readonly call?: () => Partial<CallView>;
    /** `history` never answers, or fails. */
    readonly history?: 'never' | 'fails';
    readonly oncall?: OnCallScene;
    /** Every command fails with this code. */
    readonly failing?: string;
    /**
     * Buttons, links and fields to tap before the picture, by CSS selector; `key:x` presses a key, `file:x` chooses a picture,
     * `wait:700` lets time pass.
     */
    readonly taps?: readonly string[];
    /** What must not stand there, by CSS selector: e2e/axe.mjs looks. */
    readonly without?: string;
    /** Pictured on a desk, 1440 by 900, and not on a phone. */
    readonly wide?: boolean;
}
