"""The keys of a call on this device: the media class of the consult's channel, followed from epoch to epoch.

A new epoch is used from the moment in which its box is opened; what others seal in the one before opens for ten seconds more
(spec 09). Whoever is not in the newest roster seals nothing any more.
"""

from __future__ import annotations

from collections.abc import Callable

from leeside_protocol.ids import DeviceId
from leeside_protocol.sealing.errors import SealingCode, SealingError
from leeside_protocol.sealing.opening.channel import SealedChannel
from leeside_protocol.sealing.opening.media import MediaKey, MediaReceiver, media_sender
from leeside_protocol.sealing.public.entries import MEDIA
from leeside_protocol.video.formats import MediaKind


class CallKeys:
    """Seals and opens the frames of one call. `call_id`: the consult's id."""

    def __init__(
        self,
        sealed: Callable[[], SealedChannel],
        device: DeviceId,
        call_id: bytes,
        random: Callable[[int], bytes],
    ) -> None:
        self._sealed = sealed
        self._device = device
        self._call_id = call_id
        self._random = random
        self._receiver = MediaReceiver(call_id)
        self._senders: dict[MediaKind, MediaKey] = {}
        self.epoch = -1
        """The newest whose secret is in use."""

    def begin(self) -> None:
        """The streams start anew: so do their keys, because their counters do."""
        self._senders.clear()

    def seal(self, media: MediaKind, frame: bytes, now_ms: int) -> bytes:
        """A frame for the others. Raises `SealingError` when this device may send none now."""
        self._follow(now_ms)
        channel = self._sealed()
        commit = channel.head
        index = commit.roster_index(self._device)
        if index is None:
            raise SealingError(SealingCode.E_AUTHZ, "not in the roster any more")
        sender = self._senders.get(media)
        if sender is None:
            secret = channel.secrets(self.epoch).get(MEDIA)
            if secret is None or commit.epoch != self.epoch:
                raise SealingError(SealingCode.E_NO_KEY, "no media secret of this epoch")
            sender = media_sender(secret, commit, self._call_id, index, self._random)
            self._senders[media] = sender
        return sender.seal_frame(media, frame)

    def open(self, media: MediaKind, frame: bytes, sender: DeviceId, now_ms: int) -> bytes:
        """A frame as its codec made it. Raises `SealingError` as `MediaReceiver.open_frame` does."""
        self._follow(now_ms)
        return self._receiver.open_frame(media, frame, sender, now_ms)

    def _follow(self, now_ms: int) -> None:
        channel = self._sealed()
        newest = channel.line.epoch
        if newest == self.epoch:
            return
        # Who comes in between hears those who have not followed yet.
        for epoch in range(max(self.epoch + 1, newest - 1, 0), newest + 1):
            secret, commit = channel.secrets(epoch).get(MEDIA), channel.line.commits.get(epoch)
            if secret is not None and commit is not None:
                self._receiver.start_epoch(secret, commit, now_ms)
                self._senders.clear()
                self.epoch = epoch
