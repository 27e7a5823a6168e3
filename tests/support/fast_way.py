"""The fast way of packets (`fan.c`, `intake.c`) in a test: what it would protect and send is given to a receiver in the test instead.

    with both_ways("fast"):
        ...                    # every `Plane` that is made here

It is built where it is not there yet: a test that is left out where the machine has a compiler would tell nothing.
"""

from __future__ import annotations

import importlib
import os
import sys
from array import array
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

from deploy import native
from leeside_server.video.dtls import SrtpAddresses
from leeside_server.video.fastways import LIBRARY, FastWays, load
from leeside_server.video.pacer import Pacer
from leeside_server.video.slot import Held
from leeside_server.video.ways import NOTHING, PLAIN, RING, LinkState, Ways

WAYS: Final = ("plain", "fast")
SANITIZED: Final = "LEESIDE_TEST_WAYS"
"""Names another library to take."""
ffi: Final[Any] = importlib.import_module("cffi").FFI()


class Tapped(FastWays):
    """The fast way, which gives every packet to whom its link names."""

    def __init__(self, ffi: Any, lib: Any) -> None:
        self.taken = 0
        """Packets that took this way."""
        self._taps: list[Callable[[bytes], None]] = []
        self._callback = ffi.callback("int(void *, void *, int *)", self._protect)
        super().__init__(ffi, lib, SrtpAddresses(int(ffi.cast("uintptr_t", self._callback)), 0, 0))

    def tap(self, link: LinkState, hear: Callable[[bytes], None]) -> None:
        """What leaves on this link is heard there; the system refuses it, since no socket is named."""
        self._taps.append(hear)
        out: Any = link
        out.descriptor = -1
        out.srtp = self._ffi.cast("void *", len(self._taps))

    def _protect(self, context: Any, packet: Any, length: Any) -> int:
        self.taken += 1
        self._taps[int(ffi.cast("uintptr_t", context)) - 1](bytes(ffi.buffer(packet, length[0])))
        return 0


_now: list[Tapped | None] = [None]


def missing() -> str:
    """Why there is no fast way to test here; "": there is. `./dev test` installs a compiler."""
    if not sys.platform.startswith("linux"):
        return "the fast way makes Linux's system calls"
    return "" if LIBRARY.exists() or native.compiler() else "no C compiler"


def taken() -> int:
    """How many packets took the fast way since it was taken up."""
    return 0 if _now[0] is None else _now[0].taken


def ways() -> Ways:
    """Of the test that runs now."""
    return _now[0] or PLAIN


def link(hear: Callable[[bytes], None], pacer: Pacer[Held] | None) -> LinkState:
    """A link of the way that is tested; its packets are heard there, and its pacer is this, or none holds anything up."""
    way = _now[0]
    made = LinkState() if way is None else way.link(*_RINGS)
    if way is not None:
        way.tap(made, hear)
    if pacer is None:
        made.room = made.most = float("inf")
        return made
    if way is None:
        return pacer.link
    for name in ("room", "filled_s", "bytes_per_s", "most", "held_bytes"):
        setattr(made, name, getattr(pacer.link, name))
    pacer.link = made
    return made


_RINGS: Final = array("i", [NOTHING] * RING), array("d", [0.0] * RING), array("i", [0] * RING)
"""All links' here: nobody reads them, and they live as long as all."""


def library() -> Path:
    """What is tested."""
    return Path(os.environ.get(SANITIZED, LIBRARY))


@cache
def _library() -> tuple[Any, Any]:
    made = load(library(), lambda ffi, lib: (ffi, lib))
    assert isinstance(made, tuple), "./dev setup builds the fast way"
    return made


@contextmanager
def both_ways(way: str) -> Generator[None]:
    """Take the way of this name for everything that is made within."""
    before = _now[0]
    _now[0] = None
    if way == "fast":
        _now[0] = Tapped(*_library())
    try:
        yield
    finally:
        _now[0] = before
