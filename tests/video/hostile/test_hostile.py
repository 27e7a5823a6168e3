"""Hostile peers against a real worker: refused, memory and files flat, and another room talks on undisturbed.

Each attack comes from a stranger, or from somebody who is let into a room of their own (`mallory`): whoever has a ticket has
keys of a transport, and may say anything in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import socket
import struct
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

import pytest

from leeside.media.path import NoPath
from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.video.formats import OPUS
from leeside_protocol.video.signalling import (
    SDP_CHARS,
    Answer,
    Denied,
    Gone,
    Join,
    Offer,
    Part,
    decode_client_signal,
    encode_signal,
)
from leeside_server.video.words import WORD_BYTES, BadWord, read_from_worker
from tests.support.hostile import BURST, BURST_S, LIES, binding, noise
from tests.support.services import HOST
from tests.support.video_worker import Seat, VideoWorker, until, video_worker

pytestmark = pytest.mark.slow

SOUND_S: Final = 0.02
UNDISTURBED: Final = 0.9
"""Of the sounds of the other room; the machine of a test loses some by itself."""
FLAT_BYTES: Final = 12_000_000
GIVEN_BACK_BYTES: Final = 5_000_000
"""What may be left of people who are gone, once there was time to give it back."""
DATAGRAMS: Final = 100_000


@dataclass(slots=True)
class Calm:
    """A room that nobody attacks: two people who talk all the time."""

    ana: Seat
    ben: Seat
    said: int = 0

    async def talk(self) -> None:
        """A sound each, every 20 ms."""
        while True:
            self.ana.peer.sound()
            self.ben.peer.sound()
            self.said += 1
            await asyncio.sleep(SOUND_S)

    @property
    def heard(self) -> int:
        return min(self.ana.peer.sounds, self.ben.peer.sounds)


@asynccontextmanager
async def beside_a_calm_room(at_once: int = 0) -> AsyncGenerator[VideoWorker]:
    """A worker to attack, which has had so many people `at_once`: what they needed is used again, and is not given back. Afterwards:
    it lives, had no exception, kept nothing, and the calm room heard itself."""
    async with video_worker() as worker:
        await come_and_go(worker, at_once)
        room = worker.room()
        calm = Calm(await worker.join(room), await worker.join(room, Part.PSYCHIATRIST))
        talking = asyncio.ensure_future(calm.talk())
        try:
            await until(lambda: calm.heard > 20)
            before_bytes, files = worker.memory_bytes(), worker.files()
            said, heard = calm.said, calm.heard
            yield worker
            after = await worker.counted()
            assert calm.said > said
            assert calm.heard - heard >= UNDISTURBED * (calm.said - said), "the other room was disturbed"
        finally:
            talking.cancel()
        assert worker.lives
        assert after.faulty == 0
        assert worker.memory_bytes() - before_bytes < FLAT_BYTES
        assert worker.files() == files


async def come_and_go(worker: VideoWorker, people: int) -> None:
    """So many at once, in a room of their own."""
    room = worker.room()
    seats = await asyncio.gather(*(worker.join(room) for _ in range(people)))
    await asyncio.gather(*(seat.leave() for seat in seats))


def stranger() -> socket.socket:
    """A socket that no room knows."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.bind((HOST, 0))
    bound.setblocking(False)
    return bound


async def flood(worker: VideoWorker, sender: socket.socket, datagrams: Iterable[bytes]) -> int:
    """Send all of them, about 20,000 a second; returns how many left."""
    sent = 0
    for number, datagram in enumerate(datagrams):
        try:
            sender.sendto(datagram, (HOST, worker.port))
            sent += 1
        except OSError:
            pass
        if number % BURST == BURST - 1:
            await asyncio.sleep(BURST_S)
    return sent


# ---- strangers


