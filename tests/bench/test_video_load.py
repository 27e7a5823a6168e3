"""The video load before anything is measured by it: what it sends, what it says and reads, and how a growth is drawn."""

from __future__ import annotations

import asyncio
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Final

import pytest

from deploy.devtool.place import ROOT
from leeside_protocol.video.formats import MediaKind
from leeside_protocol.video.rtp import begins_key_frame
from leeside_server.video.sdp import Candidate as Place
from leeside_server.video.sdp import DownLine, Offer, read_answer, write_offer
from tests.bench.curve import Curve, draw
from tests.bench.figures import Result
from tests.bench.video import MOST_ROOMS, Step, further
from tests.bench.video_line import Line, Remote, answered, described
from tests.bench.video_load import FRAMES_PER_S, KEY_FRAMES, Pace, Second, Seen, VideoLoad, synthetic
from tests.bench.video_rooms import PlainWorker, Worker

SVG: Final = "{http://www.w3.org/2000/svg}"


def an_offer() -> str:
    down = [
        DownLine(
            mid,
            MediaKind.VIDEO if number % 2 else MediaKind.AUDIO,
            1_000 + number,
            2_000 + number if number % 2 else 0,
        )
        for number, mid in enumerate("abcdefghij")
    ]
    return write_offer(
        Offer(
            1,
            1,
            "ufrag",
            "password-of-22-characters",
            ":".join(["AB"] * 32),
            [Place("127.0.0.1", 8480)],
            down,
        )
    )


async def test_its_answer_is_one_that_the_bridge_reads() -> None:
    line = Line()
    try:
        offer = an_offer()
        answer = read_answer(answered(line, offer))
        assert answer.line("0").ssrcs == (line.audio_ssrc,)
        assert set(answer.line("1").ssrcs) == {line.video_ssrc, line.repair_ssrc}
        assert answer.line("1").repairs == ((line.video_ssrc, line.repair_ssrc),)
        assert answer.line("a").flows
        remote = Remote(offer)
        assert (remote.address, remote.ufrag, remote.leads) == (("127.0.0.1", 8480), "ufrag", False)
    finally:
        line.close()


async def test_who_is_offered_something_by_a_whole_agent_lets_that_one_lead() -> None:
    line = Line()
    try:
        offer = described(line, [("audio", "0", "sendonly")], "actpass")
        candidate = "a=candidate:1 1 udp 1 127.0.0.1 4000 typ host\r\n"
        assert Remote(offer + candidate).leads
    finally:
        line.close()


def test_its_pictures_take_the_bits_they_claim_and_begin_with_a_key_frame() -> None:
    frames = synthetic(1_200)
    assert len(frames) == KEY_FRAMES
    kbps = sum(map(len, frames)) * 8 / 1_000 * FRAMES_PER_S / KEY_FRAMES
    assert 1_150 < kbps < 1_250
    first, other = (b"\x90\x80\x80\x01" + frame for frame in frames[:2])
    assert begins_key_frame(first)
    assert not begins_key_frame(other)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Worker, PlainWorker])
async def test_a_worker_takes_its_packets_for_sealed_ones_and_hands_all_on(
    tmp_path: Path, kind: type[Worker]
) -> None:
    worker = kind(tmp_path)
    try:
        filled = await worker.fill(1, 2)
        load = VideoLoad(filled.senders, filled.lines, synthetic(150), 1)
        seen = await asyncio.to_thread(load.run, worker.pid, Pace(2.0, 2.0))
        filled.close()
    finally:
        worker.close()
    assert seen.sent > 100
    assert seen.arrived > 0.5
    assert seen.pictures > 1
    assert seen.refused == 0
    assert len(seen.seconds) == 2
    assert all(second.delays_s for second in seen.seconds)
    assert 0 <= seen.delay_ms(0.5) < 1_000
    assert len(seen.late_s) > 100


def test_a_figure_is_by_packet_and_core() -> None:
    seen = Seen(2.0, 100, 400, 400, 0.2, 0.1, 0, [Second([0.001, 0.002, 0.003, 0.1])], [0.004], 30.0)
    assert (seen.cpu_us, seen.cores, seen.arrived, seen.late_ms) == (500.0, 0.1, 1.0, 4.0)
    assert seen.load_cores == 0.05
    assert (seen.delay_ms(0.5), seen.delay_ms(0.99)) == (3.0, 100.0)


