"""Runs the synthetic consult on whichever node is first, and answers its page (`core/synthetic.py`).

It passes through everything that a person's does, but for the network: due rows and compare-and-set, the machine, the
outbox with its leases, a push attempt, acceptance, the end. Its rows are removed when it is over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from leeside_protocol.errors import ProtocolError
from leeside_protocol.ids import ID_BYTES, ChannelId, ChannelKind, ConsultId, address
from leeside_server.core import duty, synthetic
from leeside_server.core.consult_moves import Accept, End, Join
from leeside_server.core.consult_row import ConsultRow
from leeside_server.core.duty import DutyRow
from leeside_server.core.identity import NO_AGENCY
from leeside_server.core.paging import PageRow
from leeside_server.core.rows import Held, change, create, remove
from leeside_server.core.synthetic import AGENCY, CANARY, DEVICE, EVERY_MS, LADDER, SYNTHETIC_ID, SyntheticRow
from leeside_server.core.writes import Item, Part, Stored
from leeside_server.log import get_logger
from leeside_server.relay.reading import every, find

if TYPE_CHECKING:
    from leeside_server.relay.node import Node

EVERY_S: Final = 5.0
_INBOX: Final = address(ChannelKind.INBOX, DEVICE)
_log = get_logger("leeside.synthetic")


class Synthetic:
    """The synthetic consult as one node sees it."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def carry_out(self, now_ms: int) -> None:
        """Begin the next run when its time has come, and tell how the last one went. Raises the store's errors."""
        node, wall_ms = self._node, self._node.clock.now_ms()
        held = await self._row()
        if held is None:
            # The first run waits for its minute: a server that starts has clients waiting.
            save = create(SYNTHETIC_ID, SyntheticRow(began_ms=now_ms, passed_ms=now_ms))
            await node.store.apply([Item(NO_AGENCY, wall_ms, (save,))])
            return
        node.metrics.synthetic_age_s.set(max(0, now_ms - held.row.passed_ms) / 1_000)
        node.metrics.synthetic_s.set(held.row.took_ms / 1_000)
        if now_ms < held.row.began_ms + EVERY_MS:
            return
        consult = ConsultId(node.random(ID_BYTES))
        row = synthetic.begin(held.row, consult, now_ms)
        (outcome,) = await node.store.apply([Item(NO_AGENCY, wall_ms, (change(held, row),))])
        if isinstance(outcome, Stored):
            if row.failures > held.row.failures:
                node.metrics.synthetic_failed.inc()
                _log.error("synthetic_failed", failures=row.failures)
            await self._clear()
            await self._open(consult, now_ms)

    async def rang(self, consult: ConsultId) -> None:
        """The canary's page came: accept, join and end as a person would. Again by whoever repeats the page, until it is
        over. Raises the store's errors."""
        node = self._node
        try:
            for given, event in (
                (Accept(CANARY, DEVICE), "synthetic_accepted"),
                (Join(CANARY, DEVICE), "synthetic_joined"),
                (End(CANARY), "synthetic_ended"),
            ):
                await node.consults.move(AGENCY, consult, given, DEVICE, event)
        except ProtocolError:
            # It ended, or another node answered: what is not recorded as passed is counted as failed.
            return
        now_ms, wall_ms = await node.steady.now_ms(), node.clock.now_ms()
        held = await self._row()
        if held is not None and (row := synthetic.passed(held.row, consult, now_ms)) != held.row:
            await node.store.apply([Item(NO_AGENCY, wall_ms, (change(held, row),))])

    # ---- inside

    async def _row(self) -> Held[SyntheticRow] | None:
        return await find(self._node.store, NO_AGENCY, SyntheticRow, SYNTHETIC_ID)

    async def _open(self, consult: ConsultId, now_ms: int) -> None:
        node, wall_ms = self._node, self._node.clock.now_ms()
        for key, row in synthetic.rows(wall_ms):
            # What stands already stays: a conflict is as good as done.
            await node.store.apply([Item(AGENCY, wall_ms, (create(key, row),))])
        held = await find(node.store, AGENCY, DutyRow, DEVICE)
        if held is not None:
            reached = change(held, duty.reached(held.row, now_ms, wall_ms))
            await node.store.apply([Item(AGENCY, wall_ms, (reached,))])
        channel = ChannelId(consult)
        _, parts = await node.consults.opening(
            AGENCY, consult, synthetic.request(channel), LADDER, held=False
        )
        await node.write([Item(AGENCY, wall_ms, parts)])

    async def _clear(self) -> None:
        """Remove what earlier runs left: their consults, pages and notices."""
        node, wall_ms = self._node, self._node.clock.now_ms()
        parts: list[Part] = []
        for kind in (ConsultRow, PageRow):
            parts += [remove(kind, held) for held in await every(node.store, AGENCY, kind)]
        if parts:
            await node.store.apply([Item(AGENCY, wall_ms, (part,)) for part in parts])
        (head,) = await node.store.heads([(AGENCY, _INBOX)])
        if head:
            await node.store.prune(AGENCY, _INBOX, head, wall_ms)
            await node.store.forget_pruned(AGENCY, _INBOX, wall_ms)
