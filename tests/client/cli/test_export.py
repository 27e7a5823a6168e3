"""The custodian's export: from boxes while they stand, from archives once they are gone."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from leeside.cli.invocation import SignedIn
from leeside.cli.names import Names
from leeside.cli.records import Export
from leeside_protocol import messages as m
from leeside_protocol import resources as r
from leeside_protocol.ids import ChannelAddress, ChannelId, ChannelKind, address
from leeside_protocol.sealing.opening.records import RecordsPrivateKey
from leeside_protocol.sealing.public.archive import is_archive
from leeside_protocol.sealing.public.boxes import Box
from leeside_protocol.words import ChannelPurpose, Compartment
from tests.client.people import person, settled
from tests.client.relay_double import RelayDouble
from tests.client.virtual_time import eventually, play


@dataclass
class Office:
    """The relay as a records officer reads it; `boxes_gone` are epochs whose boxes were deleted."""

    relay: RelayDouble
    boxes_gone: frozenset[int] = frozenset()

    async def log(self, name: bytes, after: int = 0, limit: int = 500) -> m.Batch:
        to, entries = self.relay.log(ChannelAddress(name)).page(after, limit)
        return m.Batch(ChannelAddress(name), after, to, entries)

    async def boxes(
        self, channel: bytes, from_epoch: int = 0, limit: int = 500, recipient: bytes = b""
    ) -> tuple[r.EpochBoxes, ...]:
        found: list[r.EpochBoxes] = []
        for epoch, post in enumerate(self.relay.rooms[ChannelId(channel)].posts):
            if epoch >= from_epoch and epoch not in self.boxes_gone:
                own = next((b for b in post.boxes if b.recipient == recipient), None)
                hashes = tuple(Box(b.recipient, b.kid, b.suite, b.sealed).hash for b in post.boxes)
                found.append(r.EpochBoxes(epoch, own, hashes, post.box_list_sig))
        return tuple(found)


@dataclass
class Desk:
    api: Office


async def export(office: Office, key: RecordsPrivateKey, channel: ChannelId) -> list[dict[str, Any]]:
    relay = office.relay
    line = relay.rooms[channel].line
    info = r.ChannelInfo(
        channel.hex(), ChannelPurpose.INCIDENT, Compartment.OPERATIONS, None, line.epoch, line.head_hash, (),
        True, relay.generation, relay.log(address(ChannelKind.CONTENT, channel)).head,
    )  # fmt: skip
    work = Export(cast("SignedIn", Desk(office)), relay.directory, key, info, Names({}))
    return [found async for found in work.lines(ignore)]


def ignore(done: int, total: int | None = None) -> None:
    """No bar in a test."""
    del done, total


def spoken(lines: list[dict[str, Any]]) -> list[str]:
    return [line["content"].text for line in lines if line.get("type") == "text"]


@pytest.mark.parametrize("gone", [(), (0,), (0, 1)])
def test_archives_stand_in_for_boxes_that_are_gone(tmp_path: Path, gone: tuple[int, ...]) -> None:
    async def story() -> None:
        relay = RelayDouble()
        key = relay.add_records()
        ana, ben = person(relay, tmp_path), person(relay, tmp_path)
        async with ana.open() as a, ben.open() as b:
            _, channel = await a.openings.incident([b.device], first="Quay 4")
            await b.refresh()
            await settled(b, channel)
            await a.openings.rekey(channel)
            await (await a.send(channel, "handed over")).wait(timeout_s=30)
            relay.end(channel)
            grants = relay.log(address(ChannelKind.GRANTS, channel))
            await eventually(lambda: sum(is_archive(e.payload) for e in grants.entries) == 2)
            await asyncio.sleep(5)
        lines = await export(Office(relay, frozenset(gone)), key, channel)
        assert spoken(lines) == ["Quay 4", "handed over"]
        assert lines[0]["epochs_from_archives"] == list(gone)
        assert lines[0]["epochs_not_opened"] == {}
        # Shredded: without boxes and archives nothing opens, and the export says so.
        grants.entries = [
            msgspec.structs.replace(entry, payload=b"") if is_archive(entry.payload) else entry
            for entry in grants.entries
        ]
        lines = await export(Office(relay, frozenset({0, 1})), key, channel)
        assert spoken(lines) == []
        assert lines[-1]["opened"] == 0
        assert lines[-1]["unreadable"] > 0

    play(story())