def a_step(rooms: int, *, arrived: int = 400, took_s: float = 0.001, late_s: float = 0.0) -> Step:
    return Step(rooms, Seen(2.0, 100, arrived, 400, 0.2, 0.1, 0, [Second([took_s])], [late_s], 30.0), 1.0)


def in_a_shared_hour(*stolen_s: float, least_own: int = 2) -> Seen:
    """A second for each: 1 ms at most in what is our own, 50 ms while others have the machine."""
    seconds = [Second([0.05 if each >= 0.02 else 0.001], each) for each in stolen_s]
    return Seen(float(len(seconds)), 100, 400, 400, 0.2, 0.1, 0, seconds, [0.0], 30.0, least_own)


def test_delays_are_told_of_the_seconds_that_were_our_own() -> None:
    seen = in_a_shared_hour(0.0, 0.03, 0.01)
    assert (seen.own_seconds, seen.by_own) == (2, True)
    assert (seen.delay_ms(0.99), seen.any_delay_ms(0.99)) == (1.0, 50.0)
    told = str(Step(8, seen, 1.0))
    assert "p99 1.0 ms in the 2 of 3 seconds that were our own, 50.0 in all" in told
    assert "others had 1.3% of a core" in told


def test_delays_are_told_of_all_where_too_few_seconds_were_our_own() -> None:
    seen = in_a_shared_hour(0.0, 0.03, 0.02)
    assert (seen.own_seconds, seen.by_own) == (1, False)
    assert seen.delay_ms(0.99) == 50.0
    assert "only 1 of 3 seconds were our own: this is of all" in str(Step(8, seen, 1.0))


def test_what_is_late_in_a_second_of_our_own_counts() -> None:
    seconds = [Second([0.001] * 90 + [0.2] * 10, 0.01), Second([0.001] * 100)]
    seen = Seen(2.0, 100, 400, 400, 0.2, 0.1, 0, seconds, [0.0], 30.0, 2)
    assert seen.delay_ms(0.99) == 200.0


def test_rooms_are_whole_when_everything_arrives_in_time() -> None:
    assert a_step(8).whole
    assert not a_step(8, arrived=390).whole
    assert not a_step(8, took_s=0.03).whole
    assert "the load was full" in str(a_step(8, arrived=390, late_s=0.02))
    assert "the load was full" not in str(a_step(8, arrived=390))
    step = a_step(8)
    assert "others" not in str(step)
    assert "own" not in str(step)


def test_how_many_rooms_a_core_carries_is_looked_for_until_it_is_known() -> None:
    whole = [a_step(rooms) for rooms in (1, 4, 8)]
    assert further(whole) == 12
    assert further([*whole, a_step(12, arrived=300)]) == 10
    assert further([*whole, a_step(12, arrived=300), a_step(10)]) is None
    assert further([*whole, a_step(12, arrived=300), a_step(10, arrived=300)]) is None
    assert further([a_step(MOST_ROOMS)]) is None


def test_a_growth_is_drawn_with_a_line_for_each_contender() -> None:
    curve = Curve(
        "Rooms & cores",
        "rooms",
        "cores",
        [("ours", [(1, 0.1), (2, 0.2)]), ("Janus", [(1, 0.2)]), ("none", [])],
    )
    drawn = ET.fromstring(draw(curve))
    assert len(drawn.findall(f"{SVG}polyline")) == 2
    assert {text.text for text in drawn.findall(f"{SVG}text")} >= {"Rooms & cores", "ours", "Janus"}
    result = Result("video", short=True, curve=curve)
    assert result.as_object()["curve"] == curve.as_object()
    assert "curve" not in Result("video", short=True).as_object()


def test_the_guides_sizes_are_those_that_were_measured() -> None:
    kept = json.loads((ROOT / "docs/results/bench-video.json").read_text())
    told = re.findall(
        r"^\| (\d+) \| ([\d.]+) \| ([\d.]+%) \|$",
        (ROOT / "docs/operators-guide.md").read_text(),
        re.MULTILINE,
    )
    measured = [(f"{rooms:.0f}", f"{cores:.2f}") for rooms, cores in kept["curve"]["lines"]["Leeside"]]
    assert measured
    assert [(rooms, cores) for rooms, cores, _ in told] == measured
    notes = " ".join(row["note"] for row in kept["rows"])
    assert all(f"ours {share}" in notes for _, _, share in told)
