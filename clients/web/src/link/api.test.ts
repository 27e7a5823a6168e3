import { describe, expect, test } from 'vitest';
import { Api, ATTEMPTS, every, type TokenSource } from '~/link/api';
import { ApiError, Unreachable } from '~/link/errors';
import { FakeClock, FakeHttp, FixedRandom } from '~/link/testing/doubles';
import { fromHex, utf8 } from '~/protocol/bytes';
import { address, asId, type BlobId, type ChannelId, type UnitId } from '~/protocol/ids';
import { pack } from '~/protocol/pack';
import { protocolFile } from '~/protocol/read-vectors';

const UNIT = asId<UnitId>('0e'.repeat(16));
const CHANNEL = asId<ChannelId>('0c'.repeat(16));
const unit = {
    id: UNIT,
    members: [],
    lead: null,
    createdMs: 1,
    endedMs: 0,
    revision: 2,
    more: 'of the future',
};

class Tokens implements TokenSource {
    readonly stale: string[] = [];
    token(): Promise<string> {
        return Promise.resolve('old');
    }
    renew(stale: string): Promise<string> {
        this.stale.push(stale);
        return Promise.resolve('new');
    }
}

function start(answer: ConstructorParameters<typeof FakeHttp>[0]) {
    const clock = new FakeClock();
    const http = new FakeHttp(answer);
    const tokens = new Tokens();
    const random = new FixedRandom(1);
    return { clock, http, tokens, random, api: new Api(http, clock, random, tokens) };
}

describe('answers', () => {
    test('are read by name, and what is newer is left out', async () => {
        const { api, http } = start(() => ({ status: 200, json: unit }));
        expect(await api.unit(UNIT)).toEqual({
            id: UNIT, members: [], lead: null, createdMs: 1, endedMs: 0, revision: 2,
        }); // prettier-ignore
        expect(http.asked[0]).toMatchObject({ method: 'GET', path: `/v1/units/${UNIT}`, token: 'old' });
    });

    test.each([
        ['a field that is missing', utf8('{"id": 1}')],
        ['no JSON', utf8('<html>')],
        ['text that is not UTF-8', fromHex('22ff22')],
    ])('%s cannot be read, and nothing of it is told', async (_, bytes) => {
        const { api } = start(() => ({ status: 200, bytes }));
        const error: unknown = await api.unit(UNIT).catch((e: unknown) => e);
        expect(error).toMatchObject({ code: 'unsupported', told: false, message: 'unsupported' });
    });

    test('signed things come byte for byte', async () => {
        const entries = [fromHex('93a0a0a0'), fromHex('c0')];
        const { api, http } = start(() => ({ status: 200, bytes: pack(entries) }));
        expect(await api.directory(7)).toEqual(entries);
        expect(http.asked[0]?.path).toBe('/v1/directory?after=7&limit=500');
        const log = address('content', CHANNEL);
        const page = start(() => ({ status: 200, bytes: pack([38, fromHex(log), 0, 9, []]) }));
        expect(await page.api.log(log)).toMatchObject({ kind: 'batch', channel: log, to: 9 });
    });

    test('of a listing are read to its end, and not for ever', async () => {
        const { api, http } = start((asked) => {
            const last = asked.path.includes('after=two');
            return {
                status: 200,
                json: { items: [unit], next: last ? '' : asked.path.includes('after=') ? 'two' : 'one' },
            };
        });
        expect(await every((after) => api.units(after))).toHaveLength(3);
        expect(http.asked).toHaveLength(3);
        await expect(
            every((after) => Promise.resolve({ items: [], next: `${after}x` })),
        ).rejects.toMatchObject({ code: 'too_large' });
    });
});

