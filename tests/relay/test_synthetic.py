"""The synthetic consult: over two nodes, from request to end, each minute; and told when it does not get there."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from leeside_protocol.ids import ChannelKind, address
from leeside_server.core.consult_row import ConsultRow
from leeside_server.core.identity import NO_AGENCY
from leeside_server.core.paging import LEASE_MS, PageRow
from leeside_server.core.rows import KINDS, read
from leeside_server.core.synthetic import AGENCY, DEVICE, EVERY_MS, SYNTHETIC_ID, SyntheticRow
from leeside_server.relay.node import Node
from tests.relay.paging_scene import Outbox, outbox


@pytest_asyncio.fixture
async def box(tmp_path: Path) -> AsyncIterator[Outbox]:
    """A minute after the first node began."""
    async with outbox(tmp_path) as opened:
        await begin(opened, opened.node)
        opened.world.clock.advance(EVERY_MS / 1_000)
        yield opened


async def begin(box: Outbox, *nodes: Node) -> None:
    for node in nodes:
        await node.synthetic.carry_out(await node.steady.now_ms())


async def row(box: Outbox) -> SyntheticRow:
    found = await box.store.get(NO_AGENCY, KINDS[SyntheticRow], SYNTHETIC_ID)
    assert found is not None
    return read(SyntheticRow, found).row


async def standing(box: Outbox) -> tuple[int, int]:
    """Consults and pages of the canary's agency."""
    counts = [
        len(await box.store.objects(AGENCY, KINDS[kind], None, b"", 500)) for kind in (ConsultRow, PageRow)
    ]
    return counts[0], counts[1]


def metric(node: Node, name: str) -> float:
    found = re.search(rf"^leeside_{name} (\S+)$", node.metrics.text().decode(), re.MULTILINE)
    assert found is not None
    return float(found[1])


async def test_one_node_begins_it_and_another_may_answer(box: Outbox) -> None:
    await begin(box, box.node, box.other)
    assert (await standing(box))[0] == 1, "two nodes, one consult"
    box.world.clock.advance(0.5)
    await box.turn(box.other)
    (consult,) = await box.store.objects(AGENCY, KINDS[ConsultRow], None, b"", 500)
    assert read(ConsultRow, consult).row.state.value == "ended"
    assert await row(box) == SyntheticRow(
        b"", (await row(box)).began_ms, await box.node.steady.now_ms(), 500, 0
    )
    await begin(box, box.node)
    assert (metric(box.node, "synthetic_age_seconds"), metric(box.node, "synthetic_seconds")) == (0.0, 0.5)


async def test_it_runs_each_minute_and_leaves_nothing(box: Outbox) -> None:
    for _ in range(5):
        await begin(box, box.node, box.other)
        await box.turn(box.other)
        assert await standing(box) == (1, 1)
        await begin(box, box.node, box.other)
        assert await standing(box) == (1, 1), "not before its time"
        box.world.clock.advance(EVERY_MS / 1_000)
    assert (await row(box)).failures == 0
    inbox = await box.store.read(AGENCY, address(ChannelKind.INBOX, DEVICE), 0, 500, 1_000_000)
    assert len(inbox.entries) <= 10, "what earlier runs were told is forgotten"
    assert not await box.store.audits(AGENCY, 0, 500)


async def test_a_node_that_dies_on_the_way_leaves_it_to_another(box: Outbox) -> None:
    await begin(box, box.node)
    with box.stopped(box.node):
        await box.turn(box.node)
    box.world.clock.advance(LEASE_MS / 1_000)
    await box.turn(box.other)
    assert (await row(box)).took_ms == LEASE_MS


@pytest.mark.parametrize("minutes", [1, 3])
async def test_where_nobody_sends_pages_it_is_told(box: Outbox, minutes: int) -> None:
    for _ in range(minutes):
        await begin(box, box.node)
        box.world.clock.advance(EVERY_MS / 1_000)
    await begin(box, box.node)
    assert metric(box.node, "synthetic_failed_total") == minutes
    assert metric(box.node, "synthetic_age_seconds") == (minutes + 1) * EVERY_MS / 1_000
    assert await standing(box) == (1, 1), "only the one that goes on"


async def test_it_counts_among_no_ones_consults(box: Outbox) -> None:
    await begin(box, box.node)
    await box.turn(box.other)
    for node in box.world.nodes:
        assert not re.search(rb"^leeside_consults_total\{", node.metrics.text(), re.MULTILINE)
    assert AGENCY not in await box.store.agencies()
    assert box.doors.begun == []
