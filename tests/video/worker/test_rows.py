"""When a port reads: at once what comes after a pause, and in rows what comes close together."""

import socket
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from leeside_server.video.dtls import Buffers
from leeside_server.video.metrics import Counts
from leeside_server.video.udp import BATCH, ROW_S, Face, Port


class Loop:
    """What a port asks of its loop."""

    def __init__(self) -> None:
        self._reads = False
        self.later: list[tuple[float, Callable[..., None], tuple[Any, ...]]] = []

    def reads(self) -> bool:
        """Whether it says when something has come."""
        return self._reads

    def add_reader(self, _descriptor: int, _call: Callable[..., None], *_arguments: Any) -> None:
        self._reads = True

    def remove_reader(self, _descriptor: int) -> None:
        self._reads = False

    def call_later(self, after_s: float, call: Callable[..., None], *arguments: Any) -> None:
        self.later.append((after_s, call, arguments))

    def call_soon(self, call: Callable[..., None], *arguments: Any) -> None:
        self.call_later(0.0, call, *arguments)


class Stage:
    """A port whose time stands, and who writes to it. `rows`: how many strangers' datagrams each row had."""

    def __init__(self) -> None:
        self.now_s = 5.0
        self.counts = Counts()
        self.rows: list[int] = []
        self.loop = Loop()
        self.port = Port(Buffers(), self.counts, lambda: self.now_s, self._row)
        self.port.open(["127.0.0.1"], 0)
        self.port.listen(cast("Any", self.loop))
        self.face: Face = self.port.faces[0]
        self.sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def _row(self) -> None:
        self.rows.append(self.counts.strange - sum(self.rows))

    def send(self, count: int) -> None:
        for _ in range(count):
            self.sender.sendto(b"\x80", ("127.0.0.1", self.port.number))

    def passes(self) -> float:
        """Do what waits; after how long that was."""
        ((after_s, call, arguments),) = self.loop.later
        self.loop.later.clear()
        self.now_s += after_s
        call(*arguments)
        return after_s


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.port.close()
    made.sender.close()


def test_what_comes_after_a_pause_is_read_at_once(stage: Stage) -> None:
    for _ in range(3):
        stage.now_s += ROW_S
        stage.send(2)
        stage.port.readable(stage.face)
    assert stage.rows == [2, 2, 2]
    assert stage.loop.reads()
    assert stage.loop.later == []


def test_what_comes_closer_together_is_read_in_rows_until_nothing_comes(stage: Stage) -> None:
    stage.send(1)
    stage.port.readable(stage.face)
    stage.now_s += ROW_S / 2
    stage.send(1)
    stage.port.readable(stage.face)
    assert stage.rows == [1]
    assert not stage.loop.reads(), "or the loop would turn until then"
    stage.send(4)
    assert stage.passes() == ROW_S
    assert stage.rows == [1, 5]
    stage.send(1)
    assert stage.passes() == ROW_S
    assert stage.rows == [1, 5, 1]
    assert stage.passes() == ROW_S
    assert stage.rows == [1, 5, 1, 0]
    assert stage.loop.reads()
    assert stage.loop.later == []


def test_more_than_a_row_waits_for_nothing_but_the_others(stage: Stage) -> None:
    stage.send(1)
    stage.port.readable(stage.face)
    stage.send(BATCH + 3)
    stage.port.readable(stage.face)
    stage.passes()
    assert stage.passes() == 0.0
    assert stage.rows == [1, BATCH, 3]


def test_a_port_that_was_closed_reads_no_more(stage: Stage) -> None:
    stage.send(1)
    stage.port.readable(stage.face)
    stage.port.readable(stage.face)
    stage.port.close()
    stage.passes()
    assert (stage.loop.reads(), stage.rows) == (False, [1])