describe('refusals', () => {
    test('are told with all that the server says', async () => {
        const { api } = start(() => ({
            status: 409,
            json: { code: 'conflict', number: 201, head: 7, retryMs: 3, sealingCode: 'E_X', detail: 'first' },
        }));
        await expect(api.unit(UNIT)).rejects.toMatchObject({
            number: 201, code: 'conflict', head: 7, retryMs: 3, sealingCode: 'E_X', detail: 'first', told: true,
        }); // prettier-ignore
    });

    test.each([
        [404, 'not_found'],
        [503, 'unavailable'],
        [429, 'rate_limited'],
        [302, 'unsupported'],
    ])('of a proxy are judged by status %i alone', async (status, code) => {
        const { api } = start(() => ({
            status,
            bytes: utf8('<html>'),
            headers: { 'retry-after': '11' },
        }));
        await expect(api.unit(UNIT)).rejects.toMatchObject({ code, told: false, retryMs: 11_000 });
    });
});

describe('trying again', () => {
    const busy = { status: 503, json: { code: 'busy', number: 102, retryMs: 1_200 } };

    test('waits as long as the server asks, and ends', async () => {
        const { api, clock, http } = start(() => busy);
        const ended = expect(api.unit(UNIT)).rejects.toMatchObject({ code: 'busy' });
        await clock.pass(999);
        expect(http.asked).toHaveLength(1);
        await clock.pass(60_000);
        await ended;
        expect(http.asked).toHaveLength(ATTEMPTS);
    });

    test('never repeats what may have been done and is not recognised', async () => {
        for (const given of ['lost', busy] as const) {
            const { api, http } = start(() => given);
            await expect(api.createUnit([], null)).rejects.toBeInstanceOf(ApiError);
            expect(http.asked).toHaveLength(1);
        }
    });

    test('repeats whatever never left', async () => {
        const { api, clock, http } = start((_, times) =>
            times < 3 ? 'unsent' : { status: 201, json: unit },
        );
        const created = api.createUnit([], null);
        await clock.pass(60_000);
        expect((await created).id).toBe(UNIT);
        expect(http.asked).toHaveLength(3);
    });

    test('stops when the caller gave up', async () => {
        const { api, clock, http } = start(() => 'lost');
        const gaveUp = new AbortController();
        gaveUp.abort();
        const blob = asId<BlobId>('0b'.repeat(16));
        await expect(api.chunk(blob, 0, gaveUp.signal)).rejects.toBeInstanceOf(Unreachable);
        await clock.pass(60_000);
        expect(http.asked).toHaveLength(1);
    });

    test('renews an expired token once', async () => {
        const { api, http, tokens } = start((asked) =>
            asked.token === 'new'
                ? { status: 201, json: unit }
                : { status: 401, json: { code: 'token_expired', number: 202 } },
        );
        await api.createUnit([], null);
        expect(tokens.stale).toEqual(['old']);
        expect(http.asked.map((asked) => asked.token)).toEqual(['old', 'new']);
        const never = start(() => ({ status: 401, json: { code: 'token_expired', number: 202 } }));
        await expect(never.api.unit(UNIT)).rejects.toMatchObject({ code: 'token_expired' });
        expect(never.http.asked).toHaveLength(2);
    });
});

test('every path and method of this client is one of the server', async () => {
    const { paths } = JSON.parse(protocolFile('openapi.json')) as {
        paths: Record<string, Record<string, { responses: Record<string, unknown> }>>;
    };
    const known = Object.entries(paths).flatMap(([path, methods]) =>
        Object.keys(methods).map((method) => ({
            method: method.toUpperCase(),
            path: new RegExp(`^${path.replaceAll(/\{\w+\}/g, '[^/]+')}$`),
        })),
    );
    const { api, http } = start(() => ({ status: 418, bytes: utf8('') }));
    const names = Object.getOwnPropertyNames(Api.prototype).filter(
        (name) => !['constructor', 'call', 'with'].includes(name),
    );
    for (const name of names) {
        const operation = (api as unknown as Record<string, (...args: unknown[]) => Promise<unknown>>)[name];
        // A body that does not fit is refused before anything is asked; all else is asked.
        await Promise.resolve()
            .then(() => operation?.call(api, UNIT, {}, utf8('x')))
            .catch(() => undefined);
    }
    expect(http.asked.length).toBeGreaterThan(30);
    for (const { method, path } of http.asked) {
        const [plain = ''] = path.split('?');
        const found = known.some((one) => one.method === method && one.path.test(plain));
        expect([method, plain, found]).toEqual([method, plain, true]);
    }
});
