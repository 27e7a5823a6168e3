"""The two descriptions of a call, from the client's side: read the bridge's offer, write the answer (RFC 8866, 8829).

The m-lines of an offer never change (`leeside_protocol.video.formats`): two to send on, and a pair for each other seat.
So of an offer only the path and the streams' numbers are read, and an answer says which streams are sent.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.video import formats as f

CANDIDATES: Final = 16
"""Of an offer that are tried; the others are passed over."""
_MIDS: Final = (f.UP_AUDIO_MID, f.UP_VIDEO_MID, *f.DOWN_MIDS)
_SSRC_MAX: Final = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Remote:
    """The bridge as an offer names it. `candidates` are lines of RFC 8839 without `a=candidate:`."""

    ufrag: str
    password: str
    fingerprints: tuple[tuple[str, str], ...]
    candidates: tuple[str, ...]
    streams: dict[int, str]
    """The m-line (mid) of each stream that the bridge sends, by SSRC."""
    repairs: dict[int, int]
    """The stream that each repair stream (RFC 4588) is of, both by SSRC."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The streams of the answer: numbers that nobody else of the room needs to know."""

    audio: int
    video: int
    repair: int

    @classmethod
    def draw(cls) -> Sent:
        """Three different ones."""
        drawn: set[int] = set()
        while len(drawn) < 3:
            drawn.add(secrets.randbelow(_SSRC_MAX) + 1)
        return cls(*drawn)


def read_offer(sdp: str) -> Remote:
    """What a client needs of an offer; `invalid` when something of it is missing."""
    values: dict[str, list[str]] = {}
    streams: dict[int, str] = {}
    repairs: dict[int, int] = {}
    mid = ""
    for line in sdp.splitlines():
        name, _, value = line.removeprefix("a=").partition(":")
        if not line.startswith("a="):
            continue
        values.setdefault(name, []).append(value)
        if name == "mid":
            mid = value
        elif name == "ssrc" and mid in f.DOWN_MIDS:
            streams[_number(value.split(" ")[0])] = mid
        elif name == "ssrc-group" and value.startswith("FID "):
            numbers = [_number(word) for word in value.split(" ")[1:]]
            if len(numbers) == 2:
                repairs[numbers[1]] = numbers[0]
    fingerprints = tuple(sorted({_pair(value) for value in values.get("fingerprint", [])}))
    candidates = tuple(dict.fromkeys(values.get("candidate", [])))[:CANDIDATES]
    if not (values.get("ice-ufrag") and values.get("ice-pwd") and fingerprints and candidates):
        raise ProtocolError(WireError.INVALID, "an offer without a path to the bridge")
    return Remote(values["ice-ufrag"][0], values["ice-pwd"][0], fingerprints, candidates, streams, repairs)


def write_answer(*, ufrag: str, password: str, fingerprint: str, sent: Sent | None) -> str:
    """The answer to any offer of a bridge. `sent` None: this client only receives; `fingerprint` is SHA-256's."""
    transport = (
        "c=IN IP4 0.0.0.0",
        f"a=ice-ufrag:{ufrag}",
        f"a=ice-pwd:{password}",
        f"a=fingerprint:sha-256 {fingerprint}",
        "a=setup:active",
        "a=rtcp-mux",
        "a=rtcp-rsize",
    )
    lines = ["v=0", "o=- 1 1 IN IP4 0.0.0.0", "s=-", "t=0 0", f"a=group:BUNDLE {' '.join(_MIDS)}"]
    for mid in _MIDS:
        lines += _media(mid, transport, sent)
    return "\r\n".join(lines) + "\r\n"


def _media(mid: str, transport: Sequence[str], sent: Sent | None) -> Iterator[str]:
    up = mid in (f.UP_AUDIO_MID, f.UP_VIDEO_MID)
    sound = mid == f.UP_AUDIO_MID or (not up and f.DOWN_MIDS.index(mid) % 2 == 0)
    types = (f.OPUS, f.RED) if sound else (f.VP8, f.VP8_RTX)
    yield f"m={'audio' if sound else 'video'} 9 UDP/TLS/RTP/SAVPF {types[0]} {types[1]}"
    yield from transport
    yield f"a=mid:{mid}"
    if up:
        yield "a=inactive" if sent is None else "a=sendonly"
    else:
        yield "a=recvonly"
    for number in (f.EXT_MID, f.EXT_TRANSPORT_SEQ):
        yield f"a=extmap:{number} {f.EXTENSIONS[number]}"
    if sound:
        yield f"a=rtpmap:{f.OPUS} opus/{f.AUDIO_HZ}/2"
        yield f"a=rtpmap:{f.RED} red/{f.AUDIO_HZ}/2"
        yield f"a=fmtp:{f.RED} {f.OPUS}/{f.OPUS}"
    else:
        yield f"a=rtpmap:{f.VP8} VP8/{f.VIDEO_HZ}"
        yield from (f"a=rtcp-fb:{f.VP8} {feedback}" for feedback in ("nack", "nack pli", "transport-cc"))
        yield f"a=rtpmap:{f.VP8_RTX} rtx/{f.VIDEO_HZ}"
        yield f"a=fmtp:{f.VP8_RTX} apt={f.VP8}"
    if up and sent is not None:
        if sound:
            yield f"a=ssrc:{sent.audio} cname:leeside"
        else:
            yield f"a=ssrc-group:FID {sent.video} {sent.repair}"
            yield f"a=ssrc:{sent.video} cname:leeside"
            yield f"a=ssrc:{sent.repair} cname:leeside"


def _pair(value: str) -> tuple[str, str]:
    algorithm, _, digest = value.partition(" ")
    return algorithm.lower(), digest.strip().upper()


def _number(text: str) -> int:
    if text.isascii() and text.isdigit() and 0 < int(text) <= _SSRC_MAX:
        return int(text)
    raise ProtocolError(WireError.INVALID, "a stream without a number")
