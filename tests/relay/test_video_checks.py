"""What doctor says of the video bridge's settings."""

from __future__ import annotations

import importlib.util
import socket
from pathlib import Path

import pytest

from leeside_server import video_checks
from leeside_server.config import Config, ServerSection, TurnSection, VideoSection
from leeside_server.findings import Finding, Verdict
from leeside_server.video import fastways
from tests.support.services import free_ports

WELL, WARNING, BAD = Verdict.WELL, Verdict.WARNING, Verdict.BAD
PUBLIC = "9.9.9.9"
NO_TURN = TurnSection()


def nothing(_name: str) -> None:
    """No package is found."""


def asked(
    video: VideoSection,
    turn: TurnSection = NO_TURN,
    host: str = "127.0.0.1",
) -> dict[str, Finding]:
    config = Config(server=ServerSection(roles=("relay", "video"), host=host), video=video, turn=turn)
    return {finding.check: finding for finding in video_checks.examine_video(config)}


def free_udp_port() -> int:
    return free_ports(1, socket.SOCK_DGRAM)


def test_a_node_without_the_bridge_is_asked_nothing() -> None:
    assert video_checks.examine_video(Config()) == ()


def test_every_finding_that_is_not_well_says_what_to_do() -> None:
    found = asked(VideoSection(port=0), host="0.0.0.0")
    assert {finding.verdict for finding in found.values()} == {WELL, WARNING}
    for finding in found.values():
        assert bool(finding.fix) == (finding.verdict is not WELL)
        assert finding.says.endswith(".")


def test_packages_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(VideoSection(port=0))["video"].verdict is WELL
    monkeypatch.setattr(importlib.util, "find_spec", nothing)
    assert asked(VideoSection(port=0))["video"].verdict is BAD


def test_without_the_parts_in_c_a_core_carries_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastways, "load", object)
    assert asked(VideoSection(port=0))["video_fast_way"].verdict is WELL
    monkeypatch.setattr(fastways, "load", lambda: None)
    assert asked(VideoSection(port=0))["video_fast_way"].verdict is WARNING


class TestAddresses:
    @pytest.mark.parametrize(
        ("video", "host", "verdict"),
        [
            (VideoSection(), "127.0.0.1", WELL),
            (VideoSection(), "203.0.113.1", WARNING),
            (VideoSection(listen=(PUBLIC,)), "203.0.113.1", WELL),
            (VideoSection(listen=("10.0.0.20",)), "203.0.113.1", WARNING),
            (VideoSection(listen=("10.0.0.20",), public=(PUBLIC,)), "203.0.113.1", WELL),
            (VideoSection(listen=(PUBLIC, "fd00::1")), "203.0.113.1", WARNING),
            (VideoSection(listen=(PUBLIC, "2620:fe::fe")), "203.0.113.1", WELL),
        ],
    )
    def test_what_clients_could_reach(self, video: VideoSection, host: str, verdict: Verdict) -> None:
        assert asked(video, host=host)["video_addresses"].verdict is verdict


class TestPorts:
    def test_that_can_be_had(self) -> None:
        assert asked(VideoSection(port=free_udp_port(), workers=1))["video_ports"].verdict is WELL

    def test_any_free_one_is_known_to_no_firewall(self) -> None:
        assert asked(VideoSection(port=0))["video_ports"].verdict is WARNING

    def test_one_that_is_taken_may_be_our_own(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))
            port = int(taken.getsockname()[1])
            # Also where it is not the first worker's.
            found = asked(VideoSection(port=port - 1, workers=2))["video_ports"]
        assert found.verdict is WARNING
        assert str(port) in found.says

    def test_an_address_of_another_machine(self) -> None:
        found = asked(VideoSection(listen=(PUBLIC,), port=free_udp_port()))["video_ports"]
        assert (found.verdict, PUBLIC in found.says) == (BAD, True)


class TestTurn:
    @pytest.mark.parametrize(
        ("urls", "verdict"),
        [
            ((), WARNING),
            (("turn:turn.example:3478",), WARNING),
            (("turns:turn.example:5349",), WARNING),
            (("turn:turn.example:3478", "turns:turn.example:443?transport=tcp"), WELL),
        ],
    )
    def test_who_has_a_way(self, tmp_path: Path, urls: tuple[str, ...], verdict: Verdict) -> None:
        path = tmp_path / "turn-secret"
        path.write_text("0123456789abcdef" * 3)
        found = asked(VideoSection(port=0), TurnSection(urls=urls, secret_file=path))["video_turn"]
        assert found.verdict is verdict

    def test_a_secret_that_can_be_guessed(self, tmp_path: Path) -> None:
        path = tmp_path / "turn-secret"
        path.write_text("canary")
        found = asked(VideoSection(port=0), TurnSection(urls=("turn:a",), secret_file=path))["video_turn"]
        assert (found.verdict, "canary" in found.says + found.fix) == (BAD, False)
