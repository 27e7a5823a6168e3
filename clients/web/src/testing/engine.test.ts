/** The engine as a whole: two and more of them, over one double of the server, on a clock that tests move. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import type { ChannelId, DeviceId, MessageId } from '~/protocol/ids';
import { address, asId } from '~/protocol/ids';
import { WireError } from '~/protocol/errors';

import { DETAILS, type Person, Town } from './people';

let town: Town;
let ana: Person;
let ben: Person;
let channel: ChannelId;

/** Two dispatchers in the operations channel of one incident. */
async function together(): Promise<void> {
    town = await Town.create();
    ({ ana, ben, channel } = await town.desk());
}

const logged = () => town.relay.log(address('content', channel)).filter((entry) => entry.lane === 1);

describe('a device that enrolls', () => {
    test('waits until a person approved it, and is then at work', async () => {
        const here = await Town.create();
        const eva = await here.stranger('responder');
        await here.until(() => eva.standing.kind === 'pending');
        await here.rest(10);
        expect(eva.standing).toMatchObject({ kind: 'pending' });
        if (eva.standing.kind !== 'pending') return;
        expect(eva.standing.shortCode).toMatch(/^[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{4}$/);
        // That an approval could not arrive is said when it could not, and only then.
        expect(eva.of('link').map(({ link }) => link.state)).toEqual(['online']);
        here.relay.down = true;
        await here.until(() => !eva.online, 'no link');
        here.relay.down = false;
        await here.until(() => eva.online, 'the link is back');
        expect(eva.standing.kind).toBe('pending');
        await here.relay.approve(eva.standing.device);
        await here.until(() => eva.online);
        await here.until(() => eva.standing.kind === 'active' && eva.standing.me.agencyLabel !== '');
        expect(eva.standing).toMatchObject({
            kind: 'active',
            me: { agencyLabel: 'Test', video: true, videoPhone: '+1 555 0142, code 88#', member: eva.member },
        });
        await eva.engine.stop();
    });

    test('keeps nothing when the root that the server shows is another one', async () => {
        const here = await Town.create();
        const { member, code } = here.relay.invite(['responder']);
        const eva = await here.newcomer(member);
        await expect(eva.engine.enrol({ code, root: 'ab'.repeat(32) })).rejects.toThrow('wrong_root');
        await eva.reload();
        expect(eva.standing).toEqual({ kind: 'new' });
        await eva.engine.stop();
    });

    test.each([
        ['the agency names', '02'.repeat(32), true],
        ['nobody knows', '03'.repeat(32), false],
    ])('holds the authority key of its link if it is one that %s', async (_, authoritySeed, held) => {
        const here = await Town.create();
        const { member, code } = here.relay.invite(['admin']);
        const eva = await here.newcomer(member);
        await eva.engine.enrol({ code, root: here.root, authoritySeed });
        await here.until(() => eva.standing.kind === 'pending');
        if (eva.standing.kind !== 'pending') return;
        await here.relay.approve(eva.standing.device);
        await here.until(() => eva.standing.kind === 'active' && eva.standing.me.agencyLabel !== '');
        await here.rest(2);
        expect(eva.standing).toMatchObject({ me: { authority: held } });
        await eva.reload();
        expect(eva.standing).toMatchObject({ me: { authority: held } });
        await eva.engine.stop();
    });

    test('says that a code is wrong', async () => {
        const here = await Town.create();
        const { member } = here.relay.invite(['responder']);
        const eva = await here.newcomer(member);
        await expect(eva.engine.enrol({ code: 'no such code', root: here.root })).rejects.toThrow(
            'wrong_code',
        );
        await eva.engine.stop();
    });

    test('opens after a reload with its PIN alone, and is wiped after five wrong ones', async () => {
        const here = await Town.create();
        const { member, code } = here.relay.invite(['responder']);
        const eva = await here.newcomer(member);
        await eva.engine.enrol({ code, root: here.root, pin: '493817' });
        await eva.reload();
        expect(eva.standing).toEqual({ kind: 'locked', by: 'pin', tries: 5 });
        await expect(eva.engine.unlock('000000')).rejects.toThrow('wrong_pin');
        await here.until(() => eva.standing.kind === 'locked' && eva.standing.tries === 4, 'one try less');
        await eva.engine.unlock('493817');
        await here.until(() => eva.standing.kind === 'pending');
        await eva.reload();
        for (let wrong = 0; wrong < 5; wrong++) {
            await expect(eva.engine.unlock('000000')).rejects.toThrow('wrong_pin');
        }
        await eva.reload();
        expect(eva.standing).toEqual({ kind: 'new' });
        await eva.engine.stop();
    });
});

test('an administrator, who may see no incident, is told who waits for approval', async () => {
    const here = await Town.create();
    here.relay.forbidden.add('incidents');
    const ada = await here.person('admin');
    const eva = await here.stranger('responder');
    await here.until(() => eva.standing.kind === 'pending');
    const waits = (): string[] =>
        ada
            .of('pending')
            .at(-1)
            ?.pending.map((one) => one.device) ?? [];
    await ada.engine.reconnect();
    await here.until(() => waits().length === 1, 'the device that waits');
    await here.until(() => (ada.of('link').at(-1)?.link.freshMs ?? 0) > 0, 'fresh');
    expect(eva.standing).toMatchObject({ device: waits()[0] });
    await ada.engine.stop();
    await eva.engine.stop();
});

describe('two dispatchers', () => {
    beforeEach(together);
    afterEach(async () => {
        await ana.engine.stop();
        await ben.engine.stop();
    });

    test('describe an incident to each other, sealed', async () => {
        await town.until(() => ben.of('incident').some((event) => event.incident.details !== null));
        expect(ben.of('incident').at(-1)?.incident.details).toEqual(DETAILS);
        const stored = town.relay.log(address('content', channel)).map((entry) => entry.payload);
        const text = new TextDecoder('latin1').decode(await new Blob(stored).arrayBuffer());
        expect(text).not.toContain('Quay');
    });

    test('see each word, and how far it came', async () => {
        const id = await ana.engine.send(channel, 'Unit on its way', 'routine');
        expect(await ana.texts(channel)).toEqual(['Unit on its way']);
        await town.until(() => ben.row(id) !== undefined);
        expect(ben.row(id)).toMatchObject({ kind: 'text', text: 'Unit on its way', mine: false });
        await town.until(() => ana.step(id) === 'delivered', 'delivered');
        expect(ben.channel(channel)?.unread).toBe(1);
        await ben.engine.markRead(channel, ben.row(id)?.offset ?? 0);
        await town.until(() => ana.step(id) === 'read', 'read');
        await town.until(() => ben.channel(channel)?.unread === 0);
        await ben.engine.acknowledge(channel, id);
        await town.until(() => ana.step(id) === 'acknowledged', 'acknowledged');
    });

    test('send what was written without a link exactly once, over any number of reloads', async () => {
        town.relay.down = true;
        town.relay.closeAll(1006);
        await town.until(() => !ana.online);
        for (const text of ['one', 'two', 'three']) await ana.engine.send(channel, text, 'routine');
        await ana.reload();
        await ana.reload();
        expect(await ana.texts(channel)).toEqual(['one', 'two', 'three']);
        expect((await ana.rows(channel)).map((row) => row.offset).slice(-3)).toEqual([0, 0, 0]);
        town.relay.down = false;
        await town.until(
            () => ben.of('row').filter(({ row }) => row.kind === 'text').length >= 3,
            'all three',
        );
        await town.rest();
        expect(await ben.texts(channel)).toEqual(['one', 'two', 'three']);
        expect(await ana.texts(channel)).toEqual(['one', 'two', 'three']);
        expect(logged()).toHaveLength(3);
    });

    test('send the exact bytes again when an answer was lost', async () => {
        let lost = 0;
        town.relay.meddle = (publish) => (publish.lane === 1 && lost++ === 0 ? 'lost' : null);
        const id = await ana.engine.send(channel, 'on scene', 'routine');
        await town.until(() => ana.step(id) === 'delivered', 'delivered');
        await town.rest(30);
        const frames = town.relay.published.filter((publish) => publish.id === id);
        expect(frames.length).toBeGreaterThan(1);
        expect(new Set(frames.map((publish) => publish.payload.join())).size).toBe(1);
        expect(logged()).toHaveLength(1);
    });

    test('seal a message anew under the same id when it is proved not to be stored', async () => {
        let refused = 0;
        town.relay.meddle = (publish) => (publish.lane === 1 && refused++ === 0 ? WireError.stale : null);
        const id = await ana.engine.send(channel, 'on scene', 'routine');
        await town.until(() => ben.row(id) !== undefined, 'the message');
        const frames = town.relay.published.filter((publish) => publish.id === id);
        expect(frames).toHaveLength(2);
        expect(frames[0]?.payload).not.toEqual(frames[1]?.payload);
        expect(logged()).toHaveLength(1);
    });

    test('keep a message that is refused for good, and let the next one go', async () => {
        town.relay.meddle = (publish, device) =>
            device === ana.device && publish.lane === 1 && publish.urgency === 1 ? WireError.invalid : null;
        const bad = await ana.engine.send(channel, 'refused', 'important');
        const good = await ana.engine.send(channel, 'taken', 'routine');
        await town.until(() => ben.row(good) !== undefined, 'the second message');
        expect(ana.row(bad)).toMatchObject({ progress: { step: 'refused', code: WireError.invalid } });
        expect(await ana.engine.cancel(bad)).toBe(true);
        expect(await ana.texts(channel)).toEqual(['taken']);
    });

    test('post again what a restored server lost, and show it once', async () => {
        const first = await ana.engine.send(channel, 'before the backup', 'routine');
        const second = await ana.engine.send(channel, 'after the backup', 'routine');
        await town.until(() => ben.row(second) !== undefined && ana.step(second) === 'delivered');
        const lostFrom = logged().at(-1)?.offset ?? 0;
        const content = address('content', channel);
        town.relay.restoreBackup((log, entry) => log !== content || entry.offset < lostFrom);
        await town.until(() => ben.of('reset').length > 0, 'a reset');
        await town.until(() => logged().length === 2, 'both again');
        await town.rest();
        expect(await ben.texts(channel)).toEqual(['before the backup', 'after the backup']);
        expect(logged().map((entry) => entry.id)).toEqual([first, second]);
    });

    test('hear an urgent message again and again until somebody of theirs acknowledged it', async () => {
        const id = await ana.engine.send(channel, 'He may have a knife.', 'urgent');
        await town.until(() => ben.row(id) !== undefined);
        expect(ben.row(id)).toMatchObject({ progress: { sounding: true } });
        await town.rest(50);
        expect(ben.of('sound').map((event) => event.times)).toEqual([1, 2, 3, 4]);
        expect(ana.of('sound')).toEqual([]);
        await ben.reload();
        expect(ben.snapshot?.urgent.map((row) => row.id)).toEqual([id]);
        await ben.engine.acknowledge(channel, id);
        await town.rest(1);
        const before = ben.of('sound').length;
        await town.rest(40);
        expect(ben.of('sound')).toHaveLength(before);
        await town.until(() => ana.step(id) === 'acknowledged');
    });

    test('pass a file on, sealed, and open it whole', async () => {
        const plain = new Uint8Array(150_000).map((_, at) => at % 251);
        const id = await ana.engine.sendFile(channel, new Blob([plain]), 'scene.jpg', 'the door');
        await town.until(() => (ben.row(id)?.offset ?? 0) > 0, 'the file');
        const opened = await ben.engine.openFile(channel, id);
        expect(new Uint8Array(await opened.arrayBuffer())).toEqual(plain);
        expect(ben.row(id)).toMatchObject({ kind: 'file', file: { name: 'scene.jpg', sizeBytes: 150_000 } });
    });

    test('go on with a file after a reload', async () => {
        town.relay.down = true;
        town.relay.closeAll(1006);
        await town.until(() => !ana.online);
        const id = await ana.engine.sendFile(channel, new Blob(['a note']), 'note.txt', '');
        await ana.reload();
        expect((await ana.rows(channel)).at(-1)).toMatchObject({ kind: 'file', offset: 0 });
        town.relay.down = false;
        await town.until(() => (ben.row(id)?.offset ?? 0) > 0, 'the file');
        expect(await (await ben.engine.openFile(channel, id)).text()).toBe('a note');
    });

    test('lose everything at once when a device is revoked', async () => {
        await town.relay.revoke(ben.device);
        await town.until(() => ben.standing.kind === 'ended');
        expect(ben.standing).toEqual({ kind: 'ended', why: 'revoked' });
        await ben.reload();
        expect(ben.standing).toEqual({ kind: 'new' });
    });

    test('seal nothing more to a device that was revoked', async () => {
        const gone = ben.device;
        await town.relay.revoke(gone);
        await town.until(() => ben.standing.kind === 'ended');
        const id = await ana.engine.send(channel, 'without Ben', 'routine');
        await town.until(() => ana.step(id) === 'accepted', 'accepted');
        const roster = town.relay.channels.get(channel)?.commits.at(-1)?.commit.roster ?? [];
        expect(roster.map((entry) => entry.deviceId)).toEqual([ana.device]);
        expect(ana.channel(channel)?.readers.map((reader) => reader.device)).not.toContain(gone);
        // Who left is told by whose device it was, though no roster holds it any more.
        const changed = (await ana.rows(channel)).filter((row) => row.kind === 'members');
        expect(changed.at(-1)?.left).toEqual([{ device: gone, member: ben.member }]);
    });

    test('are told of a device under their own name that they did not enrol', async () => {
        const ghost: DeviceId = await town.relay.certifyStranger(ana.member);
        await town.until(() => ana.of('alarm').length > 0, 'the alarm');
        expect(ana.of('alarm').at(-1)?.alarm).toMatchObject({ kind: 'ghost_device', device: ghost });
        expect(ben.of('alarm')).toEqual([]);
        await ben.engine.admit(channel, [ana.member]);
        await town.until(() => ana.channel(channel)?.blocked === 'ghost_device', 'the stop');
        await expect(ana.engine.send(channel, 'who reads this?', 'routine')).rejects.toThrow('blocked');
        await ana.engine.settleAlarm(ana.of('alarm').at(-1)?.alarm.seq ?? 0);
        await town.until(() => ana.channel(channel)?.blocked === '', 'going on');
    });

    test('refuse a commit that breaks a rule, say so, and send nothing more', async () => {
        const commits = town.relay.channels.get(channel)?.commits ?? [];
        const forged = town.relay.log(address('epochs', channel)).at(-1)?.payload.slice() ?? new Uint8Array();
        // The last bytes are of the signature.
        forged[forged.length - 1] = (forged.at(-1) ?? 0) ^ 1;
        expect(commits.length).toBeGreaterThan(0);
        town.relay.append(address('epochs', channel), forged);
        await town.until(() => ben.of('alarm').length > 0, 'the alarm');
        expect(ben.of('alarm').at(-1)?.alarm).toMatchObject({ channel, stopsSending: true });
        await town.until(() => ben.channel(channel)?.blocked !== '', 'the stop');
        await expect(ben.engine.send(channel, 'to whom?', 'routine')).rejects.toThrow('blocked');
    });

    test('do not show a frame that is replayed, and say so', async () => {
        const id = await ana.engine.send(channel, 'Stay outside.', 'routine');
        await town.until(() => ben.row(id) !== undefined);
        const entry = logged().find((one) => one.id === id);
        if (entry === undefined) throw new Error('nothing was stored');
        town.relay.append(address('content', channel), entry.payload, { device: entry.device, id });
        town.relay.append(address('content', channel), entry.payload, { device: entry.device });
        await town.until(() => ben.of('alarm').length >= 2, 'the alarms');
        expect(await ben.texts(channel)).toEqual(['Stay outside.']);
        expect(ben.of('alarm').map(({ alarm }) => alarm.kind)).toContain('changed_frame');
        const closed = (await ben.rows(channel)).filter((row) => row.kind === 'closed');
        expect(closed.map((row) => row.why).sort()).toEqual(['E_FORMAT', 'E_REPLAY']);
    });

    test('say so when a copy took the place of a message, at once and when somebody saw it', async () => {
        const first = await ana.engine.send(channel, 'Stay outside.', 'routine');
        await town.until(() => ben.row(first) !== undefined);
        await town.rest(2);
        const copied = logged().at(-1);
        if (copied === undefined) throw new Error('nothing was stored');
        const log = address('content', channel);
        town.relay.deceive = (batch, device) => {
            if (device !== ben.device || batch.channel !== log) return [batch];
            town.relay.deceive = null;
            return [
                {
                    ...batch,
                    entries: [{ ...copied, offset: batch.to, id: asId<MessageId>('05'.repeat(16)) }],
                },
                batch,
            ];
        };
        await ana.engine.send(channel, 'Come in.', 'routine');
        await town.until(() => ben.of('alarm').length > 0, 'the alarm');
        expect(ben.of('alarm').map(({ alarm }) => alarm.kind)).toEqual(['changed_frame']);
        await town.rest(2);
        const last = await ana.engine.send(channel, 'Where are you?', 'routine');
        await town.until(() => ben.row(last) !== undefined);
        await town.until(() => ben.of('alarm').length > 1, 'the second alarm');
        expect(ben.of('alarm').at(-1)?.alarm).toMatchObject({ channel, kind: 'history', device: ana.device });
        expect(await ben.texts(channel)).toEqual(['Stay outside.', 'Where are you?']);
        await town.until(() => ana.of('alarm').length > 0, 'the alarm of who said it');
        expect(ana.of('alarm').at(-1)?.alarm).toMatchObject({ kind: 'history', device: ben.device });
    });

    test('show a newcomer nothing of before, until somebody grants it', async () => {
        await ana.engine.send(channel, 'said before', 'routine');
        const eva = await town.person('dispatcher');
        await ana.engine.reconnect();
        await town.rest(2);
        await ana.engine.admit(channel, [eva.member]);
        await town.until(() => eva.channel(channel)?.caughtUp === true, 'the channel');
        expect(await eva.texts(channel)).toEqual([]);
        expect((await eva.rows(channel)).filter((row) => row.kind === 'closed')).toMatchObject([
            { why: 'not_granted' },
        ]);
        const after = await ana.engine.send(channel, 'said after', 'routine');
        await town.until(() => eva.row(after) !== undefined);
        expect(await eva.texts(channel)).toEqual(['said after']);
        await ana.engine.grant(channel, eva.device);
        await town.until(() => eva.of('reset').length > 0, 'the grant');
        expect(await eva.texts(channel)).toEqual(['said before', 'said after']);
        expect(eva.of('alarm')).toEqual([]);
        await eva.engine.stop();
    });

    test('forget an ended incident a day after they learnt of its end, and do not take it up again', async () => {
        const id = await ana.engine.send(channel, 'It is over.', 'routine');
        await town.until(() => ben.row(id) !== undefined);
        const standing = town.relay.channels.get(channel);
        if (standing !== undefined) standing.archived = true;
        await ben.engine.reconnect();
        await town.until(() => ben.channel(channel)?.archived === true, 'the end');
        await town.rest(2);
        expect(await ben.texts(channel)).toEqual(['It is over.']);
        town.clock.jump(25 * 3_600_000);
        await town.until(() => ben.of('channel_gone').length > 0, 'forgetting');
        expect(ben.of('channel_gone').at(-1)).toMatchObject({ channel, why: 'forgotten' });
        await ben.reload();
        expect(ben.snapshot?.channels.map((one) => one.id)).not.toContain(channel);
        await town.rest(2);
        expect(ben.of('channel').map((event) => event.channel.id)).not.toContain(channel);
    });

    test('end a session and keep nothing when somebody signs out', async () => {
        await ben.engine.signOut();
        expect(ben.standing).toEqual({ kind: 'ended', why: 'signed_out' });
        await ben.reload();
        expect(ben.standing).toEqual({ kind: 'new' });
    });
});
