"""Pages of logs over HTTP, under the same rules as following them on a socket."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import ADDRESS_BYTES, ChannelAddress, ChannelKind, split_address
from leeside_protocol.messages import Batch
from leeside_server.core.channels import ChannelRow, may_follow
from leeside_server.core.policy import Action
from leeside_server.core.writes import Audit
from leeside_server.relay.http.call import Call
from leeside_server.relay.http.endpoint import Handler, Reply
from leeside_server.relay.logs import CHANNEL_KINDS, wire_entry

PAGE_BYTES: Final = 1 << 20


async def log(call: Call) -> Reply:
    """GET /v1/logs/{address}: entries behind `after`, as one batch. Headers tell the log's generation, head, floor.

    A records officer reads every channel of the agency, archived ones too; each page is a security event.
    """
    actor = call.actor
    name = _address(call.params["address"])
    kind, owner = split_address(name)
    row: ChannelRow | None = None
    if kind in CHANNEL_KINDS:
        held = await call.find(actor.agency, ChannelRow, owner)
        row = None if held is None else held.row
    after = call.number("after", 0)
    if not may_follow(kind, owner, actor.agency, actor.device, row):
        if row is None or not actor.permits(Action.READ_RECORDS):
            raise ProtocolError(WireError.NOT_FOUND)
        record = Audit("records_read", actor.device, owner, f"{kind.name.lower()} behind {after}")
        await call.write(actor.agency, record)
    page = await call.host.store.read(actor.agency, name, after, call.limit, PAGE_BYTES)
    batch = Batch(name, page.after, page.to, tuple(wire_entry(entry) for entry in page.entries))
    return Reply(
        batch,
        {
            "Leeside-Generation": str(page.generation),
            "Leeside-Head": str(page.head),
            "Leeside-Floor": str(page.floor),
        },
    )


def _address(text: str) -> ChannelAddress:
    """What is no address of a log names nothing."""
    try:
        data = bytes.fromhex(text) if text.isascii() and len(text) == 2 * ADDRESS_BYTES else b""
        kind, _ = split_address(data)
    except (ValueError, ProtocolError):
        raise ProtocolError(WireError.NOT_FOUND) from None
    if kind is ChannelKind.ACCESS or data.hex() != text:
        raise ProtocolError(WireError.NOT_FOUND)
    return ChannelAddress(data)


HANDLERS: Final[Mapping[str, Handler]] = {"log": log}
