"""What every server under comparison offers to a benchmark, ours and the peers'."""

from __future__ import annotations

from typing import Protocol

from tests.bench.dial import Script


class Contender(Protocol):
    """A running server, and how to open its connections and write its frames."""

    @property
    def name(self) -> str: ...

    @property
    def port(self) -> int: ...

    @property
    def pid(self) -> int:
        """The process whose processor time and memory count."""
        ...

    @property
    def note(self) -> str:
        """What to know of it when reading its figures; may be empty."""
        ...

    @property
    def beat(self) -> bytes:
        """A sign of life that a connection owes now and then; empty for none."""
        ...

    async def renewed(self) -> None:
        """Have what opening needs (tokens) at hand for the next half minute."""
        ...

    def reader(self) -> Script:
        """Opens one connection that gets what is published."""
        ...

    def publisher(self) -> Script:
        """Opens one connection that publishes."""
        ...

    def frames(self, first: int, count: int) -> list[bytes]:
        """Frames numbered from `first` on, each with its mark (`programs.mark`)."""
        ...
