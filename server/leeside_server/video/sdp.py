"""The two descriptions of a call (RFC 8866, 8829): the offer that the bridge writes, and the answer that it reads.

Every offer has the same twelve media lines: two that the client sends on and a pair for each other seat. Payload types,
header extensions and names stand in `leeside_protocol.video.formats` and never change, so nothing is ever negotiated anew
but the path. Of an answer only what the bridge needs is read, and whatever does not fit the offer is refused as `invalid`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.video import formats as f
from leeside_protocol.video.formats import MediaKind
from leeside_protocol.video.signalling import SDP_CHARS
from leeside_server.video.dtls import Fingerprint

SSRCS: Final = 8
"""Streams that one client may announce, and send: three layers and their repairs, and sound, with one to spare."""
LINES: Final = 1_200
LINE_CHARS: Final = 1_024
_PRIORITY: Final = 2_130_706_431
"""Of a host candidate (RFC 8445, 5.1.2.1); each further address counts 256 less."""

_DIGITS: Final = re.compile(r"[0-9]{1,10}\Z")
_DIGESTS: Final = {
    "sha-256": re.compile(r"([0-9A-F]{2}:){31}[0-9A-F]{2}\Z"),
    "sha-384": re.compile(r"([0-9A-F]{2}:){47}[0-9A-F]{2}\Z"),
    "sha-512": re.compile(r"([0-9A-F]{2}:){63}[0-9A-F]{2}\Z"),
}
_DIRECTIONS: Final = frozenset({"sendrecv", "sendonly", "recvonly", "inactive"})
_UP: Final = (f.UP_AUDIO_MID, f.UP_VIDEO_MID)
MIDS: Final = (*_UP, *f.DOWN_MIDS)


class Candidate(msgspec.Struct, frozen=True):
    """Where the bridge is reached, as clients see it."""

    host: str
    port: int


class DownLine(msgspec.Struct, frozen=True):
    """A media line that the bridge sends on. `repair` 0: sound, which is repaired in its own stream."""

    mid: str
    kind: MediaKind
    ssrc: int
    repair: int = 0


class Offer(msgspec.Struct, frozen=True):
    """What differs from one offer to another."""

    session: int
    version: int
    ufrag: str
    password: str
    fingerprint: str
    candidates: Sequence[Candidate]
    down: Sequence[DownLine]
    redundant: bool = True
    """The client may send its sound with redundancy: everybody in the room can read that."""


def write_offer(offer: Offer) -> str:
    """The offer as text."""
    lines = [
        "v=0",
        f"o=- {offer.session} {offer.version} IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        "a=ice-lite",
        "a=ice-options:ice2",
        f"a=group:BUNDLE {' '.join(MIDS)}",
        "a=extmap-allow-mixed",
        "a=msid-semantic: WMS *",
    ]
    lines += _media(offer, MediaKind.AUDIO, f.UP_AUDIO_MID, None)
    lines += _media(offer, MediaKind.VIDEO, f.UP_VIDEO_MID, None)
    for line in offer.down:
        lines += _media(offer, line.kind, line.mid, line)
    return "\r\n".join(lines) + "\r\n"


def _media(offer: Offer, kind: MediaKind, mid: str, down: DownLine | None) -> Iterator[str]:
    first = offer.candidates[0]
    sounds = (f.RED, f.OPUS) if offer.redundant or down is not None else (f.OPUS,)
    types = sounds if kind is MediaKind.AUDIO else (f.VP8, f.VP8_RTX)
    yield f"m={kind.name.lower()} {first.port} UDP/TLS/RTP/SAVPF {' '.join(map(str, types))}"
    yield f"c=IN {'IP6' if ':' in first.host else 'IP4'} {first.host}"
    for number, place in enumerate(offer.candidates):
        yield f"a=candidate:{number + 1} 1 udp {_PRIORITY - 256 * number} {place.host} {place.port} typ host"
    yield "a=end-of-candidates"
    yield f"a=ice-ufrag:{offer.ufrag}"
    yield f"a=ice-pwd:{offer.password}"
    yield f"a=fingerprint:sha-256 {offer.fingerprint}"
    yield "a=setup:actpass"
    yield f"a=mid:{mid}"
    yield "a=recvonly" if down is None else "a=sendonly"
    yield "a=rtcp-mux"
    yield "a=rtcp-rsize"
    for number in _extensions(kind, up=down is None):
        yield f"a=extmap:{number} {f.EXTENSIONS[number]}"
    yield from _sound(sounds) if kind is MediaKind.AUDIO else _pictures()
    if down is not None:
        # Both halves of a pair are one stream, which the client plays in step.
        yield f"a=msid:{cname_of(mid)} {mid}"
        if down.repair:
            yield f"a=ssrc-group:FID {down.ssrc} {down.repair}"
        # Browsers take the first for the picture, whatever the group says.
        for ssrc in (down.ssrc, down.repair) if down.repair else (down.ssrc,):
            yield f"a=ssrc:{ssrc} cname:{cname_of(mid)}"
    elif kind is MediaKind.VIDEO:
        for rid in f.LAYERS:
            yield f"a=rid:{rid} recv"
        yield f"a=simulcast:recv {';'.join(f.LAYERS)}"


def _extensions(kind: MediaKind, *, up: bool) -> Iterator[int]:
    yield from (f.EXT_MID, f.EXT_SEND_TIME, f.EXT_TRANSPORT_SEQ)
    if kind is MediaKind.VIDEO:
        yield f.EXT_ORIENTATION
        if up:
            yield from (f.EXT_RID, f.EXT_REPAIRED_RID)


def _sound(types: Sequence[int]) -> Iterator[str]:
    if f.RED in types:
        yield f"a=rtpmap:{f.RED} red/{f.AUDIO_HZ}/2"
        yield f"a=fmtp:{f.RED} {f.OPUS}/{f.OPUS}"
    yield f"a=rtpmap:{f.OPUS} opus/{f.AUDIO_HZ}/2"
    yield f"a=fmtp:{f.OPUS} minptime=10;useinbandfec=1"
    for number in types:
        yield f"a=rtcp-fb:{number} nack"
        yield f"a=rtcp-fb:{number} transport-cc"


def _pictures() -> Iterator[str]:
    yield f"a=rtpmap:{f.VP8} VP8/{f.VIDEO_HZ}"
    for feedback in ("ccm fir", "nack", "nack pli", "transport-cc"):
        yield f"a=rtcp-fb:{f.VP8} {feedback}"
    yield f"a=rtpmap:{f.VP8_RTX} rtx/{f.VIDEO_HZ}"
    yield f"a=fmtp:{f.VP8_RTX} apt={f.VP8}"


def cname_of(mid: str) -> str:
    """The name that the streams of a pair report under."""
    return f"seat{f.DOWN_MIDS.index(mid) // 2}"


# ---- the answer


class AnswerLine(msgspec.Struct, frozen=True):
    """A media line of an answer. `ssrcs`: what it will send, in the order written; `repairs`: (stream, its repair)."""

    mid: str
    flows: bool
    """False: the client will not use this line."""
    ssrcs: tuple[int, ...] = ()
    repairs: tuple[tuple[int, int], ...] = ()
    rids: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    """Payload types that the client takes."""


class Answer(msgspec.Struct, frozen=True):
    """What the bridge needs of an answer."""

    fingerprints: tuple[Fingerprint, ...]
    lines: tuple[AnswerLine, ...]

    def line(self, mid: str) -> AnswerLine:
        """The line of this name; every answer has all of them."""
        return self.lines[MIDS.index(mid)]

    @property
    def redundant(self) -> bool:
        """Whether the client reads redundant sound (RFC 2198): not every browser does."""
        heard = [line for line in self.lines if line.mid in f.DOWN_MIDS[::2] and line.flows]
        return all(str(f.RED) in line.types for line in heard)


class _Draft:
    """A media line while it is read."""

    def __init__(self, head: str) -> None:
        words = head.split(" ")
        if len(words) < 4 or words[0] not in ("audio", "video") or not _DIGITS.match(words[1]):
            raise _refused("a media line")
        self.kind = words[0]
        self.rejected = words[1] == "0"
        self.types = tuple(words[3:])
        self.mid = ""
        self.direction = "sendrecv"
        self.ssrcs: list[int] = []
        self.repairs: list[tuple[int, int]] = []
        self.rids: list[str] = []


def read_answer(text: str) -> Answer:
    """Read an answer to an offer of ours. Raises `ProtocolError` (`invalid`) for anything that does not fit it."""
    if len(text) > SDP_CHARS:
        raise _refused("its length")
    lines = text.splitlines()
    if not lines or len(lines) > LINES or lines[0] != "v=0":
        raise _refused("its beginning")
    prints: set[tuple[str, str]] = set()
    drafts: list[_Draft] = []
    for line in lines:
        if len(line) > LINE_CHARS or line[1:2] != "=":
            raise _refused("a line")
        if line.startswith("m="):
            if len(drafts) == len(MIDS):
                raise _refused("its number of media lines")
            drafts.append(_Draft(line[2:]))
        elif line.startswith("a="):
            name, _, value = line[2:].partition(":")
            if name == "fingerprint":
                prints.add(_fingerprint(value))
            elif name == "setup" and value != "active":
                raise _refused("its role")
            elif drafts:
                _read_attribute(drafts[-1], name, value)
    if not 1 <= len(prints) <= len(_DIGESTS):
        raise _refused("its fingerprint")
    found = tuple(_checked(mid, draft) for mid, draft in zip(MIDS, drafts, strict=False))
    if len(found) != len(MIDS):
        raise _refused("its number of media lines")
    every = [ssrc for line in found for ssrc in line.ssrcs]
    if len(every) > SSRCS or len(set(every)) != len(every):
        raise _refused("its streams")
    return Answer(tuple(Fingerprint(*each) for each in sorted(prints)), found)


def _read_attribute(draft: _Draft, name: str, value: str) -> None:
    if name == "mid":
        draft.mid = value
    elif name in _DIRECTIONS:
        draft.direction = name
    elif name == "ssrc":
        ssrc = _ssrc(value.partition(" ")[0])
        if ssrc not in draft.ssrcs:
            draft.ssrcs.append(ssrc)
            if len(draft.ssrcs) > SSRCS:
                raise _refused("its streams")
    elif name == "ssrc-group":
        words = value.split(" ")
        if words[0] == "FID":
            if len(words) != 3 or len(draft.repairs) == SSRCS:
                raise _refused("a group of streams")
            draft.repairs.append((_ssrc(words[1]), _ssrc(words[2])))
    elif name == "rid":
        rid, _, way = value.partition(" ")
        if rid not in f.LAYERS or rid in draft.rids or way.partition(" ")[0] != "send":
            raise _refused("a layer")
        draft.rids.append(rid)


def _checked(mid: str, draft: _Draft) -> AnswerLine:
    """The line, when it answers the line of the offer that has this place."""
    up = mid in _UP
    sound = mid == f.UP_AUDIO_MID or (not up and f.DOWN_MIDS.index(mid) % 2 == 0)
    if draft.mid != mid or (draft.kind == "audio") is not sound:
        raise _refused("the order of its media lines")
    flows = not draft.rejected and draft.direction != "inactive"
    if flows and draft.direction != ("sendonly" if up else "recvonly"):
        raise _refused("a direction")
    known = set(draft.ssrcs)
    repaired = [ssrc for pair in draft.repairs for ssrc in pair]
    if not known.issuperset(repaired) or len(set(repaired)) != len(repaired):
        raise _refused("a group of streams")
    if (sound and (draft.repairs or draft.rids)) or (not up and draft.rids):
        raise _refused("a layer")
    if not up or not flows:
        # Browsers name streams also where they only receive: of their reports.
        return AnswerLine(mid, flows, types=draft.types)
    return AnswerLine(mid, flows, tuple(draft.ssrcs), tuple(draft.repairs), tuple(draft.rids), draft.types)


def _fingerprint(value: str) -> tuple[str, str]:
    algorithm, _, digest = value.partition(" ")
    known = _DIGESTS.get(algorithm.lower())
    digest = digest.strip().upper()
    if known is None or not known.match(digest):
        raise _refused("its fingerprint")
    return algorithm.lower(), digest


def _ssrc(text: str) -> int:
    if _DIGITS.match(text) and 0 < int(text) < 1 << 32:
        return int(text)
    raise _refused("a stream")


def _refused(what: str) -> ProtocolError:
    return ProtocolError(WireError.INVALID, f"the answer does not fit the offer: {what}")
