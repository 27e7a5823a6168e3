"""What of the measures is in C, compiled on first use into .dev/bench, and the words to run the load."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from deploy.devtool.place import OWN
from deploy.devtool.services import install_with_apt
from tests.faults.machine import load_cores, on_cores, server_cores
from tests.faults.outcome import Impossible

PLACE: Final = OWN / "bench"
COMPILE_S: Final = 60
RUN_S: Final = 180
MARK: Final = b"@@LS@@"


class MeasureFailed(RuntimeError):
    """The load did not come to its end."""


class Measured(msgspec.Struct, frozen=True):
    """What the load saw in its measured time; times in the unit of their names."""

    elapsed_s: float
    published: int
    deliveries: int
    acks: int
    cpu_s: float
    """The server's processor time."""
    load_cpu_s: float
    read_p50_us: float
    read_p99_us: float
    ack_p50_us: float
    ack_p99_us: float
    missing: int
    """Deliveries (or answers) that never came, also after the measured time."""
    used: int
    """Frames sent in all."""

    @property
    def cpu_us(self) -> float:
        """The server's processor time for each delivery."""
        return self.cpu_s * 1e6 / self.deliveries if self.deliveries else float("inf")


@dataclass(frozen=True, slots=True)
class Orders:
    """How to load a server: see load.c for the words."""

    pid: int
    frames: Path
    publishers: Sequence[int]
    readers: Sequence[int] = ()
    window: int = 1
    rate_per_s: float = 0
    warm_s: float = 0.5
    measure_s: float = 3.0
    ack: str = "none"
    first: int = 0
    ack_base: int = 0
    stalled: int = 0

    def words(self) -> str:
        """Standard input of the load."""
        lines = [
            f"pid {self.pid} window {self.window} rate {self.rate_per_s} warm {self.warm_s} measure {self.measure_s}",
            f"ack {self.ack} first {self.first} ackbase {self.ack_base} stalled {self.stalled} frames {self.frames}",
            f"subs {len(self.readers)} {' '.join(map(str, self.readers))}",
            f"pubs {len(self.publishers)} {' '.join(map(str, self.publishers))}",
            "go",
        ]
        return "\n".join(lines) + "\n"


def load(orders: Orders) -> Measured:
    """Run the load on its core. Raises `MeasureFailed`."""
    text = _run(
        [str(program("load"))],
        orders.words(),
        (*orders.readers, *orders.publishers),
        orders.warm_s + orders.measure_s,
    )
    return msgspec.json.decode(text, type=Measured)


def floor_us(connections: int, size_bytes: int, measure_s: float) -> float:
    """Processor time of one bare send() to each of so many connections."""
    cores = [str(min(server_cores())), str(min(load_cores()))]
    words = [str(program("floor")), str(connections), str(size_bytes), str(measure_s), *cores]
    return float(json.loads(_run(words, "", (), measure_s))["cpu_us"])


def _run(words: list[str], text: str, descriptors: Sequence[int], expected_s: float) -> str:
    with on_cores(load_cores()):
        try:
            done = subprocess.run(
                words,
                input=text,
                capture_output=True,
                text=True,
                check=False,
                timeout=expected_s + RUN_S,
                pass_fds=descriptors,
            )
        except subprocess.TimeoutExpired:
            raise MeasureFailed(f"{Path(words[0]).name} did not come to its end") from None
    if done.returncode:
        raise MeasureFailed(done.stderr.strip() or f"{Path(words[0]).name} ended with {done.returncode}")
    return done.stdout


def write_frames(frames: Sequence[bytes], folder: Path) -> Path:
    """A file of frames as load.c reads them; remove it when done."""
    handle, path = tempfile.mkstemp(dir=folder, suffix=".frames")
    with os.fdopen(handle, "wb") as file:
        for frame in frames:
            file.write(len(frame).to_bytes(4, "little"))
            file.write(frame)
    return Path(path)


def mark(number: int) -> bytes:
    """What the load finds a message by: 14 bytes."""
    return MARK + b"%08x" % number


def program(name: str) -> Path:
    """The compiled program. Raises `Impossible` where there is no compiler and none can be had."""
    return _compiled(name, name)


def library(name: str) -> Path:
    """The same as a shared library; `name.h` beside it says what is in it."""
    return _compiled(name, f"{name}.so", "-shared", "-fPIC")


def _compiled(name: str, target: str, *flags: str) -> Path:
    source = Path(__file__).with_name(f"{name}.c")
    built = PLACE / target
    changed_s = max(each.stat().st_mtime for each in (source, source.with_suffix(".h")) if each.exists())
    if built.exists() and built.stat().st_mtime > changed_s:
        return built
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        install_with_apt(["gcc", "libc6-dev"])
        compiler = shutil.which("gcc")
    if compiler is None:
        raise Impossible("the load is in C and no compiler was found: sudo apt install gcc libc6-dev")
    PLACE.mkdir(parents=True, exist_ok=True)
    fresh = PLACE / f"{target}.{os.getpid()}"
    done = subprocess.run(
        [compiler, "-O2", "-Wall", *flags, "-o", str(fresh), str(source)],
        capture_output=True,
        text=True,
        check=False,
        timeout=COMPILE_S,
    )
    if done.returncode:
        raise Impossible(
            f"{source.name} could not be compiled (it needs Linux and a libc with headers):\n{done.stderr}"
        )
    fresh.replace(built)
    return built


def raise_file_limit(wanted: int) -> None:
    """Let this process and what it starts hold so many files. Raises `Impossible`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))
    except (ValueError, OSError):
        raise Impossible(
            f"{wanted} open files are needed and {hard} allowed: ulimit -Hn {wanted}, as root"
        ) from None
