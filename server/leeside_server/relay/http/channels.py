"""Channels: opened with a genesis, moved on by commits, read by their roster.

What a commit must fulfil is in `core.commits`; here are the reading and the one item that writes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from leeside_protocol import resources as r
from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import AgencyId, ChannelId, ChannelKind, DeviceId, address, from_hex
from leeside_protocol.limits import PAGE_ENTRIES, PAYLOAD_BYTES
from leeside_protocol.sealing.errors import SealingCode, SealingError
from leeside_protocol.sealing.public.acceptance import ChannelLine
from leeside_protocol.sealing.public.commit import Commit, parse_commit
from leeside_protocol.sealing.public.directory import Directory
from leeside_protocol.sealing.public.entries import CAP_GRANT, RecordsId
from leeside_protocol.sealing.public.grant import parse_grant
from leeside_protocol.sealing.public.signed import Signed
from leeside_protocol.words import ChannelPurpose, Compartment
from leeside_server.core.channels import ACTIVE, ChannelRow
from leeside_server.core.commits import (
    Checked,
    archive_entry,
    archive_parts,
    check_archive,
    check_commit,
    check_grant,
    check_subject,
    commit_of,
    commit_parts,
    epoch_boxes,
    first_append,
    grant_parts,
    signed_of,
)
from leeside_server.core.incidents import ENDED, IncidentRow, UnitRow
from leeside_server.core.policy import Action, opening
from leeside_server.core.records import RecordsRow
from leeside_server.core.rows import Held, SlotRow, change, create, door_id, slot_id
from leeside_server.core.writes import Audit, Item, NotStored, Part, Repeated
from leeside_server.relay.http.call import ATTEMPTS, Call
from leeside_server.relay.http.endpoint import Handler
from leeside_server.relay.http.refusals import Refused, stored

READ_BYTES: Final = 1 << 20
SCANNED: Final = 4 * PAGE_ENTRIES
"""Channels that one page of a listing looks at, at most."""


class Genesis(msgspec.Struct, frozen=True):
    """A channel about to be opened: what was posted, and its commit, parsed."""

    post: r.ChannelPost
    purpose: ChannelPurpose
    commit: Commit


# ---- opening


async def create_channel(call: Call) -> r.CommitAnswer:
    """POST /v1/channels: genesis, boxes, row and first message in one item."""
    genesis = read_genesis(call.body(r.ChannelPost))
    left = ATTEMPTS
    while True:
        door = await _check_opening(call, genesis)
        repeat = await standing(call, genesis.commit)
        if repeat is not None:
            return repeat
        parts = await genesis_parts(call, genesis)
        left -= 1
        try:
            return await store_commit(call, genesis.commit, (*parts, *door))
        except Refused as error:
            # The incident may have ended at the same moment.
            if error.code is not WireError.CONFLICT or not door or not left:
                raise


def read_genesis(post: r.ChannelPost) -> Genesis:
    """The posted channel; `invalid` when it is not the beginning of one."""
    try:
        purpose = ChannelPurpose(post.purpose)
    except ValueError:
        raise ProtocolError(WireError.INVALID, "unknown purpose") from None
    commit = commit_of(post.genesis)
    if commit.epoch:
        raise ProtocolError(WireError.INVALID, "a channel begins with epoch 0")
    check_subject(purpose, post.subject, commit)
    return Genesis(post, purpose, commit)


async def _check_opening(call: Call, genesis: Genesis) -> tuple[Part, ...]:
    """Whether this member may open a channel of this purpose for this subject; gives what to write with it."""
    compartment = Compartment(genesis.commit.compartment)
    action = opening(genesis.purpose, compartment)
    if genesis.purpose is ChannelPurpose.UNIT:
        unit = await call.find(call.actor.agency, UnitRow, genesis.post.subject)
        if unit is None or unit.row.ended_ms:
            raise ProtocolError(WireError.NOT_FOUND)
        if unit.row.lead == call.actor.member:
            action = Action.OPEN_LED_UNIT_CHANNEL
    call.actor.require(action)
    if not genesis.post.subject or genesis.purpose is ChannelPurpose.UNIT:
        return ()
    door = await door_part(call, genesis.post.subject, genesis.commit.channel_id)
    incident = await call.find(call.actor.agency, IncidentRow, genesis.post.subject)
    if incident is None:
        raise ProtocolError(WireError.NOT_FOUND)
    if incident.row.state in ENDED:
        raise ProtocolError(WireError.FORBIDDEN, "this incident has ended")
    return (door,)


async def door_part(call: Call, incident: bytes, channel: ChannelId) -> Part:
    """What the opening of a channel and the end of its incident both write: the end archives the channels that it
    finds, so of the two at once one must be decided anew. Call before reading what is decided on."""
    key, row = door_id(incident), SlotRow(channel)
    held = await call.find(call.actor.agency, SlotRow, key)
    return create(key, row) if held is None else change(held, row)


async def genesis_parts(call: Call, genesis: Genesis) -> tuple[Part, ...]:
    """All rules of acceptance, then the parts that open the channel."""
    checked = await verify(call, genesis.post.genesis, None, genesis.purpose)
    parts = commit_parts(checked, genesis.purpose, genesis.post.subject, None, call.now_ms, call.random)
    slot = await _slot_part(call, genesis)
    first = genesis.post.first
    return (*parts, *slot, *(() if first is None else (first_append(first, checked.commit),)))


async def _slot_part(call: Call, genesis: Genesis) -> tuple[Part, ...]:
    """One agency channel, one a unit, and one an incident and compartment: two at once would split the talk.

    An archived channel gives its place up, as after a fork.
    """
    purpose, subject = genesis.purpose, genesis.post.subject
    if purpose not in {ChannelPurpose.AGENCY, ChannelPurpose.UNIT, ChannelPurpose.INCIDENT}:
        return ()
    key = slot_id(purpose, subject, genesis.commit.compartment)
    row = SlotRow(genesis.commit.channel_id)
    held = await call.find(call.actor.agency, SlotRow, key)
    if held is not None:
        taken = await call.find(call.actor.agency, ChannelRow, held.row.channel)
        stands = taken is not None and not taken.row.archived
    else:
        stands = purpose is ChannelPurpose.UNIT and await _stands_from_before(call, subject)
    if stands:
        raise Refused(WireError.CONFLICT, "this channel was opened already")
    return (create(key, row) if held is None else change(held, row),)


async def _stands_from_before(call: Call, unit: bytes) -> bool:
    """Whether a unit has a channel from the time when units held no place, and might have had several."""
    active = await call.every(call.actor.agency, ChannelRow, ACTIVE)
    return any(held.row.purpose is ChannelPurpose.UNIT and held.row.subject == unit.hex() for held in active)


async def verify(call: Call, post: r.CommitPost, prev: Commit | None, purpose: ChannelPurpose) -> Checked:
    """Every rule of acceptance against the newest directory and DeviceKeys."""
    agency = call.actor.agency
    parsed = commit_of(post)
    devices = [entry.device_id for entry in parsed.roster if entry.guest is None]
    book = await call.host.directories.device_keys(agency, devices)
    directory = await call.host.directories.fresh(agency)
    return check_commit(post, prev, purpose, {agency: directory}, book, call.actor.device, call.now_ms)


async def store_commit(call: Call, commit: Commit, parts: tuple[Part, ...]) -> r.CommitAnswer:
    """Store the item. A lost race is `conflict` with the head of the EPOCHS log; the very same commit is a repeat."""
    (outcome,) = await call.apply([Item(call.actor.agency, call.now_ms, parts)])
    if isinstance(outcome, NotStored):
        answer = await standing(call, commit) if outcome.code is WireError.CONFLICT else None
        if answer is not None:
            return answer
        stored(outcome)
    if isinstance(outcome, Repeated):
        # Of the commit, or of the first message alone: then nothing of this item stands.
        answer = await standing(call, commit)
        if answer is None:
            raise ProtocolError(WireError.INVALID, "the first message's id was used before")
        return answer
    return r.CommitAnswer(commit.channel_id, commit.epoch, commit.hash, repeat=False)


async def standing(call: Call, commit: Commit) -> r.CommitAnswer | None:
    """The answer for a commit that stands already; None when its epoch is still free; `conflict` when another
    commit took it."""
    page = await _epochs(call, commit.channel_id, commit.epoch, 1)
    if not page:
        return None
    if page[0].hash == commit.hash:
        return r.CommitAnswer(commit.channel_id, commit.epoch, commit.hash, repeat=True)
    held = await call.find(call.actor.agency, ChannelRow, commit.channel_id)
    head = 0 if held is None else held.row.epoch + 1
    raise Refused(WireError.CONFLICT, "another commit was first: adopt it", head=head)


async def _epochs(call: Call, channel: ChannelId, first: int, limit: int) -> Sequence[Commit]:
    """Stored commits from epoch `first` on; they were verified when they were stored."""
    log = address(ChannelKind.EPOCHS, channel)
    page = await call.host.store.read(call.actor.agency, log, first, limit, READ_BYTES)
    return [parse_commit(Signed.decode(entry.payload)) for entry in page.entries if entry.payload is not None]


# ---- going on


async def post_commit(call: Call) -> r.CommitAnswer:
    """POST /v1/channels/{id}/commits."""
    call.actor.require(Action.COMMIT)
    post = call.body(r.CommitPost)
    held = await _own_channel(call)
    commit = commit_of(post)
    if commit.channel_id != held.id:
        raise ProtocolError(WireError.INVALID, "the commit is another channel's")
    repeat = await standing(call, commit)
    if repeat is not None:
        return repeat
    if held.row.archived:
        raise ProtocolError(WireError.FORBIDDEN, "the channel is archived")
    (prev,) = await _epochs(call, commit.channel_id, held.row.epoch, 1)
    checked = await verify(call, post, prev, held.row.purpose)
    subject = bytes.fromhex(held.row.subject or "")
    parts = commit_parts(checked, held.row.purpose, subject, held, call.now_ms, call.random)
    return await store_commit(call, commit, parts)


async def archive_channel(call: Call) -> r.ChannelInfo:
    """POST /v1/channels/{id}/archive: for those who may open such a channel."""
    held = await call.need(ChannelRow, call.id)
    action = opening(held.row.purpose, held.row.compartment)
    if held.row.purpose is ChannelPurpose.UNIT and held.row.subject:
        unit = await call.find(call.actor.agency, UnitRow, bytes.fromhex(held.row.subject))
        if unit is not None and unit.row.lead == call.actor.member:
            action = Action.OPEN_LED_UNIT_CHANNEL
    call.actor.require(action)

    async def decide() -> tuple[Sequence[Part], None]:
        newest = await call.need(ChannelRow, call.id)
        return archive_parts(newest, call.actor.device, call.random), None

    # Its members may go on committing meanwhile.
    await call.write_anew(call.actor.agency, decide)
    return await _info(call, await call.need(ChannelRow, call.id))


async def post_grant(call: Call) -> None:
    """POST /v1/channels/{id}/grants: to a device or records key of the *newest* signed roster."""
    call.actor.require(Action.GRANT)
    post = call.body(r.GrantPost)
    held = await _own_channel(call)
    await _check_not_shredded(call, held)
    directory = await call.host.directories.fresh(call.actor.agency)
    line = await _line(call, ChannelId(held.id), held.row.epoch, post, directory)
    grant, sealed = check_grant(post, line, {call.actor.agency: directory}, call.actor.device, call.now_ms)
    assert line.head is not None
    receivers = {entry.device_id for entry in line.head.roster} | {e.records_id for e in line.head.records}
    if grant.to not in receivers:
        raise SealingError(SealingCode.E_GRANT, "receiver is no longer in the roster")
    if len(sealed.encode()) > PAYLOAD_BYTES:
        raise ProtocolError(WireError.TOO_LARGE, "grant fewer epochs at once")
    await call.write(call.actor.agency, *grant_parts(grant, sealed))


async def post_archive(call: Call) -> None:
    """POST /v1/channels/{id}/archives: by a member, of a channel that is archived and so takes no more commits."""
    call.actor.require(Action.COMMIT)
    post = call.body(r.ArchivePost)
    held = await _own_channel(call)
    if not held.row.archived:
        raise ProtocolError(WireError.FORBIDDEN, "the channel is still in service")
    await _check_not_shredded(call, held)
    directory = await call.host.directories.fresh(call.actor.agency)
    line = ChannelLine(ChannelId(held.id))
    for commit in await _epochs(call, line.channel_id, held.row.epoch, 1):
        line.install(commit)
    directories = {call.actor.agency: directory}
    label, archive = check_archive(post, line, directories, call.actor.device, call.now_ms)
    await call.write(call.actor.agency, *archive_entry(label, archive))


async def _check_not_shredded(call: Call, held: Held[ChannelRow]) -> None:
    """Keys that arrive after an incident was shredded would open what is left of it elsewhere."""
    if held.row.subject is None:
        return
    records = await call.find(call.actor.agency, RecordsRow, bytes.fromhex(held.row.subject))
    if records is not None and records.row.shred_ms:
        raise ProtocolError(WireError.FORBIDDEN, "this incident's records were shredded")


async def _line(
    call: Call, channel: ChannelId, head_epoch: int, post: r.GrantPost, directory: Directory
) -> ChannelLine:
    """The stored commits that judging a grant takes: the head, the one it names, and, for a member who may only
    seal again what was the receiver's already, each epoch that it gives."""
    grant = parse_grant(signed_of(post.grant))
    needed = {grant.epoch, head_epoch}
    certificate = directory.device(grant.granter)
    if certificate is None or not certificate.caps & CAP_GRANT:
        needed.update(grant.epochs)
    line = ChannelLine(channel)
    for epoch in sorted(needed):
        for commit in await _epochs(call, channel, epoch, 1):
            line.install(commit)
    return line


