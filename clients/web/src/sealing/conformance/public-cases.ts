/** The sections of the vector file that an observer without keys can check: `directory`, `commits`, `seen`. */

import { fromHex } from '~/protocol/bytes';
import type { AgencyId, ChannelId, DeviceId } from '~/protocol/ids';
import { ChannelLine, type Directories, verifyCommit } from '../public/acceptance';
import { DeviceKeyBook } from '../public/device-key';
import { Directory } from '../public/directory';
import { asId, decode, hex } from '../public/encoding';
import { decodeSignedEntry } from '../public/entries';
import { type LogHead, LOG_START, headAfter } from '../public/seen';
import { type Signed, decodeSigned } from '../public/signed';
import type { OpeningVectors } from './opening-vectors';
import { type SealingVectors, type VectorCase, codeOf } from './vectors';

export interface DirectoryCase extends VectorCase {
    readonly root: string;
    readonly before: readonly number[];
    readonly entry: string;
    readonly now_ms: number | null;
}

export interface CommitCase extends VectorCase {
    readonly agencies: readonly { readonly root: string; readonly entries: readonly number[] }[];
    readonly before: readonly number[];
    readonly commit: string;
    readonly now_ms: number | null;
    readonly storing: boolean;
    readonly device_keys: readonly number[] | null;
}

export interface SeenStep {
    readonly seq: number;
    readonly frame_hash: string;
    readonly hash: string;
}

export interface PublicVectors extends SealingVectors {
    readonly directory: readonly DirectoryCase[];
    readonly commits: readonly CommitCase[];
    readonly seen: readonly SeenStep[];
}

/** The code that an entry brings; fails besides when a refused entry left a trace. */
export async function directoryOutcome(vectors: PublicVectors, given: DirectoryCase): Promise<string | null> {
    const before = given.before.map((index) => pooled(vectors, index));
    const directory = await Directory.replay(fromHex(given.root), before);
    const held = contents(directory);
    const code = await codeOf(async () => {
        await directory.apply(decodeSignedEntry(fromHex(given.entry)), given.now_ms);
    });
    const same = contents(directory) === held;
    if (same === (code === null)) throw new Error('an entry changes the directory exactly when it holds');
    return code;
}

/** A commit, and what its verifier knows. */
export interface Attempt {
    readonly line: ChannelLine;
    readonly directories: Directories;
    readonly signed: Signed;
    readonly deviceKeys: DeviceKeyBook | null;
}

/** Sets up what the verifier of a case knows. */
export async function attemptOf(vectors: PublicVectors, given: CommitCase): Promise<Attempt> {
    const directories = new Map<AgencyId, Directory>();
    for (const { root, entries } of given.agencies) {
        const chain = entries.map((index) => pooled(vectors, index));
        const directory = await Directory.replay(fromHex(root), chain);
        directories.set(directory.agencyId, directory);
    }
    const signed = decodeSigned(fromHex(given.commit));
    const before = given.before.map((index) => decodeSigned(pooled(vectors, index)));
    const line = new ChannelLine(channelOf(before[0] ?? signed));
    for (const earlier of before) await line.accept(earlier, directories);
    return { line, directories, signed, deviceKeys: await bookOf(vectors, given, directories) };
}

/** The code that a commit brings; fails besides when verifying changed the line, or a refused commit did. */
export async function commitOutcome(vectors: PublicVectors, given: CommitCase): Promise<string | null> {
    const { line, directories, signed, deviceKeys } = await attemptOf(vectors, given);
    const receipt = { nowMs: given.now_ms, deviceKeys, storing: given.storing };
    const held = epochsOf(line);
    const known = [...directories.values()].map(contents);
    const code = await codeOf(() => verifyCommit(line, signed, directories, receipt));
    if (epochsOf(line) !== held) throw new Error('verifying changed the line');
    const again = await codeOf(() => line.accept(signed, directories, receipt));
    if (again !== code) throw new Error('accepting found another code than verifying');
    if ((epochsOf(line) === held) === (code === null)) {
        throw new Error('a commit changes the line exactly when it holds');
    }
    if ([...directories.values()].map(contents).join() !== known.join()) {
        throw new Error('a commit changed a directory');
    }
    return code;
}

/** The channel of the vectors as an observer holds it: every commit accepted, with its directory. */
export async function channelLine({ channel }: OpeningVectors): Promise<{
    readonly line: ChannelLine;
    readonly directory: Directory;
    readonly directories: Directories;
}> {
    const directory = await Directory.replay(fromHex(channel.root), channel.entries.map(fromHex));
    const directories = new Map([[directory.agencyId, directory]]);
    const line = new ChannelLine(asId(fromHex(channel.channel_id)) as ChannelId);
    for (const step of channel.commits) await line.accept(decodeSigned(fromHex(step.commit)), directories);
    return { line, directory, directories };
}

/** Whether the running hash over a log is what each step says. */
export async function seenHolds(vectors: PublicVectors): Promise<boolean> {
    let head: LogHead = LOG_START;
    for (const step of vectors.seen) {
        head = await headAfter(head, step.seq, hex(fromHex(step.frame_hash)));
        if (head.hash !== step.hash) return false;
    }
    return vectors.seen.length > 0;
}

async function bookOf(
    vectors: PublicVectors,
    given: CommitCase,
    directories: Directories,
): Promise<DeviceKeyBook | null> {
    if (given.device_keys === null) return null;
    const book = new DeviceKeyBook();
    for (const index of given.device_keys) {
        const key = decodeSigned(pooled(vectors, index));
        for (const directory of directories.values()) {
            const certificate = directory.device(key.signer as DeviceId);
            if (certificate !== null) await book.add(key, certificate);
        }
    }
    return book;
}

/** The channel that a commit names, or one that nobody has where it names none. */
function channelOf(signed: Signed): ChannelId {
    try {
        return asId(decode(signed.payload)[2]) as ChannelId;
    } catch {
        return '0'.repeat(32) as ChannelId;
    }
}

function epochsOf(line: ChannelLine): string {
    return JSON.stringify([line.epoch, line.headHash, [...line.commits].map(([n, c]) => [n, c.hash])]);
}

/** All that a directory shows, as text to compare. */
export function contents(directory: Directory): string {
    const hashes = Array.from({ length: directory.seq + 1 }, (_, seq) => directory.hashAt(seq));
    const { seq, head, tsMs } = directory;
    const lists = [directory.devices(), directory.authorities(), directory.recordsKeys()];
    const members = directory.devices().map((device) => directory.devicesOf(device.memberId));
    return JSON.stringify([seq, head, tsMs, hashes, lists, members]);
}

export function pooled(vectors: SealingVectors, index: number): Uint8Array {
    return fromHex(vectors.pool[index] ?? '');
}
