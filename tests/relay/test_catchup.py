"""The lanes of catching up: what wakes people is read before what can wait."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from leeside_protocol.ids import AgencyId, ChannelAddress, ChannelKind, DeviceId, address
from leeside_server.core.writes import LogPage
from leeside_server.relay.catchup import CatchUp
from leeside_server.relay.logs import Follow
from tests.relay.plain_store import PlainStore
from tests.relay.world import DEADLINE_S, world

AGENCY = AgencyId(b"A" * 16)


class Noting(PlainStore):
    """Remembers which logs were read, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.read_logs: list[ChannelAddress] = []

    async def read(
        self, agency: AgencyId, channel: ChannelAddress, after: int, limit: int, max_bytes: int
    ) -> LogPage:
        self.read_logs.append(channel)
        return await super().read(agency, channel, after, limit, max_bytes)


class Stranger:
    """A receiver that is never given anything: its logs are empty."""

    agency = AGENCY
    congested = False

    def __init__(self, device: DeviceId) -> None:
        self.device = device

    def deliver(self, frames: bytes) -> None:
        raise AssertionError

    def deliver_value(self, channel: ChannelAddress, key: bytes, frames: bytes) -> None:
        raise AssertionError

    def lost(self, follow: Follow) -> None:
        raise AssertionError


@pytest.mark.parametrize("late", [ChannelKind.INBOX, ChannelKind.EPOCHS])
async def test_a_page_is_read_before_any_backlog_of_messages(tmp_path: Path, late: ChannelKind) -> None:
    """Though it was asked for last: inboxes before rosters, rosters before messages."""
    async with world(tmp_path) as w:
        store = Noting()
        catchup = CatchUp(w.node.hub, store, w.clock, w.node.metrics)
        phone = await w.phone(AGENCY)
        kinds = [ChannelKind.CONTENT] * 20 + [late]
        logs = [w.node.hub.pin(AGENCY, address(kind, bytes([at]) * 16)) for at, kind in enumerate(kinds)]
        for log in logs:
            await w.node.hub.opened(log)
            log.head = 1
            catchup.add(Follow(log, Stranger(phone.id), 0))
        reading = asyncio.ensure_future(catchup.read_forever())
        async with asyncio.timeout(DEADLINE_S):
            await catchup.settled()
        reading.cancel()
        assert store.read_logs == [logs[-1].address, *(log.address for log in logs[:-1])]
