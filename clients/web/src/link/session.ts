/**
 * Signing in, and staying signed in: a `TokenSource` over a device's key.
 *
 * A session's refresh secret serves once, and a second use ends the session. So concurrent callers share one refresh, the
 * secret is kept in the vault, and it is spent only after the server answered something harmless: a device without a
 * network keeps it. Whatever happens to a session, the device's key opens another one; only a revoked or pending
 * device is told so.
 */

import type { Api, SignIn, TokenSource } from '~/link/api';
import { ApiError, Unreachable } from '~/link/errors';
import type { Clock } from '~/link/ports';
import { type Bytes, pae, utf8 } from '~/protocol/bytes';
import { WireError } from '~/protocol/errors';
import { type DeviceId, idBytes } from '~/protocol/ids';
import { TOKEN_TTL_S } from '~/protocol/limits';
import type { PersonOptions, PersonProof, SessionTokens } from '~/protocol/resources';

/** How long a token is used without asking: by this device's clock since it came, so that clocks may differ. */
export const FRESH_MS = (TOKEN_TTL_S - 45) * 1000;
/** Refusals that signing in anew cannot help. */
const FINAL: ReadonlySet<number> = new Set([WireError.revoked, WireError.pending, WireError.rate_limited]);

/** The device's Ed25519 signature. */
export type Sign = (data: Bytes) => Promise<Bytes>;

/** What outlives a reload. */
export interface KeptSession {
    readonly token: string;
    readonly freshUntilMs: number;
    /** Empty when its answer was lost: then it may be spent. */
    readonly refresh: string;
    readonly refreshUntilMs: number;
    /** Until when the person's proof counts, by the server's clock; 0 where the device's key is enough. */
    readonly personUntilMs: number;
}

/** Where it is kept; null: no session. On disk when `keep` resolves. */
export interface SessionShelf {
    load(): Promise<KeptSession | null>;
    keep(session: KeptSession | null): Promise<void>;
}

/** One device's session. `api` works without tokens. One `Session` per device at a time: its shelf is not shared. */
export class Session implements TokenSource {
    readonly #api: Api;
    readonly #device: DeviceId;
    readonly #sign: Sign;
    readonly #shelf: SessionShelf;
    readonly #clock: Clock;
    #kept: KeptSession | null = null;
    #loaded = false;
    #personUntilMs = 0;
    /** What the person's options were made for. */
    #asked: SignIn | null = null;
    /** The last change, successful or not: the next one waits for it. */
    #turn: Promise<unknown> = Promise.resolve();

    constructor(api: Api, device: DeviceId, sign: Sign, shelf: SessionShelf, clock: Clock) {
        this.#api = api;
        this.#device = device;
        this.#sign = sign;
        this.#shelf = shelf;
        this.#clock = clock;
    }

