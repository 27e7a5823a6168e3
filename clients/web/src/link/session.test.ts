import { describe, expect, test } from 'vitest';
import { Api } from '~/link/api';
import { ApiError, Unreachable } from '~/link/errors';
import { FRESH_MS, type KeptSession, Session, type SessionShelf } from '~/link/session';
import { type Asked, FakeClock, FakeHttp, FixedRandom, unbase64 } from '~/link/testing/doubles';
import { pae, toHex, utf8 } from '~/protocol/bytes';
import { asId, type DeviceId, idBytes } from '~/protocol/ids';

const DEVICE = asId<DeviceId>('ab'.repeat(16));
const NONCE = new Uint8Array(16).fill(3);
type Given = ConstructorParameters<typeof FakeHttp>[0];

class Shelf implements SessionShelf {
    kept: KeptSession | null = null;

    load(): Promise<KeptSession | null> {
        return Promise.resolve(this.kept);
    }

    keep(session: KeptSession | null): Promise<void> {
        this.kept = session;
        return Promise.resolve();
    }
}

/** A server that numbers its tokens, ends a session whose secret comes twice, and may be made to misbehave. */
function server(clock: FakeClock, meddle: (asked: Asked) => ReturnType<Given> | null = () => null) {
    let issued = 0;
    const spent = new Set<unknown>();
    const tokens = () => {
        issued += 1;
        return {
            status: 201,
            json: {
                token: `token-${issued}`,
                tokenUntilMs: clock.nowMs() + 300_000,
                refresh: `secret-${issued}`,
                refreshUntilMs: clock.nowMs() + 30 * 86_400_000,
                agency: DEVICE,
                member: DEVICE,
                device: DEVICE,
                roles: ['responder', 'a role of the future'],
            },
        };
    };
    return new FakeHttp((asked) => {
        const meddled = meddle(asked);
        if (meddled !== null) return meddled;
        switch (`${asked.method} ${asked.path}`) {
            case 'GET /v1/server':
                return { status: 200, json: { version: '1', subprotocols: [], generation: 1, serverMs: 1 } };
            case 'POST /v1/challenges':
                return { status: 201, json: { nonce: NONCE, expiresMs: 1 } };
            case 'POST /v1/sessions':
                return tokens();
            case 'POST /v1/sessions/refresh': {
                const secret = asked.json['refresh'];
                if (spent.has(secret)) return { status: 401, json: { code: 'unauthenticated', number: 305 } };
                spent.add(secret);
                return tokens();
            }
            case 'DELETE /v1/sessions/current':
                return { status: 204 };
            default:
                return { status: 404, json: { code: 'not_found', number: 301 } };
        }
    });
}

function device(meddle?: (asked: Asked) => ReturnType<Given> | null) {
    const clock = new FakeClock();
    const http = server(clock, meddle);
    const shelf = new Shelf();
    const api = new Api(http, clock, new FixedRandom(0));
    const open = () => new Session(api, DEVICE, (data) => Promise.resolve(data), shelf, clock);
    return { clock, http, shelf, open, session: open() };
}

