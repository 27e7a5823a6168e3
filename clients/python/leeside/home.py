"""What all channels of one device share: its keys, its copy, its directories, the server's HTTP half, and the time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from leeside.directories import Directories
from leeside.events import Alarm, Event
from leeside.history import History
from leeside_protocol import resources as r
from leeside_protocol.ids import ChannelId
from leeside_protocol.messages import Batch
from leeside_protocol.sealing.opening.keys import DeviceKeys
from leeside_protocol.sealing.opening.schedule import Random


class ChannelApi(Protocol):
    """What of the server's HTTP half channels need."""

    async def boxes(
        self, channel: bytes | str, from_epoch: int = 0, limit: int = 500
    ) -> tuple[r.EpochBoxes, ...]: ...
    async def post_commit(self, channel: bytes | str, body: r.CommitPost) -> r.CommitAnswer: ...
    async def post_grant(self, channel: bytes | str, body: r.GrantPost) -> None: ...
    async def post_archive(self, channel: bytes | str, body: r.ArchivePost) -> None: ...
    async def log(self, address: bytes | str, after: int = 0, limit: int = 500) -> Batch: ...


@dataclass(frozen=True, slots=True)
class Home:
    """What all channels of a device share. `now_ms` is the server's time where it is known."""

    api: ChannelApi
    history: History
    keys: DeviceKeys
    directories: Directories
    random: Random
    now_ms: Callable[[], int]
    emit: Callable[[ChannelId, Event], None]
    report: Callable[[Alarm], None]
