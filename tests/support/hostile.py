"""What hostile peers send to the bridge: datagrams that are nothing, that lie about their length, or that try a password.

    python -m tests.support.hostile PORT COUNT SEED UFRAG

sends them to the bridge on this machine's port, from a process of its own: who floods must not take the time of those who
listen whether they are disturbed.
"""

from __future__ import annotations

import itertools
import random
import socket
import struct
import sys
import time
from collections.abc import Iterator
from typing import Final

from aioice import stun

HOST: Final = "127.0.0.1"
BURST: Final = 100
BURST_S: Final = 0.005
"""A burst is sent that often: 20,000 datagrams a second."""
SIZES: Final = (0, 1, 3, 19, 20, 60, 200, 1_200, 1_500, 2_000)
FIRST_BYTES: Final = (0, 1, 20, 22, 23, 64, 128, 144, 191)
"""With which the worker takes a datagram for something that it reads."""
LYING: Final = 50
"""One in so many of what a process of this module sends lies about its length, and one tries a password."""


def noise(count: int, seed: int) -> Iterator[bytes]:
    """Random datagrams, half of them beginning as something that the worker reads."""
    chance = random.Random(seed)
    for number in range(count):
        data = bytearray(chance.randbytes(chance.choice(SIZES)))
        if data and number % 2:
            data[0] = chance.choice(FIRST_BYTES)
            if len(data) > 8 and data[0] < 2:
                data[4:8] = b"\x21\x12\xa4\x42"
        yield bytes(data)


def _stun_like(kind: int, size: int, rest: bytes) -> bytes:
    return struct.pack("!HHI", kind, size, 0x2112A442) + bytes(12) + rest


LIES: Final = (
    _stun_like(1, 0xFFFF, b""),
    _stun_like(1, 8, struct.pack("!HH", 6, 0xFFFF) + b"abcd"),
    _stun_like(1, 0xFFFC, struct.pack("!HH", 6, 4) + b"abcd" * 400),
    # DTLS: a record of 64 KiB, and a handshake message of 16 MiB.
    b"\x16\xfe\xfd" + bytes(8) + b"\xff\xff" + b"\x01\xff\xff\xff" + bytes(20),
    b"\x16\xfe\xfd" + bytes(8) + b"\x00\x20" + b"\x01\xff\xff\xff" + bytes(28),
    # RTP: fifteen sources and 256 KiB of extension that are not there; padding longer than the packet.
    b"\x9f\x6f" + bytes(10) + b"\xbe\xde\xff\xff",
    b"\xb0\x6f" + bytes(10) + b"\xbe\xde\xff\xff" + b"\xff" * 20,
    # RTCP: 256 KiB long.
    b"\x81\xc9\xff\xff" + bytes(8),
)
"""Datagrams whose lengths lie, up to four gigabytes when multiplied out."""


def binding(user: str, password: str, *, fingerprint: bool = True) -> bytes:
    """A binding request as a client sends it."""
    request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    request.attributes["USERNAME"] = user
    request.attributes["PRIORITY"] = 1
    request.attributes["ICE-CONTROLLING"] = 7
    request.attributes["USE-CANDIDATE"] = None
    request.add_message_integrity(password.encode())
    if not fingerprint:
        del request.attributes["FINGERPRINT"]
    return bytes(request)


def of_a_stranger(count: int, seed: int, ufrag: str) -> Iterator[bytes]:
    """All of it mixed; the passwords are tried for the transport of this name."""
    lies = itertools.cycle(LIES)
    guesses = itertools.cycle([binding(f"{ufrag}:x", f"guess {number}") for number in range(16)])
    for number, data in enumerate(noise(count, seed)):
        yield next(lies) if number % LYING == 1 else next(guesses) if number % LYING == 2 else data


def main(port: int, count: int, seed: int, ufrag: str) -> int:
    """Send them; returns how many left."""
    sent = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        due_s = time.monotonic()
        for number, data in enumerate(of_a_stranger(count, seed, ufrag)):
            try:
                line.sendto(data, (HOST, port))
                sent += 1
            except OSError:
                # The system has no room for it: the flood is as large as this machine makes it.
                continue
            if number % BURST == BURST - 1:
                due_s = max(due_s + BURST_S, time.monotonic() - BURST_S)
                time.sleep(max(0.0, due_s - time.monotonic()))
    return sent


if __name__ == "__main__":
    print(main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
