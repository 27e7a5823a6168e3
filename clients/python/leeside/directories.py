"""The agency's directory as this device has verified it, and the DeviceKeys of its devices.

The whole signed chain is replicated and kept, and checked from the first entry on. `root_public` was pinned at
enrolment and never comes from the server. Whatever is wrong becomes an `Alarm` through `report`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from leeside.api import ApiError, every
from leeside.events import Alarm, AlarmKind
from leeside.history import History
from leeside_protocol import resources as r
from leeside_protocol.ids import AgencyId, DeviceId, MemberId
from leeside_protocol.sealing.errors import SealingCode, SealingError
from leeside_protocol.sealing.public.device_key import DeviceKeyBook
from leeside_protocol.sealing.public.directory import Certificate, Directory
from leeside_protocol.sealing.public.encoding import as_bytes, as_list, decode, encode
from leeside_protocol.sealing.public.entries import DeviceAdded, DeviceRemoved, SignedEntry
from leeside_protocol.sealing.public.signed import Signed

_PAGE: Final = 500
_MINE: Final = "devices of mine"
_FORK: Final = "directory fork"
"""The other branch's entry, signed: with the one that stands at its place it is the evidence."""

Report = Callable[[Alarm], None]


class DirectoryApi(Protocol):
    """What of the server's HTTP half this module needs."""

    async def directory(self, after: int = 0, limit: int = 500) -> tuple[bytes, ...]: ...
    async def post_directory(self, body: r.DirectoryPost) -> None: ...
    async def devices(self, after: str = "", limit: int = 100, state: str = "") -> r.Devices: ...


class Directories:
    """One agency's chain on one device. `changed` is set whenever it grew."""

    def __init__(
        self,
        api: DirectoryApi,
        history: History,
        root_public: bytes,
        member: MemberId,
        device: DeviceId,
        report: Report,
    ) -> None:
        self._api = api
        self._history = history
        self._report = report
        self._device = device
        self._lock = asyncio.Lock()
        self.member: Final = member
        self.own: Final = Directory.replay(root_public, history.entries(Directory(root_public).agency_id))
        self.agency: Final[AgencyId] = self.own.agency_id
        self.by_agency: Final = {self.agency: self.own}
        self.book: Final = DeviceKeyBook()
        self.ghosts: Final[set[DeviceId]] = set()
        self.revoked: Final[set[DeviceId]] = set()
        """Devices whose removal arrived since somebody last took them from here."""
        self.forked = history.note(_FORK) is not None
        self._known = self._restore_known()

    def certificate(self, device: DeviceId) -> Certificate | None:
        """A device's certificate, revoked or not."""
        return self.own.device(device)

    def member_of(self, device: DeviceId) -> MemberId | None:
        """Whose device this is."""
        certificate = self.own.device(device)
        return None if certificate is None else certificate.member_id

    async def sync(self) -> int:
        """Fetch what the server has beyond our head; how many entries were new. Raises `ApiError`."""
        async with self._lock:
            new = 0
            while True:
                page = await self._api.directory(self.own.seq, _PAGE)
                grown = max(0, self._apply(page))
                new += grown
                # A page that brought nothing brings nothing the next time either.
                if len(page) < _PAGE or not grown or self.forked:
                    return new

    async def take(self, entries: Iterable[bytes]) -> None:
        """Entries that the server pushed; a hole is filled from its HTTP half."""
        async with self._lock:
            behind = self._apply(entries) < 0
        if behind:
            await self.sync()

    async def restore(self, server_head: int) -> None:
        """The server was restored from a backup: give back the entries it lost, if this member may."""
        lost = self._history.entries(self.agency)[server_head:]
        if not lost:
            return
        try:
            await self._api.post_directory(r.DirectoryPost(lost))
        except ApiError as error:
            # Someone with the right to, or someone faster, does it.
            if error.code.may_retry:
                raise

    async def learn_keys(self) -> None:
        """Fetch the newest DeviceKeys of the agency; needed before sealing to anyone. Raises `ApiError`."""
        infos: list[r.DeviceInfo] = await every(lambda after: self._api.devices(after, _PAGE, "active"))
        for info in infos:
            certificate = self.own.device(DeviceId(bytes.fromhex(info.id)))
            if certificate is None or not info.device_key:
                continue
            try:
                self.book.add(Signed.decode(info.device_key), certificate)
            except SealingError:
                # One device with a bad key must not keep the others from being sealed to: it stays dormant.
                continue

    def confirm(self, device: DeviceId) -> None:
        """The person says that this device under their name is theirs."""
        self.ghosts.discard(device)
        self._known.add(device)
        self._keep_known()

    def _apply(self, entries: Iterable[bytes]) -> int:
        """How many were new; -1 when they do not follow our head."""
        new: list[tuple[int, bytes]] = []
        data = b""
        try:
            for data in entries:
                if self._apply_one(SignedEntry.decode(data)):
                    new.append((self.own.seq, data))  # what stands before an error is kept
        except SealingError as error:
            if error.code is SealingCode.E_DIR_CHAIN:
                return -1 if not new else self._kept(new)
            if error.code is SealingCode.E_DIR_FORK and not self.forked:
                self.forked = True
                self._history.keep_note(_FORK, data)
            kind = AlarmKind.DIRECTORY_FORK if self.forked else AlarmKind.WITHHELD
            self._report(Alarm(None, kind, error.code, stops_sending=self.forked))
        return self._kept(new)

    def _kept(self, new: list[tuple[int, bytes]]) -> int:
        self._history.keep_entries(self.agency, new)
        return len(new)

    def _apply_one(self, signed: SignedEntry) -> bool:
        try:
            checked = self.own.apply(signed)
        except SealingError as error:
            if error.code is SealingCode.E_DUPLICATE:
                return False
            raise
        match checked.entry.operation:
            case DeviceAdded() as added if added.member_id == self.member:
                self._meet(added.device_id)
            case DeviceRemoved() as removed:
                self.revoked.add(removed.device_id)
                self.ghosts.discard(removed.device_id)
            case _:
                pass
        return True

    def _meet(self, device: DeviceId) -> None:
        """A device under this person's own name: known, or a ghost until they say otherwise."""
        if device in self._known and device != self._device:
            return
        mine = self.own.device(self._device)
        if device == self._device or mine is None:
            # What was certified before this device came is what its person enrolled from. Written down with the own
            # device at the latest: from then on a stranger is a ghost on every later start too.
            self._known.add(device)
            self._keep_known()
            return
        self.ghosts.add(device)
        self._report(Alarm(None, AlarmKind.GHOST_DEVICE, "ghost", stops_sending=False, device=device))

    def _restore_known(self) -> set[DeviceId]:
        note = self._history.note(_MINE)
        known = {self._device}
        if note is not None:
            known.update(DeviceId(as_bytes(value, 16)) for value in as_list(list(decode(note))))
        for certificate in self.own.devices_of(self.member):
            if note is not None and certificate.device_id not in known and certificate.revoked_seq is None:
                self.ghosts.add(certificate.device_id)
        return known

    def _keep_known(self) -> None:
        self._history.keep_note(_MINE, encode(sorted(self._known)))
