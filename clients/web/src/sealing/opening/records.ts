/**
 * The records custodian: opening its boxes, and the archive of one incident. Spec 04, "Records".
 *
 * At close a member wraps the class secrets of a channel under a fresh archive key and seals that key to the records
 * recipient. Legal hold keeps the archive; shredding deletes it with its sealed key, and with it this incident alone. Once
 * an archive stands, the server deletes the records boxes of the single commits. Every opening is logged by the caller.
 */

import { refuse } from '../errors';
import type { ChannelLine, Directories } from '../public/acceptance';
import {
    type Archive,
    MAX_ARCHIVE_BYTES,
    MAX_ARCHIVE_EPOCHS,
    encodeArchiveLabel,
    verifyArchive,
} from '../public/archive';
import type { Box } from '../public/boxes';
import type { Commit } from '../public/commit';
import { type Bytes, type Hex, PREFIX, encode, pae, sha256, unhex, utf8 } from '../public/encoding';
import {
    DURABLE,
    type RecordsAdded,
    type RecordsId,
    SUITE_X25519,
    kidOf,
    recordsIdOf,
} from '../public/entries';
import { hashOfSigned } from '../public/signed';
import { aesKey, aesOpen, aesSeal } from './aes';
import { type OpenedBox, classFields, openBox } from './boxes';
import type { SealedChannel } from './channel';
import { eachHolds, namesExactly, parseEpochSecrets } from './grants';
import { generateHpkeKeyPair, hpkeOpen, hpkeSeal, importHpkeKeyPair, type HpkeKeyPair } from './hpke';
import type { DeviceKeys, HeldKey } from './keys';
import { type Random, secureRandom } from './random';
import { type ClassSecrets, SECRET_BYTES, checkCommitments } from './schedule';

/** The archive key is used for one ciphertext only, so its nonce may be fixed. */
const ARCHIVE_NONCE = new Uint8Array(12);

/** A records custodian's private key: kept offline, used to open, never to send. */
export class RecordsPrivateKey {
    private constructor(
        readonly recordsId: RecordsId,
        readonly held: HeldKey,
    ) {}

    static async create(): Promise<RecordsPrivateKey> {
        return RecordsPrivateKey.of(await generateHpkeKeyPair());
    }

    /** The key whose 32 bytes a custodian keeps in a file. */
    static async fromBytes(privateBytes: Bytes): Promise<RecordsPrivateKey> {
        return RecordsPrivateKey.of(await importHpkeKeyPair(privateBytes));
    }

    static async of(pair: HpkeKeyPair): Promise<RecordsPrivateKey> {
        const kid = await kidOf(pair.public);
        const whole = { kseq: 0, notAfterMs: 0, signed: null, replacedMs: null };
        return new RecordsPrivateKey(await recordsIdOf(pair.public), {
            kid,
            suite: SUITE_X25519,
            pair,
            ...whole,
        });
    }

    /** The `rec+` operation that authorities sign. */
    entry(
        terms: Pick<RecordsAdded, 'compartments' | 'classMask' | 'notBeforeMs' | 'notAfterMs'>,
    ): RecordsAdded {
        const { kid, suite, pair } = this.held;
        return { op: 'rec+', recordsId: this.recordsId, kid, suite, public: pair.public, ...terms };
    }
}

/** The classes of an epoch that the records key may read; `E_RECORDS`, `E_BOX`, `E_COMMITMENT`. */
export async function openRecordsBox(key: RecordsPrivateKey, commit: Commit, box: Box): Promise<OpenedBox> {
    const record = commit.records.find(({ recordsId }) => recordsId === key.recordsId);
    if (record === undefined || box.recipient !== key.recordsId) {
        return refuse('E_RECORDS', 'not a records key of this commit');
    }
    return openBox(commit, box, key.held, { classMask: record.classMask, whole: false });
}

/**
 * Archive the durable secrets held of a channel; null when there are none that the records key may see.
 *
 * Ephemeral and media secrets are gone a minute after their epoch, and so is what they opened. Of more than 1,000 epochs
 * the newest are archived. `E_RECORDS` when the key is not one of the newest commit. Once archives stand (the server took
 * them), the client deletes its own secrets (`forgetAll`).
 */
