/**
 * Every bound of the protocol in one place, with its unit in its name (spec 01, "Limits"). A test compares them with
 * `protocol/leeside_protocol/limits.py`, name by name.
 */

/** Largest WebSocket message in either direction. */
export const FRAME_BYTES = 65_536;
/** Largest sealed payload of one message: a frame less the envelope. */
export const PAYLOAD_BYTES = 60_000;
export const STATE_KEY_BYTES = 17;
export const TOKEN_BYTES = 4_096;
export const CLIENT_NAME_CHARS = 80;

/** Channels that one socket may follow. */
export const SUBSCRIPTIONS = 512;
/** Publishes that one socket may leave unanswered, in messages and in bytes; `Welcome` says what counts. */
export const IN_FLIGHT_MESSAGES = 64;
export const IN_FLIGHT_BYTES = 262_144;
export const STREAM_TTL_S = 120;

export const HELLO_TIMEOUT_S = 10;
/** Seconds between heartbeats in each direction. */
export const BEAT_S = 10;
/** Silence after which either side gives a socket up. */
export const SILENT_S = 30;

export const TOKEN_TTL_S = 300;
export const CHALLENGE_TTL_S = 60;
export const ENROLMENT_TTL_S = 900;

/** How long frames of the previous epoch are still taken, unless a revocation ended it. */
export const EPOCH_GRACE_S = 10;
/** Message ids are remembered as long as their message, and at least this long. */
export const MESSAGE_ID_KEPT_S = 7 * 86_400;

export const ROSTER_DEVICES = 200;
/** Largest commit with its boxes; travels over HTTP. */
export const COMMIT_BYTES = 262_144;
export const DIRECTORY_ENTRY_BYTES = 4_096;
export const JSON_BODY_BYTES = 65_536;
export const PAGE_ENTRIES = 500;

/** One sealed chunk of an attachment: 64 KiB and its tag. */
export const BLOB_CHUNK_BYTES = 65_536 + 16;
/** Largest attachment, sealed. */
export const BLOB_BYTES = 64 * 1024 * 1024;

/** A consult that the server did not confirm by then shows the phone tree, and goes on trying. */
export const CONFIRM_S = 10;
/** One that found no way for so long is not sent by itself any more. */
export const UNSENT_S = 120;

/** Integers on the wire stay below 2^53 so that every language reads them alike. */
export const INT_MAX = Number.MAX_SAFE_INTEGER;
/** One signal of a call: the largest is an SDP. */
export const VIDEO_BODY_BYTES = 32_768;
