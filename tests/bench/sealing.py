"""sealing: what end-to-end encryption costs a device: messages, commits, and one dispatcher over a hundred channels.

Processor time of this one process, no server. The peer of each figure is its floor: the bare operations of the
cryptographic library that it cannot do without, in the same run. There are no targets, so nothing can be missed; figures
are kept to see them change.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from leeside_protocol.ids import MessageId
from leeside_protocol.sealing.opening.body import Body
from leeside_protocol.sealing.opening.channel import SealedChannel
from leeside_protocol.sealing.opening.committer import Change, MadeCommit
from leeside_protocol.sealing.public.acceptance import ChannelLine, Receipt, verify_commit
from leeside_protocol.sealing.public.commit import CommitReason
from leeside_protocol.sealing.public.entries import DURABLE
from tests.bench.figures import Result, Row, median, spread
from tests.bench.rounds import Figures, tell
from tests.protocol.sealing.world import NOW_MS, PERIODIC, World

FLOOR: Final = "floor"
TEXT: Final = "x" * 200
FRAME_BYTES: Final = 320
"""What is signed and encrypted in a frame of that text."""
LATER_MS: Final = NOW_MS + 60_000


@dataclass(frozen=True, slots=True)
class Plan:
    rounds: int
    messages: int
    sizes: tuple[int, ...]
    channels: int
    members: int
    """Devices in each unit channel."""


SHORT: Final = Plan(1, 100, (20,), 5, 8)
FULL: Final = Plan(5, 1_000, (50, 200), 100, 12)


async def run(result: Result) -> None:
    """See the module."""
    plan = SHORT if result.short else FULL
    figures = Figures()
    world = World(dual=False)
    tell("enrolling")
    names = [f"d{number}" for number in range(max(*plan.sizes, plan.members))]
    for name in names:
        world.enrol(name)
    for number in range(1, plan.rounds + 1):
        tell(f"round {number} of {plan.rounds}")
        _messages(figures, world, plan.messages)
        for size in plan.sizes:
            _commits(figures, world, names[:size])
        _dispatcher(figures, world, names[: plan.members], plan.channels, f"dispatcher {number}")
    for measure in dict.fromkeys(m for measures in figures.values.values() for m in measures):
        ours, floor = figures.of("ours", measure), figures.of(FLOOR, measure)
        unit = "us" if measure.startswith("message") else "ms"
        peer = FLOORS.get(measure.partition(",")[0], "") if floor else ""
        result.add(Row(measure, unit, median(ours), peer, median(floor), None, spread(ours)))
    result.notes.append(
        f"dispatcher: {plan.channels} channels of {plan.members} devices, by one device, without its round trips"
    )


FLOORS: Final = {
    "message sealed": "Ed25519 sign + AES-GCM",
    "message opened": "Ed25519 verify + AES-GCM",
    "commit made": "two X25519 a recipient",
}


def _messages(figures: Figures, world: World, count: int) -> None:
    made = world.genesis("d0", "d1")
    sender, receiver = world.view("d0", made), world.view("d1", made)
    frames: list[bytes] = []

    def seal(number: int) -> None:
        body = Body("text", NOW_MS, MessageId(number.to_bytes(16, "big")), None, [0, TEXT, 0, None])
        frames.append(
            sender.seal(
                body,
                world.keys["d0"],
                world.directories,
                now_ms=NOW_MS,
                random=world.random,
                key_class=DURABLE,
            )
        )

    key, aead, nonce = Ed25519PrivateKey.generate(), AESGCM(bytes(32)), bytes(12)
    public, text = key.public_key(), bytes(FRAME_BYTES)
    signature, sealed = key.sign(text), aead.encrypt(nonce, text, None)

    def bare_seal(_number: int) -> None:
        key.sign(text)
        aead.encrypt(nonce, text, None)

    def bare_open(_number: int) -> None:
        public.verify(signature, text)
        aead.decrypt(nonce, sealed, None)

    figures.add("ours", "message sealed", spent_us(seal, count))
    figures.add(FLOOR, "message sealed", spent_us(bare_seal, count))
    figures.add(
        "ours", "message opened", spent_us(lambda n: receiver.open(frames[n], world.directories), count)
    )
    figures.add(FLOOR, "message opened", spent_us(bare_open, count))


def _commits(figures: Figures, world: World, names: list[str]) -> None:
    size = len(names)
    genesis = world.genesis(*names)
    committer, member = world.view(names[0], genesis), world.view(names[1], genesis)
    line = ChannelLine(genesis.commit.channel_id)
    line.install(verify_commit(line, genesis.commit.signed, world.directories, Receipt()))
    made: list[MadeCommit] = []

    def make(_number: int) -> None:
        made.append(world.commit(names[0], committer, PERIODIC, now_ms=LATER_MS))

    def process(_number: int) -> None:
        world.process(names[1], member, made[0], now_ms=LATER_MS, receipt=Receipt(LATER_MS, world.book))

    def verify(_number: int) -> None:
        receipt = Receipt(LATER_MS, None, storing=True)
        verify_commit(line, made[0].commit.signed, world.directories, receipt)

    other = X25519PrivateKey.generate().public_key()

    def bare(_number: int) -> None:
        for _ in range(size):
            fresh = X25519PrivateKey.generate()
            fresh.public_key()
            fresh.exchange(other)

    figures.add("ours", f"commit made, {size} devices", spent_us(make, 1) / 1000)
    figures.add(FLOOR, f"commit made, {size} devices", spent_us(bare, 1) / 1000)
    figures.add("ours", f"commit processed by a member, {size} devices", spent_us(process, 1) / 1000)
    figures.add("ours", f"commit verified by the server, {size} devices", spent_us(verify, 1) / 1000)


def _dispatcher(figures: Figures, world: World, names: list[str], channels: int, dispatcher: str) -> None:
    """Seat one more device in every unit channel, then revoke it and seal every channel anew."""
    world.enrol(dispatcher, role="dispatcher")
    views: list[SealedChannel] = [world.view(names[0], world.genesis(*names)) for _ in range(channels)]
    admission = Change(CommitReason.MEMBER, admit=(world.seat(dispatcher),))

    def admit(number: int) -> None:
        made = world.commit(names[0], views[number], admission, now_ms=LATER_MS)
        world.process(names[0], views[number], made, now_ms=LATER_MS)

    def rekey(number: int) -> None:
        made = world.commit(names[0], views[number], Change(CommitReason.REVOKE), now_ms=LATER_MS)
        world.process(names[0], views[number], made, now_ms=LATER_MS)

    figures.add(
        "ours", f"dispatcher added to {channels} channels", spent_us(admit, channels) * channels / 1000
    )
    world.revoke(dispatcher)
    figures.add(
        "ours", f"dispatcher revoked in {channels} channels", spent_us(rekey, channels) * channels / 1000
    )
    assert all(view.head.entry(world.id(dispatcher)) is None for view in views)


def spent_us(work: Callable[[int], object], count: int) -> float:
    """Processor time of each of so many calls."""
    began_s = time.process_time()
    for number in range(count):
        work(number)
    return (time.process_time() - began_s) * 1e6 / count
