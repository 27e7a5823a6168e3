/**
 * The person at the device, where an agency asks for one: a passkey, or the agency's own sign-in. Spec chapter 02, "The
 * person".
 *
 * While the proof is wanted the screen shows nothing but that; what arrives goes on arriving, and what is urgent sounds.
 */
import { ApiError } from '~/link/errors';
import type { Api, TokenSource } from '~/link/api';
import type { Session } from '~/link/session';
import { WireError } from '~/protocol/errors';
import type { PersonProof } from '~/protocol/resources';

import { EngineFailure } from './errors';

export type Purpose = 'register' | 'sign_in';

/** What the person's proof has to do with the rest of the engine. */
export interface PersonHost {
    /** The session of an enrolled device. Fails while there is none. */
    readonly session: Session;
    /** The server, asked as this device. */
    readonly api: Api;
    /** The server, asked as nobody. */
    readonly openApi: Api;
    /** The proof is wanted, and nothing but it is shown. */
    readonly isWanted: boolean;
    /** The person showed who they are. */
    shown(): Promise<void>;
}

export class PersonAtDevice {
    constructor(private readonly host: PersonHost) {}

    /** What the browser is to be asked with. `conflict`: the server wants the other purpose. */
    async options(purpose: Purpose): Promise<unknown> {
        if (!this.host.isWanted) {
            if (purpose === 'sign_in') throw new EngineFailure('conflict');
            return JSON.parse(await this.host.api.passkeyOptions());
        }
        const options = await this.host.session.personOptions().catch(notThisOne);
        if (options.purpose !== purpose) throw new EngineFailure('conflict');
        return JSON.parse(options.options);
    }

    async answer(purpose: Purpose, answer: unknown): Promise<void> {
        const credential = JSON.stringify(answer);
        if (!this.host.isWanted) {
            await this.host.api.addPasskey(credential);
            return;
        }
        await this.show(purpose === 'register' ? { newPasskey: credential } : { passkey: credential });
    }

    async ticket(ticket: string): Promise<void> {
        await this.show({ ticket });
    }

    /** A one-time code for this browser, which is no device yet. */
    async enrolment(ticket: string): Promise<string> {
        const { code } = await this.host.openApi.enrolmentByTicket(ticket).catch(notThisOne);
        return code;
    }

    private async show(proof: PersonProof): Promise<void> {
        await this.host.session.showPerson(proof).catch(notThisOne);
        await this.host.shown();
    }
}

/** Tokens of a session, where somebody hears that the server wants the person. */
export function watched(session: Session, wanted: (by: 'passkey' | 'oidc') => void): TokenSource {
    const look = (error: unknown): never => {
        if (error instanceof ApiError && error.person !== null && error.person !== 'device') {
            wanted(error.person);
        }
        throw error;
    };
    return {
        token: () => session.token().catch(look),
        renew: (stale) => session.renew(stale).catch(look),
    };
}

function notThisOne(error: unknown): never {
    const refused =
        error instanceof ApiError &&
        (error.number === WireError.unauthenticated || error.number === WireError.forbidden);
    throw refused ? new EngineFailure('wrong_person') : error;
}
