/** Consent to a call between engines, over the double of the server. Spec 09, "Bodies". */
import { afterEach, beforeEach, expect, test } from 'vitest';

import type { ConsentDraft, ConsentView } from '~/model/call/call';
import type { ChannelId, ConsultId } from '~/protocol/ids';

import { ConsultTown, viewOf } from './consult-town';
import type { Person } from './people';

let place: ConsultTown;
let consult: ConsultId;
let channel: ChannelId;

beforeEach(async () => {
    place = await ConsultTown.create();
    agreed = draft();
    consult = await place.asked();
    await place.dr.engine.actOnConsult(consult, 'accept');
    await place.town.until(() => viewOf(place.rosa, consult)?.acceptedBy === place.dr.member, 'who comes');
    channel =
        viewOf(place.rosa, consult)?.channel ??
        (() => {
            throw new Error('no channel');
        })();
});

afterEach(async () => {
    await place.stop();
});

let agreed: ConsentDraft;
const draft = (): ConsentDraft => ({
    by: 'person',
    scope: 'This call, with picture.',
    purpose: 'Advice tonight.',
    recipients: ['psychiatrist'],
    expiresMs: place.town.clock.nowMs() + 3_600_000,
    method: 'spoken',
    capacity: '',
    interpreter: false,
    reason: '',
});

const consentOf = (person: Person): ConsentView | null =>
    person.of('consent').findLast((told) => told.channel === channel)?.consent ?? null;

test('is read by all, until it is withdrawn by anybody', async () => {
    const { rosa, dr, town } = place;
    await rosa.engine.recordConsent(consult, agreed);
    await town.until(() => consentOf(dr) !== null && consentOf(rosa) !== null, 'the consent');
    expect(consentOf(dr)).toMatchObject({
        ...agreed,
        member: rosa.member,
        state: 'in_force',
        withdrawnMs: 0,
    });
    expect(dr.of('row').some(({ row }) => row.kind === 'consent' && row.consent.by === 'person')).toBe(true);

    await dr.engine.withdrawConsent(consult);
    await town.until(() => consentOf(rosa)?.state === 'withdrawn', 'its end');
    await rosa.engine.recordConsent(consult, { ...agreed, by: 'emergency', reason: 'Cannot be asked.' });
    await town.until(() => consentOf(dr)?.by === 'emergency', 'a newer one');
    expect(consentOf(dr)?.state).toBe('in_force');
});

test('an emergency without its reason is refused to who records it', async () => {
    const refused = place.rosa.engine.recordConsent(consult, { ...agreed, by: 'emergency' });
    await expect(refused).rejects.toThrow();
});

test('is said again to who comes later, and cannot read what was before', async () => {
    const { rosa, second, town } = place;
    await rosa.engine.recordConsent(consult, agreed);
    await town.until(() => consentOf(rosa) !== null, 'the consent');
    const first = consentOf(rosa)?.id;
    await rosa.engine.remove(channel, [second.member]);
    await rosa.engine.admit(channel, [second.member]);
    const isNewer = () => consentOf(second) !== null && consentOf(second)?.id !== first;
    await town.until(isNewer, 'the consent, for who came later');
    expect(consentOf(second)).toMatchObject(agreed);
});
