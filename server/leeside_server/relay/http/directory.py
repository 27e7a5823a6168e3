"""The agency's signed directory: read by every member, appended to by who holds an authority."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from leeside_protocol import resources as r
from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import AgencyId, ChannelKind, DeviceId, MemberId, address
from leeside_protocol.sealing.public.directory import CheckedEntry, Directory
from leeside_protocol.sealing.public.entries import SignedEntry, parse_entry
from leeside_server.core.directory import POSTED_ENTRIES, People, devices_named, directory_parts
from leeside_server.core.identity import DeviceRow, MemberRow
from leeside_server.core.policy import Action
from leeside_server.core.rows import Held
from leeside_server.core.writes import Stored
from leeside_server.relay.directories import PAGE_BYTES, check_entries
from leeside_server.relay.http.call import ATTEMPTS, Call
from leeside_server.relay.http.endpoint import Handler
from leeside_server.relay.http.members import watchers
from leeside_server.relay.http.refusals import Refused


async def directory(call: Call) -> tuple[bytes, ...]:
    """GET /v1/directory: entries with a seq above `after`, as they were signed."""
    actor = call.actor
    actor.require(Action.READ_DIRECTORY)
    log = address(ChannelKind.DIRECTORY, actor.agency)
    page = await call.host.store.read(actor.agency, log, call.number("after", 0), call.limit, PAGE_BYTES)
    return tuple(entry.payload for entry in page.entries if entry.payload is not None)


async def post_directory(call: Call) -> None:
    """POST /v1/directory: entries that stand already are passed over, so that a lost answer can be repeated.

    Everything an entry brings about (a device admitted or refused, sockets closed on every node) stands in the same
    item as the entry. `conflict` when another authority was first: read what it signed, and sign anew.
    """
    actor = call.actor
    actor.require(Action.POST_DIRECTORY)
    body = call.body(r.DirectoryPost)
    if not 1 <= len(body.entries) <= POSTED_ENTRIES:
        raise ProtocolError(WireError.INVALID, "a post has 1 to 64 entries")
    for left in reversed(range(ATTEMPTS)):
        known = await call.host.directories.fresh(actor.agency)
        head = known.seq
        entries = _new_entries(known, body.entries)
        if not entries:
            return
        checked = check_entries(known, entries, call.now_ms)
        people = await _people(call, actor.agency, checked)
        parts = directory_parts(actor.agency, checked, people, actor.device, call.now_ms, call.random)
        try:
            outcome = await call.write(actor.agency, *parts)
        except Refused as error:
            # Only where another authority was first must this one sign anew. A device that is named may have changed
            # its own row, and must not keep its end away by that.
            moved = (await call.host.directories.fresh(actor.agency)).seq != head
            if error.code is not WireError.CONFLICT or moved or not left:
                raise
            continue
        if isinstance(outcome, Stored):
            return
        # An earlier post of the same device stored the first of these meanwhile, and nothing of this one stands.
    raise ProtocolError(WireError.CONFLICT, "the directory changed meanwhile: read it anew")


def _new_entries(known: Directory, entries: Sequence[bytes]) -> list[bytes]:
    fresh: list[bytes] = []
    for data in entries:
        signed = SignedEntry.decode(data)
        seq = parse_entry(signed.signed.payload).seq
        if fresh or known.hash_at(seq) != signed.hash:
            fresh.append(data)
    return fresh


async def _people(call: Call, agency: AgencyId, checked: Sequence[CheckedEntry]) -> People:
    devices: dict[DeviceId, Held[DeviceRow]] = {}
    members: dict[MemberId, MemberRow] = {}
    named = devices_named(checked)
    told = await watchers(call, agency) if named else ()
    for device in named:
        held = await call.find(agency, DeviceRow, device)
        if held is None:
            continue
        devices[device] = held
        member = await call.find(agency, MemberRow, held.row.member)
        if member is not None:
            members[held.row.member] = member.row
    return People(devices, members, told)


HANDLERS: Final[Mapping[str, Handler]] = {"directory": directory, "post_directory": post_directory}
