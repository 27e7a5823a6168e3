"""Ended incidents on this device: their keys go to the custodian, then everything of them is forgotten.

Theory of operation. A channel is archived by the server when its incident ends. Each member then seals the keys it
holds to the channel's records keys (an *archive*, spec 04 "Records"), unless archives of two other devices name all
of those epochs already. A day after this device learnt of the end it deletes its keys, the messages and its copies of
commits, once the archives stand; without a connection it waits for them, but never longer than a week.

Notes written: `ended <channel>`: when the end was learnt (8 bytes), empty once all was forgotten.
"""

from __future__ import annotations

from typing import Final

from leeside.api import ApiError
from leeside.channels import Channel
from leeside.home import Home
from leeside.outbox import Outbox
from leeside_protocol import resources as r
from leeside_protocol.ids import DeviceId
from leeside_protocol.sealing.errors import SealingError
from leeside_protocol.sealing.opening.records import archivable, make_archive
from leeside_protocol.sealing.public.archive import Archive, ArchiveLabel, is_archive, verify_archive
from leeside_protocol.sealing.public.commit import NO_INCIDENT, RecordsEntry

KEPT_MS: Final = 24 * 3_600_000
"""How long an ended incident stays readable here."""
LATEST_MS: Final = 7 * 24 * 3_600_000
"""When it goes even though no archive could be made."""
ARCHIVERS: Final = 2
"""How many others must have archived an epoch before this device need not: one who lies destroys nothing."""


class Closing:
    """What becomes of ended incidents. `kept_ms` is the agency's policy; it never reaches beyond a week."""

    def __init__(self, home: Home, outbox: Outbox, *, kept_ms: int = KEPT_MS) -> None:
        self._home = home
        self._outbox = outbox
        self._kept_ms = min(kept_ms, LATEST_MS)

    def forgotten(self, channel: Channel) -> bool:
        """Whether this device has forgotten the channel."""
        return self._home.history.note(_note(channel)) == b""

    async def tend(self, channel: Channel) -> bool:
        """Do what is due for a channel that the server archived. True when it was forgotten now.

        Raises `ApiError` when the server cannot be reached: tend it again later.
        """
        head = channel.sealed.line.head
        if head is None or head.incident_id == NO_INCIDENT or self.forgotten(channel):
            return False
        age_ms = self._home.now_ms() - self._ended_ms(channel)
        if age_ms < LATEST_MS:
            archived = await self._archive(channel)
            if not archived or age_ms < self._kept_ms:
                return False
        self._forget(channel)
        return True

    def _ended_ms(self, channel: Channel) -> int:
        note = self._home.history.note(_note(channel))
        if note is not None:
            return int.from_bytes(note, "big")
        now_ms = self._home.now_ms()
        self._home.history.keep_note(_note(channel), now_ms.to_bytes(8, "big"))
        return now_ms

    # ---- archiving

    async def _archive(self, channel: Channel) -> bool:
        """Whether every epoch that this device can read is in good hands, after doing its part."""
        records = channel.sealed.head.records
        if not records:
            return True
        standing = await self._standing(channel)
        done = True
        for record in records:
            labels = [label for label in standing if label.records_id == record.records_id]
            if not self._kept_by_others(channel, record, labels):
                done &= await self._post(channel, record)
        return done

    def _kept_by_others(self, channel: Channel, record: RecordsEntry, labels: list[ArchiveLabel]) -> bool:
        me = self._home.keys.device_id
        for epoch in archivable(channel.sealed, record.class_mask):
            by: set[DeviceId] = {label.archiver for label in labels if epoch in label.epochs}
            if me not in by and len(by) < ARCHIVERS:
                return False
        return True

    async def _standing(self, channel: Channel) -> list[ArchiveLabel]:
        """The archives in the channel's grants log that hold; what does not is nobody's archive."""
        found: list[ArchiveLabel] = []
        directories = self._home.directories.by_agency
        at = 0
        while True:
            batch = await self._home.api.log(channel.grants, at)
            for entry in batch.entries:
                if not is_archive(entry.payload):
                    continue
                try:
                    found.append(
                        verify_archive(channel.sealed.line, Archive.decode(entry.payload), directories)
                    )
                except SealingError:
                    continue
            if batch.to <= at:
                return found
            at = batch.to

    async def _post(self, channel: Channel, record: RecordsEntry) -> bool:
        home = self._home
        try:
            made = make_archive(
                channel.sealed,
                home.keys,
                record.records_id,
                home.directories.by_agency,
                now_ms=home.now_ms(),
                random=home.random,
            )
        except SealingError:
            return False
        if made is None:
            return True
        label = r.SignedObject(made.signed.payload, made.signed.signer, made.signed.signature)
        try:
            await home.api.post_archive(
                channel.id, r.ArchivePost(label, made.suite, made.key_box, made.wrapped)
            )
        except ApiError as error:
            if error.code.may_retry:
                raise
            # Refused for good, e.g. because this device was revoked: the others do it, or the week decides.
            return False
        return True

    # ---- forgetting

    def _forget(self, channel: Channel) -> None:
        # The note comes last: a crash in between begins again, and deleting twice changes nothing.
        channel.forget()
        self._home.history.forget(channel.id, channel.content)
        self._outbox.forget_channel(channel.content)
        self._home.history.keep_note(_note(channel), b"")


def _note(channel: Channel) -> str:
    return f"ended {channel.id.hex()}"
