"""Attachments: announced, uploaded in sealed chunks, resumed where they broke off, read by the channel's roster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from leeside_protocol import resources as r
from leeside_protocol.errors import ProtocolError, WireError
from leeside_protocol.ids import BlobId, ChannelId
from leeside_protocol.limits import BLOB_CHUNK_BYTES
from leeside_protocol.sealing.public.entries import DURABLE
from leeside_server.core.attachments import BlobRow, announce, check_chunk, chunks_of
from leeside_server.core.channels import ChannelRow
from leeside_server.core.policy import Action
from leeside_server.core.rows import Held, create
from leeside_server.core.writes import Audit
from leeside_server.ports import ChunkDiffers
from leeside_server.relay.http.call import Call
from leeside_server.relay.http.endpoint import Handler

UPLOAD_MS: Final = 24 * 3_600_000
"""An upload that is not complete by then is dropped."""


async def create_blob(call: Call) -> r.Blob:
    """POST /v1/channels/{id}/blobs."""
    call.actor.require(Action.ATTACH)
    channel = await call.need(ChannelRow, call.id)
    _check_roster(call, channel.row)
    if channel.row.archived:
        raise ProtocolError(WireError.FORBIDDEN, "the channel is archived")
    size_bytes = call.body(r.NewBlob).size_bytes
    row = announce(
        ChannelId(channel.id), call.actor.device, size_bytes, call.now_ms, call.settings.blob_bytes
    )
    blob_id = call.random(16)
    await call.write(call.actor.agency, create(blob_id, row, call.now_ms + UPLOAD_MS))
    return await _answer(call, Held(blob_id, row, 1))


async def blob(call: Call) -> r.Blob:
    """GET /v1/blobs/{id}: which chunks stand, so that an upload goes on behind them."""
    return await _answer(call, await _readable(call))


async def put_chunk(call: Call) -> None:
    """PUT /v1/blobs/{id}/chunks/{index}: by the device that announced it; the same bytes again are fine."""
    call.actor.require(Action.ATTACH)
    held = await _readable(call)
    if held.row.device != call.actor.device:
        raise ProtocolError(WireError.FORBIDDEN, "another device announced this attachment")
    data = call.body(bytes)
    index = _index(call)
    check_chunk(held.row, index, len(data))
    try:
        await call.host.blobs.put(call.actor.agency, BlobId(held.id), index, data)
    except ChunkDiffers:
        raise ProtocolError(WireError.CONFLICT, "another chunk stands here") from None


async def chunk(call: Call) -> bytes:
    """GET /v1/blobs/{id}/chunks/{index}."""
    held = await _readable(call)
    data = await call.host.blobs.get(call.actor.agency, BlobId(held.id), _index(call))
    if data is None:
        raise ProtocolError(WireError.NOT_FOUND)
    return data


async def _readable(call: Call) -> Held[BlobRow]:
    """The attachment, for its channel's roster and for a records officer (recorded)."""
    held = await call.need(BlobRow, call.id)
    if held.row.dropped:
        raise ProtocolError(WireError.NOT_FOUND)
    channel = await call.need(ChannelRow, held.row.channel)
    actor = call.actor
    if actor.device not in channel.row.masks and actor.permits(Action.READ_RECORDS):
        await call.write(actor.agency, Audit("records_read", actor.device, held.id, call.route.name))
        return held
    _check_roster(call, channel.row)
    return held


def _check_roster(call: Call, row: ChannelRow) -> None:
    if not row.masks.get(call.actor.device, 0) >> DURABLE & 1:
        raise ProtocolError(WireError.NOT_FOUND)


def _index(call: Call) -> int:
    text = call.params["index"]
    if not text.isascii() or not text.isdigit() or len(text) > 6 or str(int(text)) != text:
        raise ProtocolError(WireError.NOT_FOUND)
    return int(text)


async def _answer(call: Call, held: Held[BlobRow]) -> r.Blob:
    have = await call.host.blobs.have(call.actor.agency, BlobId(held.id))
    count = chunks_of(held.row)
    return r.Blob(
        held.id.hex(), held.row.size_bytes, BLOB_CHUNK_BYTES, count, tuple(have), len(have) == count
    )


HANDLERS: Final[Mapping[str, Handler]] = {
    "create_blob": create_blob,
    "blob": blob,
    "put_chunk": put_chunk,
    "chunk": chunk,
}
