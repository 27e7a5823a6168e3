/** The sections of the vector file that take keys to check: boxes, frames, grants, archives, attachments, media. */

import type { DeviceId } from '~/protocol/ids';
import type { MediaKind } from '~/protocol/video';
import type { SealingVectors, VectorCase } from './vectors';

export interface ChannelVectors {
    readonly root: string;
    readonly entries: readonly string[];
    readonly channel_id: string;
    readonly devices: Readonly<Record<string, DeviceVector>>;
    readonly records: { readonly id: string; readonly private: string };
    readonly commits: readonly CommitVector[];
}

export interface DeviceVector {
    readonly device_id: string;
    readonly identity_seed: string;
    readonly hpke_private: string;
    readonly device_key: string;
}

export interface CommitVector {
    readonly commit: string;
    readonly hash: string;
    readonly boxes: readonly string[];
    readonly box_hashes: readonly string[];
    readonly box_list_signature: string;
    readonly class_secrets: Readonly<Record<string, string>>;
}

export interface FrameVector extends VectorCase {
    readonly reader: string;
    readonly before: readonly string[];
    readonly frame: string;
    readonly body: string;
}

export interface GrantVector extends VectorCase {
    readonly reader: string;
    readonly grant: string;
}

export interface ArchiveVector extends VectorCase {
    readonly archive: string;
    readonly now_ms: number | null;
    readonly secrets: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

export interface AttachmentVector extends VectorCase {
    readonly file_id: string;
    readonly key: string;
    readonly size_bytes: number;
    readonly chunks?: readonly string[];
    readonly plain?: string;
    /** Of a file of zeros, in place of its chunks. */
    readonly chunk_hashes?: readonly string[];
}

export interface MediaVectors {
    readonly call_id: string;
    readonly epoch: number;
    readonly base_key: string;
    readonly kid: string;
    readonly key: string;
    readonly salt: string;
    readonly metadata: string;
    readonly plain: string;
    readonly frames: readonly string[];
    /** For one receiver, in this order. */
    readonly sealed_frames: readonly SealedFrameVector[];
}

export interface SealedFrameVector {
    readonly name: string;
    readonly media: MediaKind;
    readonly sender: DeviceId;
    readonly frame: string;
    /** Behind the vectors' time. */
    readonly after_ms: number;
    readonly plain: string | null;
    readonly code: string | null;
}

export interface OpeningVectors {
    readonly channel: ChannelVectors;
    readonly frames: readonly FrameVector[];
    readonly grants: readonly GrantVector[];
    readonly archives: readonly ArchiveVector[];
    readonly attachments: readonly AttachmentVector[];
    readonly media: MediaVectors;
}

/** The same file, as the checks of the opening half take it. */
export function openingVectors(vectors: SealingVectors): OpeningVectors & SealingVectors {
    return vectors as SealingVectors & OpeningVectors;
}
