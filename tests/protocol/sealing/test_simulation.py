"""Many members, a server that orders and compares and sets, and everything that goes wrong.

Devices go offline, race each other, are revoked, removed, admitted and given context.  At
the end all agree on the chain, and each can read exactly what it was a member for or given.
"""

from __future__ import annotations

import random

import pytest

from leeside_protocol.sealing.errors import SealingCode, SealingError
from leeside_protocol.sealing.opening.channel import Delivery, SealedChannel
from leeside_protocol.sealing.opening.committer import Change, MadeCommit
from leeside_protocol.sealing.opening.grants import accept_grant, make_grant
from leeside_protocol.sealing.public.acceptance import ChannelLine, Receipt, verify_commit
from leeside_protocol.sealing.public.boxes import verify_boxes
from leeside_protocol.sealing.public.commit import CommitReason
from leeside_protocol.sealing.public.entries import ALL_CAPS, CAP_SEND, DURABLE
from tests.protocol.sealing.refusal import refused
from tests.protocol.sealing.world import NOW_MS, World

MEMBERS = [f"m{n}" for n in range(8)]
ABLE = MEMBERS[:4]


class Simulation:
    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.world = World(name=f"sim{seed}")
        for name in MEMBERS:
            self.world.enrol(name, caps=ALL_CAPS if name in ABLE else CAP_SEND)
        first = self.world.genesis(*MEMBERS[:4])
        self.line = ChannelLine(first.commit.channel_id)  # the server's: no keys
        self.log: list[MadeCommit] = []
        self.frames: list[tuple[bytes, int, set[str]]] = []
        self.views = {n: SealedChannel(first.commit.channel_id, self.world.id(n)) for n in MEMBERS}
        self.given: dict[str, set[int]] = {n: set() for n in MEMBERS}
        self.revoked: set[str] = set()
        self.tally = dict.fromkeys(("stood", "lost", "revoked", "granted", "read", "denied", "rekeyed"), 0)
        assert self.submit(first)

    def submit(self, made: MadeCommit) -> bool:
        """The server: every rule, then compare-and-set."""
        try:
            receipt = Receipt(NOW_MS, self.world.book, storing=True)
            commit = verify_commit(self.line, made.commit.signed, self.world.directories, receipt)
        except SealingError as error:
            if error.code not in {SealingCode.E_FORK, SealingCode.E_CHAIN}:
                raise
            self.tally["lost"] += 1
            return False
        committer = self.world.directory.device(commit.committer)
        assert committer is not None
        verify_boxes(commit, made.boxes, made.box_list.signature, committer.public)
        self.line.install(commit)
        self.log.append(made)
        self.tally["stood"] += 1
        return True

    def sync(self, name: str) -> None:
        view = self.views[name]
        for made in self.log[view.line.epoch + 1 :]:
            box = made.box_for(self.world.id(name))
            installed = view.process_commit(
                made.commit.signed,
                Delivery(box, made.box_list),
                self.world.keys[name],
                self.world.directories,
                now_ms=NOW_MS,
            )
            assert installed.alarm is None

    def roster(self) -> set[str]:
        ids = {e.device_id for e in self.log[-1].commit.roster}
        return {n for n in MEMBERS if self.world.id(n) in ids}

    def step(self) -> None:
        online = {n for n in MEMBERS if self.rng.random() > 0.3}
        live = sorted((online & self.roster()) - self.revoked)
        for name in live:
            self.sync(name)
        if not live:
            return
        draw = self.rng.random()
        if draw < 0.25:
            self.race([n for n in live if n in ABLE])
        elif draw < 0.32:
            self.revoke()
        elif draw < 0.45:
            self.give(live)
        else:
            self.speak(self.rng.choice(live))

    def race(self, able: list[str]) -> None:
        """One to three members change the roster from the same head; all but one lose."""
        proposals: list[tuple[str, MadeCommit]] = []
        for name in self.rng.sample(able, min(len(able), self.rng.randint(1, 3))):
            outside = [n for n in MEMBERS if n not in self.roster() and n not in self.revoked]
            others = [n for n in self.roster() if n != name]
            if outside and self.rng.random() < 0.6:
                change = Change(CommitReason.MEMBER, admit=(self.world.seat(self.rng.choice(outside)),))
            elif others:
                gone = self.world.id(self.rng.choice(sorted(others)))
                change = Change(CommitReason.MEMBER, remove=frozenset({gone}))
            else:
                change = Change(CommitReason.PERIODIC)
            proposals.append((name, self.world.commit(name, self.views[name], change)))
        for name, made in proposals:
            if not self.submit(made):
                self.sync(name)  # the loser adopts the winner

    def revoke(self) -> None:
        left = [n for n in MEMBERS[1:] if n not in self.revoked]
        if len(self.revoked) < 4:
            name = self.rng.choice(left)
            self.world.revoke(name)
            self.revoked.add(name)
            self.tally["revoked"] += 1

    def give(self, live: list[str]) -> None:
        by, to = self.rng.choice(live), self.rng.choice(live)
        missing = set(self.views[by].epochs_held()) - set(self.views[to].epochs_held())
        if by == to or by not in ABLE or not missing:
            return
        w = self.world
        sealed = make_grant(
            self.views[by],
            w.keys[by],
            to=w.id(to),
            epochs=tuple(sorted(missing)),
            class_mask=1 << DURABLE,
            directories=w.directories,
            device_keys=w.book,
            now_ms=NOW_MS,
        )
        self.given[to] |= set(
            accept_grant(self.views[to], sealed, w.keys[to], w.directories, Receipt(NOW_MS))
        )
        self.tally["granted"] += 1

    def speak(self, name: str) -> None:
        view, w = self.views[name], self.world
        try:
            view.can_send(w.directories, NOW_MS)
        except SealingError as error:
            if error.code is not SealingCode.E_REVOKED:
                raise
            made = w.commit(name, view, Change(CommitReason.REVOKE))
            assert self.submit(made)
            self.sync(name)
            self.tally["rekeyed"] += 1
        self.frames.append((w.say(name, view, len(self.frames)), view.line.epoch, self.roster()))

    def settle(self) -> None:
        """Everyone replays the chain; then who can read what is exactly who may."""
        for name, view in self.views.items():
            self.sync(name)
            kept = SealedChannel.restore(view.export())
            for number, (frame, epoch, roster) in enumerate(self.frames):
                may = name in roster or epoch in self.given[name]
                if may:
                    assert kept.open(frame, self.world.directories, again=True).body.data == number
                else:
                    with refused(SealingCode.E_NO_KEY):
                        kept.open(frame, self.world.directories, again=True)
                self.tally["read" if may else "denied"] += 1
        assert {v.line.head_hash for v in self.views.values()} == {self.line.head_hash}
        assert not any(v.fork_evidence for v in self.views.values())