async def test_a_hundred_thousand_random_datagrams() -> None:
    async with beside_a_calm_room() as worker:
        with stranger() as sender:
            sent = await flood(worker, sender, noise(DATAGRAMS, 7))
        assert sent > DATAGRAMS / 2
        counts = await worker.counted()
        assert counts.strange > sent / 2


async def test_lengths_that_lie() -> None:
    async with beside_a_calm_room() as worker:
        mallory = await worker.join(worker.room())
        with stranger() as sender:
            await flood(worker, sender, LIES * 50)
        for lie in LIES * 50:
            mallory.peer.route.send(lie)
        counts = await worker.counted()
        assert counts.strange > 0


async def test_a_word_of_four_gigabytes_is_not_waited_for() -> None:
    """A worker that was taken over cannot make its supervisor allocate what it claims."""
    reader = asyncio.StreamReader()
    reader.feed_data(b"\xff\xff\xff\xff" + bytes(64))
    with pytest.raises(BadWord):
        await read_from_worker(reader)
    reader = asyncio.StreamReader()
    reader.feed_data((WORD_BYTES + 1).to_bytes(4, "big"))
    with pytest.raises(BadWord):
        await read_from_worker(reader)


# ---- credentials


async def answers(worker: VideoWorker, datagrams: list[bytes]) -> int:
    """How many of these, sent by a stranger, are answered."""
    with stranger() as sender:
        await flood(worker, sender, datagrams)
        await worker.counted()
        count = 0
        while True:
            try:
                sender.recv(2_048)
            except BlockingIOError:
                return count
            count += 1


async def test_foreign_and_wrong_credentials_are_not_even_answered() -> None:
    async with beside_a_calm_room() as worker:
        mallory = await worker.join(worker.room())
        victim = await worker.join(worker.room())
        ours, theirs = mallory.peer.remote, victim.peer.remote
        assert ours is not None
        assert theirs is not None
        wrong = [
            binding(f"{theirs.ufrag}:x", ours.password),
            binding(f"{theirs.ufrag}:x", "guess"),
            binding(f"{theirs.ufrag}:x", ""),
            binding("nobody:x", ours.password),
            binding(":", ours.password),
            binding(f"{theirs.ufrag}:x", theirs.password, fingerprint=False),
            binding(f"{theirs.ufrag}:x", theirs.password)[:-1] + b"\x00",
        ]
        probes = [secrets.token_bytes(40), b"\x16\xfe\xfd" + bytes(60), b"GET / HTTP/1.1\r\n\r\n", bytes(20)]
        assert await answers(worker, (wrong + probes) * 20) == 0
        # The right one is: the attempts above were refused for what is wrong with them.
        assert await answers(worker, [binding(f"{ours.ufrag}:x", ours.password)]) == 1


async def test_another_certificate_than_the_answer_named_gets_no_keys() -> None:
    async with beside_a_calm_room() as worker:
        room = worker.room()
        friend, seat = await worker.join(room), worker.seat(room, Part.PSYCHIATRIST)
        seat.say(Join(1))
        offer = await seat.next(Offer)
        answer = seat.peer.answer(offer.sdp)
        print_at = answer.index("a=fingerprint:sha-256 ") + len("a=fingerprint:sha-256 ")
        forged = answer.replace(answer[print_at : print_at + 95], ":".join(["AB"] * 32))
        assert forged != answer
        seat.say(Answer(1, offer.version, forged))
        # The client's half of the handshake may come to its end; what it has then, the worker does not take.
        with contextlib.suppress(NoPath, TimeoutError, ConnectionError):
            async with asyncio.timeout(20):
                await seat.peer.connect()
        await until(lambda: worker.counts.handshakes_failed >= 1)
        if seat.peer.up is not None:
            for _ in range(20):
                seat.peer.sound()
                await asyncio.sleep(SOUND_S)
        counts = await worker.counted()
        assert counts.handshakes_failed == 1
        assert friend.peer.sounds == 0


