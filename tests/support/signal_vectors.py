"""Makes `protocol/vectors/signals.json`: what clients and the bridge say about a call (spec 09, "Signalling")."""

from __future__ import annotations

from typing import Any

from tests.support.message_vectors import invalid, pack, valid, vector_file

ANA = bytes(range(16))
LEE = bytes(range(16, 32))
SDP = "v=0\r\n"
MS = 1_795_000_000_000


def _valid_cases() -> list[dict[str, Any]]:
    lee = [LEE, 2, MS]
    whole_lee = [LEE, 2, MS, False, False, False, False]
    turn = [["turn:192.0.2.1:3478?transport=udp"], "1795000600:ab", "c2VjcmV0"]
    return [
        valid("join", "client", "Join", [2, 7], generation=7, person=False, signs=False),
        valid("join with the person", "client", "Join", [2, 7, True], generation=7, person=True, signs=False),
        valid("join, signing", "client", "Join", [2, 2**53 - 1, False, True], generation=2**53 - 1, person=False, signs=True),
        valid("answer", "client", "Answer", [4, 7, 1, SDP], generation=7, version=1, sdp=SDP),
        valid("mute", "client", "Mute", [6, 7, 1, True], generation=7, media=1, muted=True),
        valid("want", "client", "Want", [8, 7, [[LEE, 360]]], generation=7, pictures=[[LEE, 360]]),
        valid("want, as it comes", "client", "Want", [8, 7, []], generation=7, pictures=[]),
        valid("restart ice", "client", "RestartIce", [10, 7], generation=7),
        valid("leave", "client", "Leave", [12, 7], generation=7),
        valid("admit", "client", "Admit", [14, 7, LEE], generation=7, device=LEE),
        valid("restrict", "client", "Restrict", [16, 7, True], generation=7, restricted=True),
        valid("refuse", "client", "Refuse", [18, 7, LEE], generation=7, device=LEE),
        valid("leave with a field of the future", "client", "Leave", [12, 7, "later"], generation=7),
        valid("welcome", "bridge", "Welcome", [32, 7, MS, False, False, [lee], [turn]], generation=7, server_ms=MS, waiting=False, restricted=False, participants=[whole_lee], turn=[turn]),
        valid("welcome to wait", "bridge", "Welcome", [32, 7, MS, True, False, [], []], generation=7, server_ms=MS, waiting=True, restricted=False, participants=[], turn=[]),
        valid("offer", "bridge", "Offer", [34, 7, 1, SDP], generation=7, version=1, sdp=SDP),
        valid("slot", "bridge", "Slot", [36, 7, lee, "a", "b"], generation=7, participant=whole_lee, audio_mid="a", video_mid="b"),
        valid("slot of an interpreter who signs", "bridge", "Slot", [36, 7, [LEE, 3, MS, False, True, True, False], "c", "d"], generation=7, participant=[LEE, 3, MS, False, True, True, False], audio_mid="c", video_mid="d"),
        valid("gone", "bridge", "Gone", [38, 7, LEE, 1], generation=7, device=LEE, why=1),
        valid("muted", "bridge", "Muted", [40, 7, LEE, 0, True], generation=7, device=LEE, media=0, muted=True),
        valid("paused", "bridge", "Paused", [42, 7, LEE, 1], generation=7, device=LEE, why=1, lines=0),
        valid("flowing", "bridge", "Paused", [42, 7, LEE, 0, 360], generation=7, device=LEE, why=0, lines=360),
        valid("quality", "bridge", "Quality", [44, 7, 3, 1], generation=7, up=3, down=1, audio_only=False),
        valid("quality, audio alone", "bridge", "Quality", [44, 7, 1, 1, True], generation=7, up=1, down=1, audio_only=True),
        valid("violation", "bridge", "Violation", [46, 7, LEE, 1], generation=7, device=LEE, media=1),
        valid("migrate", "bridge", "Migrate", [48, 7], generation=7),
        valid("waiting", "bridge", "Waiting", [50, 7, [LEE, 3, MS]], generation=7, participant=[LEE, 3, MS, False, False, False, False]),
        valid("denied, full", "bridge", "Denied", [52, 7, 102, 5_000], generation=7, error=102, retry_ms=5_000),
        valid("restricted", "bridge", "Restricted", [54, 7, True, LEE], generation=7, restricted=True, by=LEE),
    ]  # fmt: skip


def _invalid_cases() -> list[dict[str, Any]]:
    answer = pack([4, 7, 1, SDP])
    return [
        invalid("nothing", "client", b""),
        invalid("a map", "client", pack({"tag": 2})),
        invalid("an unknown tag, even an odd one", "client", pack([3, 7])),
        invalid("what the bridge says, from a client", "client", pack([48, 7])),
        invalid("what a client says, from the bridge", "bridge", answer),
        invalid("cut short", "client", answer[:-1]),
        invalid("a byte too many", "client", answer + b"\x00"),
        invalid("generation 0", "client", pack([2, 0])),
        invalid("a generation of 2^53", "client", pack([2, 2**53])),
        invalid("an SDP of 24,577 characters", "client", pack([4, 7, 1, "v" * 24_577])),
        invalid("an SDP that is bytes", "client", pack([4, 7, 1, SDP.encode()])),
        invalid("a medium that is none", "client", pack([6, 7, 2, True])),
        invalid("a flag that is a number", "client", pack([6, 7, 1, 1])),
        invalid("seven pictures", "client", pack([8, 7, [[LEE, 360]] * 7])),
        invalid("lines below 0", "client", pack([8, 7, [[LEE, -1]]])),
        invalid("a device of 15 bytes", "client", pack([14, 7, LEE[:-1]])),
        invalid("a part that is none", "bridge", pack([36, 7, [LEE, 6, MS], "a", "b"])),
        invalid("a mid of two characters", "bridge", pack([36, 7, [LEE, 2, MS], "ab", "b"])),
        invalid("five relays", "bridge", pack([32, 7, MS, False, False, [], [[[], "", ""]] * 5])),
        invalid("a refusal without a number of the table's range", "bridge", pack([52, 7, 99])),
        invalid("more than a signal", "client", bytes(32_769), "too_large"),
    ]  # fmt: skip


def signal_vectors() -> dict[str, Any]:
    """The whole file as data; `tests.support.generate` writes it."""
    return vector_file("09-video", _valid_cases(), _invalid_cases())