@pytest.mark.parametrize("seed", range(4))
def test_who_can_read_what(seed: int) -> None:
    simulation = Simulation(seed)
    for _ in range(70):
        simulation.step()
    simulation.settle()
    tally = simulation.tally
    assert tally["stood"] > 5
    assert min(tally["read"], tally["denied"], tally["revoked"]) > 0, tally


def test_all_kinds_of_trouble_occur() -> None:
    """The simulation would prove little if nobody ever lost a race or was given context."""
    total: dict[str, int] = {}
    for seed in range(10, 13):
        simulation = Simulation(seed)
        for _ in range(70):
            simulation.step()
        for kind, count in simulation.tally.items():
            total[kind] = total.get(kind, 0) + count
    assert min(total[k] for k in ("stood", "lost", "revoked", "granted", "rekeyed")) > 0, total


def test_a_forking_server_is_found_out_by_the_first_frame_and_by_the_commit() -> None:
    world = World()
    for name in ("a", "b", "c"):
        world.enrol(name)
    first = world.genesis("a", "b", "c")
    a, b, c = (world.view(n, first) for n in ("a", "b", "c"))
    left = world.commit("a", a, Change(CommitReason.PERIODIC))
    right = world.commit("b", b, Change(CommitReason.PERIODIC))
    world.process("a", a, left)
    world.process("c", c, left)
    world.process("b", b, right)
    with pytest.raises(SealingError, match="E_FORK"):
        c.open(world.say("b", b), world.directories)
    with pytest.raises(SealingError, match="E_FORK"):
        world.process("c", c, right)
    assert c.fork_evidence is not None
