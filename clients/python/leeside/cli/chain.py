"""A channel's chain of commits, verified without any key: who can read is what was signed, not what the server says."""

from __future__ import annotations

from leeside.api import Api
from leeside.cli.exits import CommandError, Exit
from leeside_protocol.ids import ChannelId, ChannelKind, address
from leeside_protocol.sealing.public.acceptance import ChannelLine, verify_commit
from leeside_protocol.sealing.public.directory import Directory
from leeside_protocol.sealing.public.signed import Signed


async def fetch_chain(api: Api, channel: ChannelId, directory: Directory) -> ChannelLine:
    """All commits of a channel, each verified against the one before and the directory.

    Raises `SealingError` with the broken rule's code; `not_found` when there is no commit.
    """
    line = ChannelLine(channel)
    log = address(ChannelKind.EPOCHS, channel)
    directories = {directory.agency_id: directory}
    at = 0
    while True:
        batch = await api.log(log, at)
        for entry in batch.entries:
            line.install(verify_commit(line, Signed.decode(entry.payload), directories))
        if batch.to <= at or not batch.entries:
            break
        at = batch.to
    if line.head is None:
        raise CommandError("The server shows no commit of this channel.", Exit.NOT_FOUND, "not_found")
    return line
