"""The offer that the bridge writes, and which answers it takes."""

import pytest
from aiortc.sdp import SessionDescription
from hypothesis import given
from hypothesis import strategies as st

from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.video.formats import DOWN_MIDS, EXTENSIONS, MediaKind
from leeside_server.video.sdp import MIDS, Candidate, DownLine, Offer, read_answer, write_offer
from tests.video.worker.answers import DIGEST, answer

DOWN = tuple(
    DownLine(mid, MediaKind(place % 2), 100 + place, 200 + place if place % 2 else 0)
    for place, mid in enumerate(DOWN_MIDS)
)


def offer(*hosts: str) -> str:
    places = [Candidate(host, 47_000) for host in hosts or ("192.0.2.1",)]
    return write_offer(Offer(17, 3, "ours", "p" * 32, DIGEST, places, DOWN))


def test_another_reader_finds_in_the_offer_what_was_meant() -> None:
    read = SessionDescription.parse(offer("192.0.2.1", "2001:db8::1"))
    assert [media.rtp.muxId for media in read.media] == list(MIDS)
    assert [media.kind for media in read.media] == ["audio", "video"] * 6
    assert [media.direction for media in read.media] == ["recvonly"] * 2 + ["sendonly"] * 10
    for media in read.media:
        assert [(c.ip, c.port, c.type) for c in media.ice_candidates] == [
            ("192.0.2.1", 47_000, "host"),
            ("2001:db8::1", 47_000, "host"),
        ]
        assert media.ice_candidates[0].priority > media.ice_candidates[1].priority
        assert media.ice_candidates_complete
        assert media.ice is not None
        assert media.ice.iceLite
        assert media.dtls is not None
        assert [(each.algorithm, each.value) for each in media.dtls.fingerprints] == [("sha-256", DIGEST)]
        assert media.rtcp_mux
        assert {each.id: each.uri for each in media.rtp.headerExtensions}.items() <= EXTENSIONS.items()
    types = [[codec.payloadType for codec in media.rtp.codecs] for media in read.media]
    assert types == [[63, 111], [96, 97]] * 6


def test_the_pair_of_a_seat_is_played_in_step() -> None:
    lines = offer().split("\r\n")
    streams = [line for line in lines if line.startswith("a=msid:")]
    assert streams == [f"a=msid:seat{place // 2} {mid}" for place, mid in enumerate(DOWN_MIDS)]


def test_the_picture_is_named_before_its_repairs() -> None:
    named = [line.split(" ")[0] for line in offer().split("\r\n") if line.startswith("a=ssrc:")]
    assert named[:3] == ["a=ssrc:100", "a=ssrc:101", "a=ssrc:201"]


def test_the_camera_may_send_three_sizes() -> None:
    text = offer()
    assert text.count("a=simulcast:recv q;h;f") == 1
    assert [text.count(f"a=rid:{rid} recv") for rid in "qhf"] == [1, 1, 1]


def test_no_offer_asks_for_audio_levels_or_names_another_server() -> None:
    text = offer()
    assert "audio-level" not in text
    assert "stun:" not in text
    assert "sendrecv" not in text


def test_an_answer_is_read() -> None:
    read = read_answer(answer())
    assert [(each.algorithm, each.value) for each in read.fingerprints] == [("sha-256", DIGEST)]
    assert [line.mid for line in read.lines] == list(MIDS)
    assert read.line("0").ssrcs == (11,)
    assert read.line("1").ssrcs == (21, 22)
    assert read.line("1").repairs == ((21, 22),)
    assert all(line.flows for line in read.lines)


@pytest.mark.parametrize("redundant", [False, True])
def test_who_reads_redundant_sound_is_known(redundant: bool) -> None:
    assert read_answer(answer(redundant=redundant)).redundant is redundant


def test_layers_are_read() -> None:
    assert read_answer(answer(rids="qhf")).line("1").rids == ("q", "h", "f")


def test_a_line_may_be_turned_down() -> None:
    text = answer(audio=None, video=None)
    off = text.replace("a=sendonly", "a=inactive", 1).replace(
        "m=video 9 UDP/TLS/RTP/SAVPF", "m=video 0 UDP/TLS/RTP/SAVPF", 1
    )
    assert [line.flows for line in read_answer(off).lines] == [False, False] + [True] * 10


GOOD = answer()
BAD = {
    "no fingerprint": GOOD.replace("a=fingerprint", "a=x-fingerprint"),
    "a weak fingerprint": GOOD.replace("sha-256", "sha-1"),
    "a short fingerprint": GOOD.replace(DIGEST, DIGEST[:-3]),
    "the bridge's role": GOOD.replace("a=setup:active", "a=setup:passive"),
    "both ways": GOOD.replace("a=sendonly", "a=sendrecv", 1),
    "against the stream": GOOD.replace("a=recvonly", "a=sendonly", 1),
    "lines in another order": GOOD.replace("a=mid:a", "a=mid:?")
    .replace("a=mid:c", "a=mid:a")
    .replace("a=mid:?", "a=mid:c"),
    "a line too many": GOOD + GOOD[GOOD.index("m=audio") :],
    "a line too few": GOOD[: GOOD.rindex("m=video")],
    "a kind of its own": GOOD.replace("m=audio", "m=application", 1),
    "a picture for a sound": GOOD.replace("m=audio", "m=video", 1),
    "an endless stream": GOOD.replace("a=ssrc:11 ", "a=ssrc:4294967296 "),
    "a stream of no number": GOOD.replace("a=ssrc:11 ", "a=ssrc:eleven "),
    "stream nought": GOOD.replace("a=ssrc:11 ", "a=ssrc:0 "),
    "a stream twice": GOOD.replace("a=ssrc:11 ", "a=ssrc:21 "),
    "nine streams": GOOD.replace(
        "a=ssrc:11 cname:x", "\r\n".join(f"a=ssrc:{number} cname:x" for number in range(30, 37))
    ),
    "a repair of nothing": GOOD.replace("FID 21 22", "FID 21 23"),
    "a stream that repairs itself": GOOD.replace("FID 21 22", "FID 21 21"),
    "a group of three": GOOD.replace("FID 21 22", "FID 21 22 23"),
    "a layer of its own": answer(rids="qhx"),
    "a layer twice": answer(rids="qq"),
    "a layer received": answer(rids="q").replace("a=rid:q send", "a=rid:q recv"),
    "no description": "v=1\r\n",
    "nothing": "",
    "a megabyte": GOOD + "a=x:" + "y" * 1_000_000,
    "a long line": GOOD + "a=x:" + "y" * 2_000,
    "many lines": GOOD + "a=x\r\n" * 2_000,
    "no line": GOOD + "hello\r\n",
    "a port of no number": GOOD.replace("m=audio 9", "m=audio nine", 1),
}


@pytest.mark.parametrize("what", BAD)
def test_what_does_not_fit_the_offer_is_refused(what: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        read_answer(BAD[what])
    assert refused.value.code is WireError.INVALID


@given(st.data())
def test_whatever_is_said_is_read_or_refused_as_invalid(data: st.DataObject) -> None:
    lines = GOOD.split("\r\n")
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(0, len(lines) - 1))
        lines[place] = data.draw(st.sampled_from([*lines, "a=rid:", "a=ssrc:", "m=", "a=", "="]) | st.text())
    found: list[str] | WireError
    try:
        found = [line.mid for line in read_answer("\r\n".join(lines)).lines]
    except ProtocolError as refused:
        found = refused.code
    assert found in (list(MIDS), WireError.INVALID)