describe('a session', () => {
    test('signs in with the device key, once for all who ask at the same time', async () => {
        const { http, session } = device();
        const tokens = await Promise.all([session.token(), session.token(), session.renew('')]);
        expect(new Set(tokens)).toEqual(new Set(['token-1']));
        expect(http.paths('/v1/sessions')).toHaveLength(1);
        // The double's signature is what was signed.
        const signed = unbase64(http.paths('/v1/sessions')[0]?.json['signature']);
        expect(toHex(signed)).toBe(toHex(pae(utf8('leeside1 session'), NONCE, idBytes(DEVICE))));
    });

    test('spends a refresh secret once, whoever asks', async () => {
        const { clock, http, session } = device();
        await session.token();
        await clock.pass(FRESH_MS);
        const tokens = await Promise.all([session.token(), session.token(), session.renew('token-1')]);
        expect(new Set(tokens)).toEqual(new Set(['token-2']));
        expect(http.paths('/v1/sessions/refresh')).toHaveLength(1);
        expect(await session.renew('token-2')).toBe('token-3');
    });

    test('outlives a reload', async () => {
        const { clock, http, session, open } = device();
        await session.token();
        expect(await open().token()).toBe('token-1');
        await clock.pass(FRESH_MS);
        expect(await open().token()).toBe('token-2');
        expect(http.paths('/v1/sessions')).toHaveLength(1);
    });

    test('keeps its secret without a network, and drops it when the answer was lost', async () => {
        let network: 'up' | 'down' | 'loses' = 'up';
        const { clock, shelf, session } = device((asked) => {
            if (network === 'down') return 'lost';
            return network === 'loses' && asked.path.endsWith('/refresh') ? 'lost' : null;
        });
        await session.token();
        await clock.pass(FRESH_MS);
        network = 'down';
        const refused = expect(session.token()).rejects.toBeInstanceOf(Unreachable);
        await clock.pass(60_000);
        await refused;
        expect(shelf.kept?.refresh).toBe('secret-1');
        network = 'loses';
        await expect(session.token()).rejects.toBeInstanceOf(Unreachable);
        expect(shelf.kept).toMatchObject({ token: 'token-1', refresh: '', refreshUntilMs: 0 });
        network = 'up';
        expect(await session.token()).toBe('token-2');
    });

    test('signs in anew when the server does not take the secret', async () => {
        const { clock, http, session, shelf, open } = device();
        await session.token();
        const old = shelf.kept;
        await session.renew('token-1');
        shelf.kept = old;
        await clock.pass(FRESH_MS);
        expect(await open().token()).toBe('token-3');
        expect(http.paths('/v1/sessions')).toHaveLength(2);
    });

    test('asks for the person where the agency wants it, and takes the proof for the same nonce', async () => {
        let proofs = 0;
        const { http, session, shelf } = device((asked) => {
            if (asked.path === '/v1/sessions/options') {
                return { status: 200, json: { by: 'passkey', purpose: 'sign_in', options: '{}' } };
            }
            if (asked.path !== '/v1/sessions') return null;
            if (asked.json['person'] === undefined) {
                const refusal = { code: 'unauthenticated', number: 305, detail: 'person', person: 'passkey' };
                return { status: 401, json: refusal };
            }
            proofs += 1;
            return null;
        });
        await expect(session.token()).rejects.toMatchObject({ code: 'unauthenticated', person: 'passkey' });
        const options = await session.personOptions();
        expect(options).toMatchObject({ by: 'passkey', purpose: 'sign_in' });
        const challenges = http.paths('/v1/challenges').length;
        await session.showPerson({ passkey: '{"id":"x"}' });
        expect(http.paths('/v1/challenges')).toHaveLength(challenges);
        expect(proofs).toBe(1);
        expect(await session.token()).toBe('token-1');
        expect(shelf.kept?.personUntilMs).toBe(0);
    });

    test.each([
        [308, 'revoked'],
        [204, 'pending'],
        [103, 'rate_limited'],
    ])('%i is told and not worked around', async (number, code) => {
        const { clock, http, session } = device((asked) =>
            asked.path.endsWith('/refresh') ? { status: 403, json: { code, number } } : null,
        );
        await session.token();
        await clock.pass(FRESH_MS);
        await expect(session.token()).rejects.toMatchObject({ code });
        expect(http.paths('/v1/sessions')).toHaveLength(1);
    });

    test('ends here whether or not the server can be told', async () => {
        const { http, session, shelf } = device((asked) =>
            asked.method === 'DELETE' ? { status: 403, json: { code: 'forbidden', number: 302 } } : null,
        );
        await session.token();
        await expect(session.signOut()).rejects.toBeInstanceOf(ApiError);
        expect(shelf.kept).toBeNull();
        expect(http.asked.at(-1)?.token).toBe('token-1');
        await session.signOut();
        expect(http.paths('/v1/sessions/current')).toHaveLength(1);
    });
});
