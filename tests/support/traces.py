"""Where a text could be left behind, and how it is looked for: as it is, in hexadecimal, in Base64, and under the mask
of a WebSocket frame.

A client's frames are masked (RFC 6455, 5.3): each byte is XORed with one of four key bytes in turn. So `x[i] ^ x[i + 4]`
does not depend on the key, and a text stands in masked bytes where its own such differences do, whatever the key was.
"""

from __future__ import annotations

import base64
import ctypes
import math
import os
import socket
import struct
import threading
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from leeside_protocol.sealing.public.encoding import Value

MASK_BYTES: Final = 4
_ETH_ALL: Final = 3
_ETHERNET_BYTES: Final = 14
_TCP: Final = 6
_SNAP_BYTES: Final = 262_144
_BUFFER_BYTES: Final = 64 * 1024 * 1024
_DRAIN_S: Final = 5.0
_INSTRUCTION: Final = struct.Struct("HBBI")
_SO_ATTACH_FILTER: Final = 26
_SO_RCVBUFFORCE: Final = 33


@dataclass(frozen=True, slots=True)
class Canary:
    """Bytes that must not be left anywhere; long enough that they are nowhere by chance."""

    name: str
    plain: bytes

    @classmethod
    def of_value(cls, name: str, *values: Value) -> Canary:
        """Values as MessagePack has them inside a body, one behind the other."""
        import msgpack

        return cls(name, b"".join(msgpack.packb(value, use_bin_type=True) for value in values))

    def found_in(self, data: bytes) -> str:
        """In which form the canary stands in some bytes; "" when in none."""
        return self.found(data, unmasked(data))

    def found(self, data: bytes, differences: bytes) -> str:
        """The same, where the `unmasked` of the bytes is known."""
        for form, needle in self._forms():
            if needle in data:
                return form
        return "masked" if unmasked(self.plain) in differences else ""

    def _forms(self) -> Iterable[tuple[str, bytes]]:
        yield "plain", self.plain
        yield "hex", self.plain.hex().encode()
        yield "HEX", self.plain.hex().upper().encode()
        for shift in range(3):
            # Of the whole groups only: what stands before and behind changes the characters at the edges.
            whole = self.plain[shift : shift + (len(self.plain) - shift) // 3 * 3]
            yield "base64", base64.b64encode(whole)
            yield "base64url", base64.urlsafe_b64encode(whole)


def unmasked(data: bytes) -> bytes:
    """What of some bytes no WebSocket mask can change."""
    if len(data) <= MASK_BYTES:
        return b""
    size = len(data) - MASK_BYTES
    left, right = int.from_bytes(data[:size], "big"), int.from_bytes(data[MASK_BYTES:], "big")
    return (left ^ right).to_bytes(size, "big")


def found(canaries: Iterable[Canary], places: dict[str, bytes]) -> dict[str, set[str]]:
    """Where each canary stands: its name, and the places."""
    traces: dict[str, set[str]] = {}
    wanted = tuple(canaries)
    for place, data in places.items():
        differences = unmasked(data)
        for canary in wanted:
            if canary.found(data, differences):
                traces.setdefault(canary.name, set()).add(place)
    return traces


def files_below(folder: Path, since_s: float = 0.0) -> dict[str, bytes]:
    """Every file below a folder that was written since a Unix time, by its path. Names are traces too, so each file's
    own path goes before its content."""
    found: dict[str, bytes] = {}
    for place, _, names in os.walk(folder):
        for path in (Path(place, name) for name in names):
            # A server that runs takes files away meanwhile: what is gone keeps nothing.
            with suppress(FileNotFoundError):
                if path.is_file() and not path.is_symlink() and path.stat().st_mtime >= since_s:
                    found[str(path.relative_to(folder))] = str(path).encode() + b"\0" + path.read_bytes()
    return found


@dataclass(slots=True)
class Capture:
    """TCP payloads of some ports, as they passed over the loopback."""

    ports: frozenset[int]
    streams: dict[tuple[int, int], bytearray] = field(default_factory=dict[tuple[int, int], bytearray])
    _seen: dict[tuple[int, int], set[int]] = field(default_factory=dict[tuple[int, int], set[int]])

    def take(self, packet: bytes) -> None:
        """One packet of the loopback, its Ethernet header in front."""
        ip = packet[_ETHERNET_BYTES:]
        if len(ip) < 20 or ip[0] >> 4 != 4 or ip[9] != _TCP:
            return
        tcp = ip[(ip[0] & 15) * 4 : int.from_bytes(ip[2:4], "big")]
        if len(tcp) < 20:
            return
        source, target, sequence = struct.unpack_from(">HHI", tcp)
        if source not in self.ports and target not in self.ports:
            return
        payload = tcp[(tcp[12] >> 4) * 4 :]
        seen = self._seen.setdefault((source, target), set())
        # The loopback shows each packet twice: on its way out and on its way in.
        if payload and sequence not in seen:
            seen.add(sequence)
            self.streams.setdefault((source, target), bytearray()).extend(payload)

    def heard(self, port: int) -> bytes:
        """All that went to or from a port."""
        return b"\0".join(bytes(data) for ends, data in self.streams.items() if port in ends)


def may_capture() -> bool:
    """Whether this user may listen to the loopback's packets (Linux, CAP_NET_RAW)."""
    try:
        with _packets(()):
            return True
    except (AttributeError, OSError):
        return False


def _packets(ports: Iterable[int]) -> socket.socket:
    """A socket that hears the loopback's packets from and to these ports, and no others: a busy machine has many."""
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    try:
        program = _filter(tuple(ports))
        kept = ctypes.create_string_buffer(program)
        described = struct.pack("HP", len(program) // _INSTRUCTION.size, ctypes.addressof(kept))
        opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)
        opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        opened.bind(("lo", _ETH_ALL))
    except OSError:
        opened.close()
        raise
    return opened


def _filter(ports: tuple[int, ...]) -> bytes:
    """A classic BPF program: IPv4, TCP, one of the ports (linux/filter.h; the offsets are those of Ethernet and IP)."""
    load_half, load_byte, load_header, load_half_at, equal, give = 0x28, 0x30, 0xB1, 0x48, 0x15, 0x06
    tests = 2 * (len(ports) + 1)
    program = [
        (load_half, 0, 0, 12),
        (equal, 0, tests + 3, 0x0800),
        (load_byte, 0, 0, 23),
        (equal, 0, tests + 1, _TCP),
        (load_header, 0, 0, 14),
    ]
    for offset in (14, 16):
        program.append((load_half_at, 0, 0, offset))
        for port in ports:
            # Over what follows to the last instruction, which takes the packet.
            left = tests + len(program[:5]) - len(program)
            program.append((equal, left, 0, port))
    program += [(give, 0, 0, 0), (give, 0, 0, _SNAP_BYTES)]
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in program)


@contextmanager
def capturing(ports: Iterable[int]) -> Generator[Capture]:
    """Listen to the loopback while the block runs. Raises `OSError` without the right to."""
    capture = Capture(frozenset(ports))
    with _packets(capture.ports) as packets:
        packets.settimeout(0.2)
        ended = threading.Event()

        def listen() -> None:
            # What was on its way when the block ended is read, too: until nothing comes, or for a while where the ports never fall silent.
            over_at = math.inf
            while time.monotonic() < over_at:
                try:
                    capture.take(packets.recv(_SNAP_BYTES))
                except TimeoutError:
                    if ended.is_set():
                        return
                if ended.is_set():
                    over_at = min(over_at, time.monotonic() + _DRAIN_S)

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        try:
            yield capture
        finally:
            ended.set()
            # The socket is closed after this, so not before the thread has left it.
            thread.join()
