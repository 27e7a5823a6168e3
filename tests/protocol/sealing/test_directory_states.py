"""A directory through any sequence of entries, good and bad, stays what its chain says."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from leeside_protocol.sealing.errors import SealingCode, SealingError
from leeside_protocol.sealing.public.directory import Directory
from leeside_protocol.sealing.public.entries import DeviceRemoved, SignedEntry
from tests.protocol.sealing.refusal import refused
from tests.protocol.sealing.world import NOW_MS, World


class DirectoryStates(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.replica = Directory(self.world.root.key.public)
        self.live: list[str] = []
        self.gone: list[str] = []

    @rule(compartments=st.integers(0, 31))
    def certify(self, compartments: int) -> None:
        name = f"d{len(self.live) + len(self.gone)}"
        self.world.enrol(name, compartments=compartments)
        self.live.append(name)

    @precondition(lambda self: bool(self.live))
    @rule(pick=st.integers(0, 99))
    def revoke(self, pick: int) -> None:
        name = self.live.pop(pick % len(self.live))
        self.world.revoke(name)
        self.gone.append(name)

    @precondition(lambda self: bool(self.gone))
    @rule(pick=st.integers(0, 99))
    def revoke_twice(self, pick: int) -> None:
        world = self.world
        name = self.gone[pick % len(self.gone)]
        entry = world.first.sign_entry(world.directory, DeviceRemoved(world.id(name), "", NOW_MS), NOW_MS)
        with refused(SealingCode.E_DIR):
            world.directory.apply(entry)

    @rule(at=st.integers(0, 10**6), bit=st.integers(0, 7))
    def alter(self, at: int, bit: int) -> None:
        """A flipped bit anywhere in an entry that would otherwise be next."""
        world = self.world
        good = world.first.sign_entry(world.directory, world.certificate("next", compartments=1), NOW_MS)
        payload = bytearray(good.signed.payload)
        payload[at % len(payload)] ^= 1 << bit
        before = (world.directory.seq, world.directory.head)
        try:
            world.directory.apply(SignedEntry(replace(good.signed, payload=bytes(payload))))
            raise AssertionError("an altered entry was applied")
        except SealingError:
            assert (world.directory.seq, world.directory.head) == before

    @rule(count=st.integers(0, 3))
    def replicate(self, count: int) -> None:
        """Another client fetches some more entries, then is offered one too far ahead."""
        for data in self.world.log[self.replica.seq : self.replica.seq + count]:
            self.replica.apply(SignedEntry.decode(data))
        ahead = self.world.log[self.replica.seq + 1 :]
        if ahead:
            with refused(SealingCode.E_DIR_CHAIN):
                self.replica.apply(SignedEntry.decode(ahead[0]))

    @invariant()
    def agree(self) -> None:
        directory = self.world.directory
        assert directory.hash_at(self.replica.seq) == self.replica.head
        assert directory.seq == len(self.world.log)
        for name in self.live:
            directory.live_device(self.world.id(name))
        for name in self.gone:
            with refused(SealingCode.E_REVOKED):
                directory.live_device(self.world.id(name))


TestDirectoryStates = DirectoryStates.TestCase
TestDirectoryStates.settings = settings(
    max_examples=15, stateful_step_count=15, deadline=None, derandomize=True
)