# ---- reading


async def channels(call: Call) -> r.Channels:
    """GET /v1/channels: those whose roster holds this device; for a records officer all of the agency's."""
    actor = call.actor
    actor.require(Action.READ_CHANNELS)
    officer = actor.permits(Action.READ_RECORDS)
    found: list[Held[ChannelRow]] = []
    after, scanned = call.after_id, 0
    while len(found) < call.limit and scanned < SCANNED:
        rows = await call.rows(ChannelRow, after, PAGE_ENTRIES)
        for held in rows:
            after = held.id
            if officer or actor.device in held.row.masks:
                found.append(held)
                if len(found) == call.limit:
                    break
        else:
            scanned += len(rows)
            if len(rows) < PAGE_ENTRIES:
                after = b""
                break
    if officer:
        await call.write(actor.agency, Audit("records_listed", actor.device, b"", "done"))
    return r.Channels(after.hex(), await _infos(call, found))


async def channel(call: Call) -> r.ChannelInfo:
    """GET /v1/channels/{id}."""
    return await _info(call, await readable_channel(call, call.id))


async def boxes(call: Call) -> tuple[r.EpochBoxes, ...]:
    """GET /v1/channels/{id}/boxes: a device's own, and nobody else's.

    A records officer asks for those of a records key with `recipient`; every such reading is a security event. A
    device that left the channel still gets the boxes that were made for it.
    """
    actor = call.actor
    held = await call.need(ChannelRow, call.id)
    text = call.query.get("recipient")
    recipient: bytes = actor.device
    if text is not None:
        recipient = await _records_recipient(call, text)
        await call.write(actor.agency, Audit("records_read", actor.device, held.id, f"boxes of {text}"))
    rows = await call.host.store.boxes(
        actor.agency, ChannelId(held.id), recipient, call.number("from_epoch", 0), call.limit
    )
    if recipient == actor.device and actor.device not in held.row.masks:
        rows = [row for row in rows if row[1] is not None]
        if not rows:
            raise ProtocolError(WireError.NOT_FOUND)
    return tuple(epoch_boxes(*row) for row in rows)


