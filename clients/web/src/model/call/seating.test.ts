import { describe, expect, test } from 'vitest';

import { deviceId } from '~/model/sample';
import { byPlace, type CallPerson } from './call';
import { hasConsent, isInside, isUnderWay, linesFor, linkWord, seating } from './seating';

const one = (n: number, change: Partial<CallPerson> = {}): CallPerson => ({
    device: deviceId(n),
    member: null,
    part: 'responder',
    sinceMs: n,
    person: false,
    signs: false,
    audioMuted: false,
    videoMuted: false,
    paused: 'flowing',
    lines: 360,
    stream: null,
    alarm: '',
    ...change,
});
const doctor = one(1, { part: 'psychiatrist' });
const signer = one(2, { part: 'interpreter', signs: true });
const speaker = one(3, { part: 'interpreter' });
const person = one(4, { person: true });
const lead = one(5, { part: 'supervisor' });
const devices = (people: readonly CallPerson[]) => people.map((x) => x.device);

describe('who is large', () => {
    test('the person in crisis, whoever came before', () => {
        const { large, small } = seating([lead, doctor, person].sort(byPlace), null);
        expect(devices(large)).toEqual([person.device]);
        expect(devices(small)).toEqual([doctor.device, lead.device]);
    });

    test('who signs too, and never small', () => {
        const { large, small } = seating([doctor, signer, person].sort(byPlace), null);
        expect(devices(large)).toEqual([person.device, signer.device]);
        expect(devices(small)).toEqual([doctor.device]);
    });

    test('who speaks for another is as the others', () => {
        expect(devices(seating([person, speaker].sort(byPlace), null).large)).toEqual([person.device]);
    });

    test('whom one brings to the front stands beside the person', () => {
        const { large } = seating([doctor, person, lead].sort(byPlace), lead.device);
        expect(devices(large)).toEqual([person.device, lead.device]);
    });

    test('nobody, where nobody is', () => {
        expect(seating([], null)).toEqual({ large: [], small: [] });
    });
});

test.each([
    [0, 1, 0],
    [100, 1, 180],
    [240, 2, 360],
    [480, 1, 360],
    [700, 3, 720],
    [4_000, 2, 720],
])('a picture %d pixels high at ratio %d is asked for in %d lines', (px, ratio, lines) => {
    expect(linesFor(px, ratio)).toBe(lines);
});

test('under way from the tap on, inside with a seat', () => {
    const phases = [
        'off',
        'testing',
        'joining',
        'waiting',
        'live',
        'reconnecting',
        'ended',
        'failed',
    ] as const;
    expect(phases.filter((phase) => isUnderWay({ phase }))).toEqual([
        'joining',
        'waiting',
        'live',
        'reconnecting',
    ]);
    expect(phases.filter((phase) => isInside({ phase }))).toEqual(['live', 'reconnecting']);
});

test('consent is what is in force, and nothing else', () => {
    expect(hasConsent({ consent: null })).toBe(false);
    const states = ['in_force', 'withdrawn', 'over'] as const;
    const given = states.filter((state) => hasConsent({ consent: { state } as never }));
    expect(given).toEqual(['in_force']);
});

test('a link has a word', () => {
    expect(([0, 1, 2, 3] as const).map(linkWord)).toEqual(['lost', 'poor', 'fair', 'good']);
});