async def test_packets_from_another_address_and_repeated_ones_are_dropped() -> None:
    """A captured packet is worth nothing, from wherever it is sent; and the path of the victim does not move."""
    async with beside_a_calm_room() as worker:
        room = worker.room()
        victim, friend = await worker.join(room), await worker.join(room, Part.PSYCHIATRIST)
        captured: list[bytes] = []
        really = victim.peer.route.send

        def overheard(data: bytes) -> None:
            captured.append(data)
            really(data)

        victim.peer.route.send = overheard  # type: ignore[method-assign]
        for _ in range(20):
            victim.peer.sound()
            await asyncio.sleep(SOUND_S)
        await until(lambda: friend.peer.sounds >= 15)
        media = [data for data in captured if data and 127 < data[0] < 192]
        assert len(media) >= 20
        before = await worker.counted()
        with stranger() as sender:
            await flood(worker, sender, media * 50)
        elsewhere = await worker.counted()
        assert elsewhere.strange - before.strange > 500
        assert elsewhere.refused == before.refused
        for packet in media * 50:
            really(packet)
        again = await worker.counted()
        assert again.refused + again.flooded - elsewhere.refused - elsewhere.flooded > 500
        heard = friend.peer.sounds
        for _ in range(20):
            victim.peer.sound()
            await asyncio.sleep(SOUND_S)
        await until(lambda: friend.peer.sounds >= heard + 15)
        assert friend.peer.sounds <= 40, "a repeated packet was passed on"


# ---- people with a ticket


async def test_srtp_floods_stop_at_the_limit_of_one_peer() -> None:
    """3,000 packets a second and eight streams each; what is above, or not genuine, costs a look."""
    async with beside_a_calm_room() as worker:
        room = worker.room()
        mallory, other = await worker.join(room), await worker.join(room, Part.PSYCHIATRIST)
        before = await worker.counted()
        for number in range(20_000):
            if number % 3:
                mallory.peer.sound(size=20)
            else:
                mallory.peer.route.send(b"\x90\x6f" + secrets.token_bytes(90))
            if number % BURST == BURST - 1:
                await asyncio.sleep(BURST_S)
        for ssrc in range(1_000, 1_200):
            mallory.peer.raw(struct.pack("!BBHLL", 0x80, OPUS, 1, 1, ssrc) + bytes(40))
        counts = await worker.counted()
        assert counts.refused + counts.flooded > before.refused + before.flooded
        assert counts.flooded > before.flooded
        assert other.peer.sounds <= 20_000 * 2 / 3


async def test_lies_inside_a_proven_transport() -> None:
    """Whoever has keys may write any RTP and RTCP."""
    chance = random.Random(11)
    lies = [
        b"\x80\xc8\xff\xff" + bytes(8),
        b"\x81\xcd\x00\x03" + bytes(8) + b"\x00\x00\xff\xff",
        b"\x8f\xcd\x00\x05" + bytes(8) + b"\x00\x00\xff\xff" + b"\x00\x00\x00\x00" + b"\x3f\xff\x3f\xff",
        b"\x81\xce\xff\xff" + bytes(8),
        b"\x9f\xca\x00\x01" + bytes(4),
        b"\x84\xce\x00\x03" + bytes(12),
        *(b"\x80" + bytes([200 + number % 8]) + chance.randbytes(2 + 4 * number) for number in range(1, 60)),
        *(b"\x9f\x60" + chance.randbytes(20 + number) for number in range(60)),
        *(b"\xb0\x6f" + bytes(10) + b"\xbe\xde" + chance.randbytes(2 + number) for number in range(60)),
    ]
    async with beside_a_calm_room() as worker:
        mallory = await worker.join(worker.room())
        for number, lie in enumerate(lies * 20):
            mallory.peer.raw(lie)
            if number % 20 == 19:
                await asyncio.sleep(BURST_S)
        # Pictures and missing packets asked for a thousand times are answered as often as a peer may ask.
        for _ in range(1_000):
            mallory.peer.raw(b"\x81\xce\x00\x02" + bytes(8))
            mallory.peer.raw(b"\x81\xcd\x00\x03" + bytes(8) + b"\x00\x01\xff\xff")
        await worker.counted()


