import { expect, test } from 'vitest';
import { isRootKey, readEnrolment, readFragment } from './fragment';

const root = 'ab'.repeat(32);

test('a link to enrol carries code, root key and, for one device, the authority seed', () => {
    expect(readFragment(`#enrol=K7QX-22&root=${root}`)).toEqual({
        kind: 'enrol',
        enrolment: { code: 'K7QX-22', root, authoritySeed: '', shiftUntilMs: 0 },
    });
    expect(readFragment(`#enrol=c&root=${root}&authority=00ff`)).toMatchObject({
        enrolment: { authoritySeed: '00ff' },
    });
    expect(readFragment(`#enrol=c&root=${root}&shift=1800000000000`)).toMatchObject({
        enrolment: { shiftUntilMs: 1_800_000_000_000 },
    });
    expect(readFragment(`#enrol=c&root=${root}&shift=soon`)).toMatchObject({
        enrolment: { shiftUntilMs: 0 },
    });
});

test('a root key that is not one is none: the person is asked for it', () => {
    expect(readFragment('#enrol=c&root=abc')).toMatchObject({ enrolment: { code: 'c', root: '' } });
});

test.each([
    ['', []],
    ['#', []],
    ['#/channel/00ff', ['channel', '00ff']],
    ['#unknown=1', []],
])('%s is a route', (hash, path) => {
    expect(readFragment(hash)).toEqual({ kind: 'route', path });
});

test('what an agency sign-in brought back: a ticket, or why there is none', () => {
    expect(readFragment('#oidc=t-1_x')).toEqual({
        kind: 'sign_in',
        signIn: { kind: 'ticket', ticket: 't-1_x' },
    });
    for (const why of ['refused', 'unknown', 'expired', 'unavailable']) {
        expect(readFragment(`#oidc_error=${why}`)).toEqual({
            kind: 'sign_in',
            signIn: { kind: 'failed', why },
        });
    }
    expect(readFragment('#oidc_error=<b>later</b>')).toMatchObject({ signIn: { why: 'refused' } });
    expect(readFragment('#oidc=')).toEqual({ kind: 'route', path: [] });
});

test('what a person pasted: the link, its fragment, or a code alone', () => {
    const whole = { code: 'K7QX', root, authoritySeed: '', shiftUntilMs: 0 };
    expect(readEnrolment(` https://relay.example/#enrol=K7QX&root=${root} `)).toEqual(whole);
    expect(readEnrolment(`enrol=K7QX&root=${root}`)).toEqual(whole);
    expect(readEnrolment('K7QX 22AB')).toEqual({
        code: 'K7QX22AB',
        root: '',
        authoritySeed: '',
        shiftUntilMs: 0,
    });
    expect(readEnrolment('hello, world!')).toBeNull();
    expect(readEnrolment('')).toBeNull();
});

test('a root key may be typed in groups', () => {
    expect(isRootKey('AB '.repeat(32))).toBe(true);
    expect(isRootKey('ab'.repeat(31))).toBe(false);
});
