"""What the HTTP half needs of the node it runs in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from leeside_protocol.ids import AgencyId, ChannelId, DeviceId
from leeside_server.core.channels import ChannelRow
from leeside_server.core.writes import Item, Outcome
from leeside_server.ports import Blobs, Clock, Push, Store
from leeside_server.relay.consults import Consults
from leeside_server.relay.directories import Directories
from leeside_server.relay.foresight import Foresight
from leeside_server.relay.paging import Paging
from leeside_server.relay.probes import Probes
from leeside_server.relay.staff import Staff
from leeside_server.relay.steady import Steady
from leeside_server.relay.tokens import Tokens


class AccessView(Protocol):
    """Who lost access, as this node knows it. `load` an agency before asking about it."""

    async def load(self, agency: AgencyId) -> None: ...

    def is_out(self, agency: AgencyId, device: DeviceId) -> bool: ...

    def is_session_out(self, agency: AgencyId, session: bytes) -> bool: ...


class HeadsView(Protocol):
    """The newest verified head of each channel, as this node knows it."""

    async def get(self, agency: AgencyId, channel: ChannelId) -> ChannelRow | None: ...


class Host(Protocol):
    """A node: the ports, the caches, and the one path for writes.

    `write` stores items and, once they are durable, delivers what was appended; it raises what `Store.apply` does.
    """

    @property
    def store(self) -> Store: ...

    @property
    def blobs(self) -> Blobs: ...

    @property
    def push(self) -> Push: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def tokens(self) -> Tokens: ...

    @property
    def directories(self) -> Directories: ...

    @property
    def access(self) -> AccessView: ...

    @property
    def heads(self) -> HeadsView: ...

    @property
    def consults(self) -> Consults: ...

    @property
    def foresight(self) -> Foresight: ...

    @property
    def paging(self) -> Paging: ...

    @property
    def probes(self) -> Probes: ...

    @property
    def staff(self) -> Staff: ...

    @property
    def steady(self) -> Steady: ...

    def random(self, count: int, /) -> bytes: ...

    async def write(self, items: Sequence[Item]) -> Sequence[Outcome]: ...