    /** A token that should be good for some seconds more; rejects with `ApiError`. */
    async token(): Promise<string> {
        if (this.#fresh()) return this.#kept?.token ?? '';
        return this.#inTurn(() => this.#obtain(''));
    }

    /** Another token than `stale`, which the server refused. */
    renew(stale: string): Promise<string> {
        return this.#inTurn(() => this.#obtain(stale));
    }

    /**
     * Until when the person's proof counts, by the server's clock; 0 where nobody asks. A session that ended for another
     * reason takes nothing from it: the server asks by itself.
     */
    get personUntilMs(): number {
        return this.#personUntilMs;
    }

    /** Whether a session stands on the shelf; from then on `personUntilMs` is right. */
    stands(): Promise<boolean> {
        return this.#inTurn(async () => {
            await this.#load();
            return this.#kept !== null;
        });
    }

    /** What shows the person at this device. The answer serves for a minute, and for the next `showPerson` alone. */
    personOptions(): Promise<PersonOptions> {
        return this.#inTurn(async () => {
            const signed = await this.#signed();
            const options = await this.#api.personOptions(signed);
            this.#asked = signed;
            return options;
        });
    }

    /** Open a session with the person's proof, in place of the one there is. */
    showPerson(proof: PersonProof): Promise<void> {
        return this.#inTurn(async () => {
            const signed = this.#asked ?? (await this.#signed());
            this.#asked = null;
            await this.#take(await this.#api.signIn({ ...signed, person: proof }));
        });
    }

    /** End the session here and on the server; quietly when there is none. Here it has ended even when it rejects. */
    signOut(): Promise<void> {
        return this.#inTurn(async () => {
            await this.#load();
            const kept = this.#kept;
            await this.#keep(null);
            if (kept === null) return;
            try {
                await this.#api.with(only(kept.token)).signOut();
            } catch (error) {
                // A token that is over cannot end its session; the session itself ends with its refresh secret.
                const over = error instanceof ApiError && OVER.has(error.number);
                if (!over) throw error;
            }
        });
    }

    #fresh(): boolean {
        return this.#kept !== null && this.#clock.nowMs() < this.#kept.freshUntilMs;
    }

    #inTurn<T>(act: () => Promise<T>): Promise<T> {
        const result = this.#turn.then(act, act);
        this.#turn = result.catch(() => undefined);
        return result;
    }

    async #obtain(stale: string): Promise<string> {
        await this.#load();
        const kept = this.#kept;
        if (kept !== null && this.#fresh() && kept.token !== stale) return kept.token;
        if (kept !== null && this.#clock.nowMs() < kept.refreshUntilMs) {
            const renewed = await this.#refresh(kept);
            if (renewed !== null) return renewed;
        }
        try {
            return await this.#signIn();
        } catch (error) {
            // Then what is left of the last session shows nobody any more.
            if (error instanceof ApiError && error.person !== null) await this.#keep(null);
            throw error;
        }
    }

    async #refresh(kept: KeptSession): Promise<string | null> {
        // A browser cannot tell "never sent" from "answer lost", and a secret whose answer was lost is spent.
        await this.#api.server();
        try {
            return await this.#take(await this.#api.refresh(kept.refresh));
        } catch (error) {
            if (!(error instanceof ApiError)) throw error;
            if (error instanceof Unreachable && !error.sent) throw error;
            // The secret may be spent, and a second use would look like a thief's: it is not used again. Unless a server
            // said so the session may stand all the same, and who showed themselves need not do so again without a link.
            const isOver = error.told && !error.mayRetry;
            await this.#keep(isOver ? null : { ...kept, refresh: '', refreshUntilMs: 0 });
            if (FINAL.has(error.number) || error.mayRetry) throw error;
            return null;
        }
    }

    async #signIn(): Promise<string> {
        return this.#take(await this.#api.signIn(await this.#signed()));
    }

    async #signed(): Promise<SignIn> {
        const { nonce } = await this.#api.challenge(this.#device);
        const signature = await this.#sign(pae(utf8('leeside1 session'), nonce, idBytes(this.#device)));
        return { device: this.#device, nonce, signature };
    }

    async #take(tokens: SessionTokens): Promise<string> {
        await this.#keep({
            token: tokens.token,
            freshUntilMs: this.#clock.nowMs() + FRESH_MS,
            refresh: tokens.refresh,
            refreshUntilMs: tokens.refreshUntilMs,
            personUntilMs: tokens.personUntilMs,
        });
        return tokens.token;
    }

    async #load(): Promise<void> {
        if (this.#loaded) return;
        const kept = await this.#shelf.load();
        this.#loaded = true;
        this.#kept = kept;
        this.#personUntilMs = kept?.personUntilMs ?? 0;
    }

    async #keep(session: KeptSession | null): Promise<void> {
        this.#kept = session;
        this.#loaded = true;
        if (session !== null) this.#personUntilMs = session.personUntilMs;
        await this.#shelf.keep(session);
    }
}

const OVER: ReadonlySet<number> = new Set([WireError.token_expired, WireError.unauthenticated]);

/** One token and no other: for the last request of a session. */
function only(token: string): TokenSource {
    return {
        token: () => Promise.resolve(token),
        renew: () => Promise.reject(new ApiError({ number: WireError.token_expired })),
    };
}
