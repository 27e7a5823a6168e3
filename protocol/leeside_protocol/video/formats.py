"""The numbers of media that never change, so that a join is a message and no negotiation (spec 09, "Media").

The bridge always offers; every client answers with the same payload types and header extensions (RFC 8285), and each
m-line is a place: two to send from, and a pair for each other seat of the room.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

SEATS: Final = 6
"""Participants of a room."""

UP_AUDIO_MID: Final = "0"
UP_VIDEO_MID: Final = "1"
DOWN_MIDS: Final = "abcdefghij"
"""One character each, so that the bridge writes one byte. Audio at even places, video at odd ones: a seat has a pair."""

OPUS: Final = 111
RED: Final = 63
VP8: Final = 96
VP8_RTX: Final = 97
RTX_OF: Final = {VP8: VP8_RTX}
AUDIO_HZ: Final = 48_000
VIDEO_HZ: Final = 90_000

EXT_MID: Final = 1
EXT_SEND_TIME: Final = 2
EXT_TRANSPORT_SEQ: Final = 3
EXT_RID: Final = 5
EXT_REPAIRED_RID: Final = 6
EXT_ORIENTATION: Final = 7
EXTENSIONS: Final = {
    EXT_MID: "urn:ietf:params:rtp-hdrext:sdes:mid",
    EXT_SEND_TIME: "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
    EXT_TRANSPORT_SEQ: "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
    EXT_RID: "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
    EXT_REPAIRED_RID: "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
    EXT_ORIENTATION: "urn:3gpp:video-orientation",
}
"""No audio level: it would tell the bridge who speaks, and when."""

LAYERS: Final = {"q": 180, "h": 360, "f": 720}
"""Simulcast: the name of each layer and the lines of its picture, the smallest first."""


class MediaKind(IntEnum):
    """What a track carries."""

    AUDIO = 0
    VIDEO = 1