async def _records_recipient(call: Call, text: str) -> bytes:
    if not call.actor.permits(Action.READ_RECORDS):
        raise ProtocolError(WireError.NOT_FOUND)
    recipient = from_hex(text)
    directory: Directory = await call.host.directories.fresh(call.actor.agency)
    if directory.records_key(RecordsId(recipient)) is None:
        raise ProtocolError(WireError.NOT_FOUND)
    return recipient


async def readable_channel(call: Call, key: bytes) -> Held[ChannelRow]:
    """The channel, for its roster and for a records officer (recorded); `not_found` for all others."""
    held = await call.need(ChannelRow, key)
    actor = call.actor
    if actor.device in held.row.masks:
        return held
    if not actor.permits(Action.READ_RECORDS):
        raise ProtocolError(WireError.NOT_FOUND)
    await call.write(actor.agency, Audit("records_read", actor.device, key, call.route.name))
    return held


async def _own_channel(call: Call) -> Held[ChannelRow]:
    held = await call.need(ChannelRow, call.id)
    if call.actor.device not in held.row.masks:
        raise ProtocolError(WireError.NOT_FOUND)
    return held


async def _info(call: Call, held: Held[ChannelRow]) -> r.ChannelInfo:
    (info,) = await _infos(call, [held])
    return info


async def _infos(call: Call, found: Sequence[Held[ChannelRow]]) -> tuple[r.ChannelInfo, ...]:
    agency: AgencyId = call.actor.agency
    logs = [(agency, address(ChannelKind.CONTENT, held.id)) for held in found]
    heads = await call.host.store.heads(logs) if logs else ()
    generation = call.host.store.generation
    return tuple(
        r.ChannelInfo(
            held.id.hex(),
            held.row.purpose,
            held.row.compartment,
            held.row.subject,
            held.row.epoch,
            held.row.commit_hash,
            tuple(DeviceId(d).hex() for d in held.row.masks),
            held.row.archived,
            generation,
            head,
        )
        for held, head in zip(found, heads, strict=True)
    )


HANDLERS: Final[Mapping[str, Handler]] = {
    "channels": channels,
    "create_channel": create_channel,
    "channel": channel,
    "archive_channel": archive_channel,
    "post_commit": post_commit,
    "boxes": boxes,
    "post_grant": post_grant,
    "post_archive": post_archive,
}
