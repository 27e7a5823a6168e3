/** How an agency's people show themselves: its rule, and one's own passkeys. */
import { expect, test } from 'vitest';

import { Town } from './people';

test('an administrator reads the rule and changes it, and never over somebody else', async () => {
    const town = await Town.create();
    const ana = await town.person('admin');
    const rule = await ana.engine.personRule();
    expect(rule).toEqual({ by: 'device', hours: 12, revision: 1 });
    const changed = await ana.engine.setPersonRule({ ...rule, by: 'passkey', hours: 8 });
    expect(changed).toEqual({ by: 'passkey', hours: 8, revision: 2 });
    await expect(ana.engine.setPersonRule({ ...rule, by: 'oidc' })).rejects.toThrow('conflict');
    expect(town.relay.sessions.person).toBe('passkey');
    // Known from now on, also to a page that begins without a link.
    await town.until(() => ana.standing.kind === 'active' && ana.standing.me.screenLock === 'passkey');
    await ana.engine.stop();
});

test('passkeys are listed and deleted, but for the last', async () => {
    const town = await Town.create();
    const ana = await town.person('responder');
    const key = { device: ana.device, synced: true, createdMs: 5, usedMs: 0 };
    town.relay.sessions.passkeys = ['11', '22'].map((id) => ({ id: id.repeat(16), ...key }));
    const [first, second] = await ana.engine.passkeys();
    if (first === undefined || second === undefined) throw new Error('there are two');
    expect(first).toEqual({ id: '11'.repeat(16), ...key });
    await ana.engine.deletePasskey(first.id);
    expect((await ana.engine.passkeys()).map(({ id }) => id)).toEqual([second.id]);
    await expect(ana.engine.deletePasskey(second.id)).rejects.toThrow('not_permitted');
    await ana.engine.stop();
});
