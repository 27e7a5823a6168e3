import { expect, test } from 'vitest';

import type { MemberId } from '~/protocol/ids';

import { certificateFor } from './certificates';

const NOW_MS = 1_800_000_000_000;
const device = { public: new Uint8Array(32).fill(7), member: '0a'.repeat(16) as MemberId };
const member = { roles: ['responder'], discipline: 'clinician' } as const;

test("a shared device's rights end with its shift, a person's own after a year", async () => {
    const shiftUntilMs = NOW_MS + 12 * 3_600_000;
    expect((await certificateFor(device, member, NOW_MS, shiftUntilMs)).notAfterMs).toBe(shiftUntilMs);
    expect((await certificateFor(device, member, NOW_MS)).notAfterMs).toBe(NOW_MS + 365 * 86_400_000);
});