export async function makeArchive(
    channel: SealedChannel,
    keys: DeviceKeys,
    recordsId: RecordsId,
    directories: Directories,
    { nowMs, random = secureRandom }: { readonly nowMs: number; readonly random?: Random },
): Promise<Archive | null> {
    const { head, channelId } = channel;
    const record = head.records.find((r) => r.recordsId === recordsId);
    const key = record && directories.get(record.agencyId)?.recordsKey(recordsId);
    if (record === undefined || key == null) return refuse('E_RECORDS', 'not a records key of this channel');
    const epochs = archivable(channel, record.classMask);
    if (epochs.length === 0) return null;
    const classMask = 1 << DURABLE;
    const content = encode(epochs.map((epoch) => [epoch, classFields(channel.secrets(epoch), classMask)]));
    const archiveKey = random(SECRET_BYTES);
    const aad = archiveAad(channelId, head.incidentId, recordsId);
    const wrapped = await aesSeal(await aesKey(archiveKey), ARCHIVE_NONCE, content, aad);
    const payload = encodeArchiveLabel(head, {
        recordsId,
        classMask,
        epochs,
        tsMs: Math.max(nowMs, head.tsMs),
        wrappedHash: await sha256(wrapped),
    });
    const signed = await keys.identity.sign('archive', keys.deviceId, payload);
    const info = archiveKeyInfo(await hashOfSigned('archive', signed), recordsId, record.kid);
    return {
        signed,
        suite: key.suite,
        keyBox: await hpkeSeal(key.suite, key.public, info, archiveKey),
        wrapped,
    };
}

/** The epochs that an archive to a records key with this class mask would hold, in order. */
export function archivable(channel: SealedChannel, classMask: number): readonly number[] {
    return (classMask >> DURABLE) & 1 ? channel.epochsHeld(DURABLE).slice(-MAX_ARCHIVE_EPOCHS) : [];
}

/**
 * The secrets by epoch, each held against the commitment signed at the time. All of them or none.
 *
 * `line` is the channel's verified chain. Refuses as `verifyArchive` does, and with `E_RECORDS` (to another key, or content
 * that is not what the label says), `E_UNKNOWN_EPOCH`, `E_BOX`, `E_AEAD`, `E_COMMITMENT`.
 */
export async function openArchive(
    key: RecordsPrivateKey,
    archive: Archive,
    line: ChannelLine,
    directories: Directories,
): Promise<ReadonlyMap<number, ClassSecrets>> {
    const label = await verifyArchive(line, archive, directories);
    if (label.recordsId !== key.recordsId) refuse('E_RECORDS', 'not to this records key');
    const info = archiveKeyInfo(label.hash, key.recordsId, key.held.kid);
    const archiveKey = await hpkeOpen(archive.suite, key.held.pair, info, archive.keyBox);
    if (archiveKey.length !== SECRET_BYTES) refuse('E_AEAD', 'archive does not open');
    const aad = archiveAad(line.channelId, label.incidentId, key.recordsId);
    const content =
        (await aesOpen(await aesKey(archiveKey), ARCHIVE_NONCE, archive.wrapped, aad)) ??
        refuse('E_AEAD', 'archive does not open');
    const secrets = parseEpochSecrets(content, MAX_ARCHIVE_BYTES);
    if (!namesExactly(secrets, label.epochs) || !eachHolds(secrets, label.classMask)) {
        refuse('E_RECORDS', 'other epochs or classes than the label says');
    }
    for (const [epoch, held] of secrets) {
        const commit = line.commits.get(epoch) ?? refuse('E_UNKNOWN_EPOCH', 'commit not known here');
        await checkCommitments(commit, held);
    }
    return secrets;
}

function archiveAad(channelId: Hex, incidentId: Hex, recordsId: Hex): Bytes {
    return pae(utf8(`${PREFIX}archive`), unhex(channelId), unhex(incidentId), unhex(recordsId));
}

function archiveKeyInfo(archiveHash: Hex, recordsId: Hex, kid: Hex): Bytes {
    return pae(utf8(`${PREFIX}archivekey`), unhex(archiveHash), unhex(recordsId), unhex(kid));
}
