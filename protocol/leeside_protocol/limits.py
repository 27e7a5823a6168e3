"""Every bound of the protocol in one place, with its unit in its name (spec 01, "Limits").

A peer that exceeds one is answered with the error named beside it; nothing is cut short in silence.
"""

from __future__ import annotations

from typing import Final

FRAME_BYTES: Final = 65_536
"""Largest WebSocket message in either direction; more closes the socket with `too_large`."""
PAYLOAD_BYTES: Final = 60_000
"""Largest sealed payload of one message: a frame less the envelope."""
BATCH_BYTES: Final = 32_768
"""A catch-up batch is closed once its payloads reach this size."""
STATE_KEY_BYTES: Final = 17
TOKEN_BYTES: Final = 4_096
CLIENT_NAME_CHARS: Final = 80

SUBSCRIPTIONS: Final = 512
"""Channels that one socket may follow."""
IN_FLIGHT_MESSAGES: Final = 64
IN_FLIGHT_BYTES: Final = 262_144
"""Unacknowledged publishes of one socket, above which the server stops reading from it."""
HIGH_WATER_BYTES: Final = 65_536
"""Unsent bytes above which a socket leaves the live set and catches up from the store."""
STREAM_KEYS: Final = 256
"""Newest-wins values kept for one slow socket; more are dropped and counted."""
STREAM_TTL_S: Final = 120

HELLO_TIMEOUT_S: Final = 10.0
BEAT_S: Final = 10.0
"""Seconds between heartbeats in each direction."""
SILENT_S: Final = 30.0
"""Silence after which either side gives a socket up."""
STALL_S: Final = 30.0
"""Seconds without a byte drained after which a slow socket is closed with `slow`."""

TOKEN_TTL_S: Final = 300
REFRESH_TTL_S: Final = 30 * 86_400
CHALLENGE_TTL_S: Final = 60
ENROLMENT_TTL_S: Final = 900
FIRST_PASSKEY_S: Final = 900
"""How long after its certification a device may register its member's first passkey."""
PERSON_HOURS: Final = 12
PERSON_GRACE_S: Final = 3_600
"""How long a session is refreshed beyond its person's proof: nobody on duty is cut off before they could show themselves."""
TICKET_TTL_S: Final = 60
"""How long what came with the agency's own sign-in serves."""
SHIFT_MAX_S: Final = 16 * 3_600
"""Longest shift that a shared tablet is enrolled for."""
CREDENTIAL_CHARS: Final = 16_384
"""What a browser answers about a passkey, as JSON."""
NODE_LEASE_S: Final = 30
NODE_BEAT_S: Final = 10

EPOCH_GRACE_S: Final = 10
"""How long frames of the previous epoch are still taken, unless a revocation ended it."""
MESSAGE_ID_KEPT_S: Final = 7 * 86_400
"""Message ids are remembered as long as their message, and at least this long."""

ROSTER_DEVICES: Final = 200
COMMIT_BYTES: Final = 262_144
"""Largest commit with its boxes (200 devices make about 110 kB); travels over HTTP."""
DIRECTORY_ENTRY_BYTES: Final = 4_096
JSON_BODY_BYTES: Final = 65_536
PAGE_ENTRIES: Final = 500

BLOB_CHUNK_BYTES: Final = 65_536 + 16
"""One sealed chunk of an attachment: 64 KiB and its tag."""
BLOB_BYTES: Final = 64 * 1024 * 1024
"""Largest attachment, sealed."""

PUSH_ENDPOINT_CHARS: Final = 1_024
"""Longest address of a subscription at a push service; those in use have some 200."""

ROTATIONS: Final = 16
ROTA_MEMBERS: Final = 64
ROTA_ENTRIES: Final = 400
"""Overrides, and absences, of one rota; those that are over make room."""
CALENDAR_CHARS: Final = 60_000
LADDER_STEPS: Final = 10
"""Written steps; the last one, all supervisors and the phone tree, comes behind them."""
LADDER_PHONES: Final = 10

STEP_DELAY_S: Final = 60
HOLD_S: Final = 300
"""How long "5 minutes" holds a consult for whoever asked for it."""
JOIN_S: Final = 90
"""Who accepted and has not joined by then is paged again."""
JOIN_AGAIN_S: Final = 60
"""Who did not join after that page either has not come: the ladder goes on."""
REJOIN_S: Final = 60
"""A psychiatrist who is gone from a session for this long is searched for again."""
ALARM_S: Final = 30
"""How often the alarm of an exhausted consult repeats until a person takes it."""
DECIDED_S: Final = (60, 120, 180)
"""When the requester is told who was tried, though nothing else happened."""
CONFIRM_S: Final = 10
"""A request that the server did not confirm by then shows the phone tree, and goes on trying."""
UNSENT_S: Final = 120
"""A request that found no way for so long is not sent by itself any more."""
CONSULT_TARGETS: Final = 200
CONSULT_TRIED: Final = 200
"""Lines that are kept of who was tried: the first half and the newest."""
CONSULTS_OPEN: Final = 3
"""Consults of one device in `CONSULTS_WINDOW_S` that page at once; more wait for a supervisor."""
CONSULTS_WINDOW_S: Final = 600
GUEST_S: Final = 4 * 3_600
"""How long a guest may stay (spec 04, acceptance of guests)."""
PUSH_BYTES: Final = 64
"""Every push has this size, whatever it says."""

VIDEO_BODY_BYTES: Final = 32_768
"""One signal of a call: the largest is an SDP."""

INT_MAX: Final = 2**53 - 1
"""Integers on the wire stay below 2^53 so that every language reads them alike."""