async def test_unsealed_media_are_passed_on_to_nobody() -> None:
    async with beside_a_calm_room() as worker:
        room = worker.room()
        mallory, other = await worker.join(room), await worker.join(room, Part.PSYCHIATRIST)
        for _ in range(100):
            mallory.peer.sound(sealed=False)
            mallory.peer.picture(key_frame=True, size=800, sealed=False)
            await asyncio.sleep(0.01)
        counts = await worker.counted()
        assert counts.unsealed > 0
        assert (other.peer.sounds, other.peer.pictures) == (0, 0)


# ---- signals


HOSTILE_SDP: Final = {
    "a million": "v=0\r\n" + "a=ssrc:1 cname:x\r\n" * 55_000,
    "one long line": "v=0\r\na=" + "x" * 24_000,
    "many media lines": "v=0\r\n" + "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n" * 700,
    "numbers of four gigabytes": "v=0\r\nm=audio 4294967296 UDP/TLS/RTP/SAVPF 111\r\na=ssrc:99999999999999999999 x\r\n",
    "many streams": "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n"
    + "".join(f"a=ssrc:{n} x\r\n" for n in range(1, 1_100)),
    "nothing": "",
    "no lines": "\x00" * 20_000,
    "carriage returns": "v=0" + "\r" * 24_000,
}


def was_told(seat: Seat) -> bool:
    """Whether somebody heard that there is no seat for them."""
    return any(isinstance(signal, Denied | Gone) for signal in seat.heard)


async def test_an_answer_that_is_none_ends_a_seat_and_nothing_else() -> None:
    async with beside_a_calm_room() as worker:
        for what, sdp in HOSTILE_SDP.items():
            if len(sdp) > SDP_CHARS:
                with pytest.raises(ProtocolError) as refusal:
                    encode_signal(Answer(1, 1, sdp))
                assert refusal.value.code == WireError.TOO_LARGE, what
                continue
            mallory = worker.seat(worker.room())
            mallory.say(Join(1))
            offer = await mallory.next(Offer)
            mallory.say(Answer(1, offer.version, sdp))
            await until(partial(was_told, mallory))


async def test_bodies_that_are_no_signals_change_nothing() -> None:
    chance = random.Random(3)
    bodies = [
        b"",
        b"\xc1",
        b"\xdd\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\x93\x04\x01\xdb\xff\xff\xff\xff",
        b"\x91" * 2_000,
    ]
    bodies += [chance.randbytes(chance.randrange(1, 300)) for _ in range(2_000)]
    for body in bodies:
        with pytest.raises(ProtocolError):
            decode_client_signal(body)
    with pytest.raises(ProtocolError) as refusal:
        decode_client_signal(b"\x91" * 1_000_000)
    assert refusal.value.code == WireError.TOO_LARGE
    async with beside_a_calm_room() as worker:
        mallory = await worker.join(worker.room())
        for body in bodies:
            mallory.say_bytes(body)
        await worker.counted()


async def test_forty_people_who_come_and_go_at_once_leave_nothing() -> None:
    async with beside_a_calm_room(at_once=5) as worker:
        before_bytes, files = worker.memory_bytes(), worker.files()
        for _ in range(8):
            await come_and_go(worker, 5)
        # They said goodbye: nobody is waited for as one who has fallen silent is.
        await until(lambda: worker.load is not None and worker.load.peers == 2, 30)
        # Their memory goes back to the system when there is time for it.
        await until(lambda: worker.memory_bytes() - before_bytes < GIVEN_BACK_BYTES, 30)
        assert worker.files() == files
