/** What the calls about consults and rotas put on the wire, where that is more than the names of their fields. */
import { describe, expect, test } from 'vitest';

import { Api } from '~/link/api';
import { OnCallApi } from '~/link/on-call-api';
import type { HttpAnswer, HttpRequest } from '~/link/ports';
import { FakeClock, FixedRandom } from '~/link/testing/doubles';
import { utf8 } from '~/protocol/bytes';
import type { ConsultId, MemberId, RotaId } from '~/protocol/ids';

const ROTA = 'ab'.repeat(16) as RotaId;
const CONSULT = 'cd'.repeat(16) as ConsultId;
const ANA = 'ef'.repeat(16) as MemberId;
const ANSWER = {
    id: ROTA,
    label: 'Night',
    rotations: [],
    overrides: [],
    absences: [],
    owners: [],
    fallback: null,
    created_ms: 0,
    ended_ms: 0,
    revision: 2,
};

function server(body: object, status = 200) {
    const asked: HttpRequest[] = [];
    const exchange = (request: HttpRequest): Promise<HttpAnswer> => {
        asked.push(request);
        return Promise.resolve({ status, header: () => null, body: utf8(JSON.stringify(body)) });
    };
    const tokens = { token: () => Promise.resolve('t'), renew: () => Promise.resolve('t') };
    const api = new Api({ exchange }, new FakeClock(), new FixedRandom(0), tokens);
    return { api: new OnCallApi(api), asked, text: () => new TextDecoder().decode(asked[0]?.body) };
}

describe('a rota', () => {
    test("keeps the names of a calendar file as they are, which are nobody's fields", async () => {
        const { api, asked, text } = server(ANSWER);
        await api.importCalendar(ROTA, 1, 'BEGIN:VCALENDAR', { 'mailto:AnaB@x.org': ANA, 'Dr. Lee': ANA });
        expect(asked[0]?.path).toBe(`/v1/rotas/${ROTA}/import`);
        expect(JSON.parse(text())).toEqual({
            revision: 1,
            ics: 'BEGIN:VCALENDAR',
            members: { 'mailto:AnaB@x.org': ANA, 'Dr. Lee': ANA },
        });
    });

    test('is read with its shifts', async () => {
        const span = { from_ms: 1, until_ms: 2, member: null, why: 'gap' };
        const { api, asked } = server({ rota: ROTA, spans: [span] });
        const { spans } = await api.schedule(ROTA, 1, 2);
        expect(spans).toEqual([{ fromMs: 1, untilMs: 2, member: null, why: 'gap' }]);
        expect(asked[0]?.path).toBe(`/v1/rotas/${ROTA}/schedule?from_ms=1&until_ms=2`);
    });
});

describe('an answer about a consult', () => {
    test('of a state that is not known is refused, not guessed at', async () => {
        const { api } = server({ id: CONSULT, state: 'dreaming' });
        await expect(api.consult(CONSULT)).rejects.toMatchObject({ code: 'unsupported' });
    });

    test('to an action names the channel only where one is named', async () => {
        const { api, asked, text } = server({ code: 'forbidden', number: 301 }, 403);
        await expect(api.act(CONSULT, 'accept')).rejects.toMatchObject({ told: true });
        expect(JSON.parse(text())).toEqual({ kind: 'accept' });
        expect(asked).toHaveLength(1);
    });
});
