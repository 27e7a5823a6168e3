"""Who can read a consult as it goes on: the order that clients keep in its channel, and the context that they give (spec 08).

Theory of operation. Whose turn it is says the server; who reads, and who is given what, is decided here, by what members signed:

- who accepted takes the others of the ladder out of the channel, and so signs that they came;
- where somebody else is asked later, members let them in: devices that the signed directory has as theirs;
- a member of the incident's channel lets whoever came into it, with its earlier context, when the signed request names
  their role (`grant_to`) and they signed something as who came. It is not given on the server's word.

Each rule looks at the consult and at the signed roster, does what is missing, and finds nothing to do the next time. Several
clients may do the same at once: each waits by its rank, and finds it done.

Notes written: `consult <channel>`: what its first message asked for. `took over <consult>`: the acceptance (8 bytes, its time)
after which this device took the others out. `context <consult>`: this device let somebody in and owes them the context.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, Protocol

import msgspec

from leeside.api import Api, ApiError, every
from leeside.bodies import ConsultAsked
from leeside.channels import Channel
from leeside.connection import Connection, Uniform
from leeside.errors import LeesideError
from leeside.events import Event
from leeside.history import History, Row, Verdict
from leeside.home import Home
from leeside.link import Clock
from leeside_protocol import messages as m
from leeside_protocol import oncall as o
from leeside_protocol import resources as r
from leeside_protocol.ids import ChannelId, ConsultId, DeviceId
from leeside_protocol.limits import ROSTER_DEVICES
from leeside_protocol.sealing.public.directory import Certificate
from leeside_protocol.sealing.public.entries import DURABLE
from leeside_protocol.words import ChannelPurpose, Compartment, ConsultState, Role, TargetState

JITTER_MS: Final = 300
NEWEST: Final = 100
"""Messages that are looked through for one of who came."""
COMING: Final = frozenset({ConsultState.ACCEPTED, ConsultState.IN_SESSION})
SEARCHING: Final = frozenset({ConsultState.PAGING, ConsultState.EXHAUSTED})
OVER: Final = frozenset({ConsultState.ENDED, ConsultState.CANCELLED})
SEATED: Final = frozenset(
    {Role.RESPONDER.value, Role.DISPATCHER.value, Role.PSYCHIATRIST.value, Role.SUPERVISOR.value}
)
DESK: Final = frozenset({Role.DISPATCHER.value, Role.SUPERVISOR.value})


class ConsultHouse(Protocol):
    """What of the client's inside this module needs."""

    @property
    def api(self) -> Api: ...
    @property
    def home(self) -> Home: ...
    @property
    def history(self) -> History: ...
    @property
    def connection(self) -> Connection: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def uniform(self) -> Uniform: ...
    @property
    def device(self) -> DeviceId: ...
    @property
    def infos(self) -> Mapping[ChannelId, r.ChannelInfo]: ...

    def channels(self) -> tuple[Channel, ...]: ...
    async def who(self, channel: ChannelId) -> m.Online: ...
    def tell(self, event: Event) -> None: ...


class Tending:
    """The channels of every known consult. `run` it in a task group; `look` begins work there."""

    def __init__(self, house: ConsultHouse, known: Mapping[ConsultId, o.Consult]) -> None:
        self._house = house
        self._known = known
        self._looking: set[ConsultId] = set()
        self._wake = asyncio.Event()
        self._busy: set[ConsultId] = set()
        self._teams: dict[ConsultId, frozenset[str]] = {}
        """Who asked, and their unit. Nobody is taken out of a channel before it is known."""

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                await self._wake.wait()
                self._wake.clear()
                for key in self._looking - self._busy:
                    self._looking.discard(key)
                    self._busy.add(key)
                    group.create_task(self._tend(key))

    def look(self, key: ConsultId) -> None:
        """Something about a consult may have changed."""
        self._looking.add(key)
        self._wake.set()

    def look_at_all(self) -> None:
        """Channels, their members or the directory changed."""
        for key in self._known:
            self.look(key)

    def forget(self, key: ConsultId) -> None:
        """It is over."""
        self._looking.discard(key)
        self._teams.pop(key, None)

    def asked(self, channel: Channel, row: Row, content: ConsultAsked) -> None:
        """The first message of a consult's channel: only what its maker said first counts."""
        genesis = channel.sealed.line.commits.get(0)
        note = _note(channel.id)
        if genesis is not None and genesis.committer == row.device and self._house.history.note(note) is None:
            self._house.history.keep_note(note, msgspec.msgpack.encode(content))

    def in_order(self, consult: o.Consult) -> bool:
        """Whether this device, which accepted, has taken those out who are not needed."""
        note = self._house.history.note(_took_over(consult))
        return note == consult.accepted_ms.to_bytes(8, "big")

    async def _tend(self, key: ConsultId) -> None:
        try:
            consult = self._known.get(key)
            channel = None if consult is None else self._channel(consult.channel)
            if consult is not None and channel is not None and channel.member:
                await self._put_in_order(key, consult, channel)
        except (LeesideError, ApiError):
            # The server is away, or another client was faster: the next change looks again.
            return
        finally:
            self._busy.discard(key)
            # It may have changed meanwhile.
            self._wake.set()

    async def _put_in_order(self, key: ConsultId, consult: o.Consult, channel: Channel) -> None:
        mine = consult.state in COMING and consult.accepted_device == self._house.device.hex()
        if mine and not self.in_order(consult):
            self._teams[key] = await self._team(consult)
            await self._take_over(key, consult, channel)
        elif not mine and self._missing(key, channel):
            self._teams[key] = await self._team(consult)
            if self._stays(key, consult, self._house.device):
                await self._let_in(key, channel)
        if consult.state in COMING and consult.accepted_by != self._house.home.directories.member.hex():
            await self._give_context(key, consult, channel)

    async def _team(self, consult: o.Consult) -> frozenset[str]:
        """Who asked, and whoever is in the unit that asked; without one, in any unit with them."""
        units: list[r.Unit] = await every(self._house.api.units)
        asking = [
            u for u in units if u.id == consult.unit or (not consult.unit and consult.member in u.members)
        ]
        return frozenset({consult.member}.union(*(unit.members for unit in asking)))

    async def _take_over(self, key: ConsultId, consult: o.Consult, channel: Channel) -> None:
        """This device's person accepted: those whom the ladder would have asked leave, and keep what they were paged with.
        Once an acceptance: whoever a person lets in afterwards stays."""
        gone = frozenset(d for d in channel.roster if not self._stays(key, consult, d))
        if gone:
            await channel.remove(gone)
        elif not _signed(channel, self._house.device):
            # Nobody has to leave: that they came is signed all the same.
            await channel.rekey()
        self._house.history.keep_note(_took_over(consult), consult.accepted_ms.to_bytes(8, "big"))

    def _stays(self, key: ConsultId, consult: o.Consult, device: DeviceId) -> bool:
        """Who is in the consult's channel whoever accepts: the requester, their unit, the desk, who accepted, and guests."""
        certificate = self._house.home.directories.certificate(device)
        if certificate is None or certificate.role in DESK:
            return True
        member = certificate.member_id.hex()
        return member == consult.accepted_by or member in self._teams[key]

    async def _let_in(self, key: ConsultId, channel: Channel) -> None:
        """Whoever is asked now, or came with a device that is newer than the request, reads too: what it is about, and what
        is said from now on."""
        await self._wait_in_rank(channel)
        missing = self._missing(key, channel)
        if not missing or not await channel.admit(missing):
            return
        genesis = channel.sealed.line.commits.get(0)
        chosen = frozenset[bytes]() if genesis is None else {entry.device_id for entry in genesis.roster}
        if 0 in channel.sealed.epochs_held(DURABLE):
            for device in sorted(missing - chosen):
                await channel.grant(device, (0,))

    def _missing(self, key: ConsultId, channel: Channel) -> frozenset[DeviceId]:
        """Devices that should be in the channel and may be: of who comes, else of all who are asked."""
        consult = self._known.get(key)
        if consult is None:
            return frozenset()
        needed = {consult.accepted_by} if consult.state in COMING else set[str | None]()
        if consult.state in SEARCHING:
            needed = {t.member for t in consult.targets if t.state is not TargetState.DECLINED}
        directories, now_ms = self._house.home.directories, self._house.home.now_ms()
        missing = [
            certificate.device_id
            for certificate in directories.own.devices()
            if certificate.member_id.hex() in needed
            and may_read(certificate, now_ms)
            and certificate.device_id not in channel.roster
        ]
        room = ROSTER_DEVICES - len(channel.roster) - len(directories.own.records_keys())
        return frozenset(missing[: max(0, room)])

    # ---- context

    async def _give_context(self, key: ConsultId, consult: o.Consult, channel: Channel) -> None:
        """Let whoever came into the incident's channel, with what was said there before, if the request wants that."""
        device = _device(consult.accepted_device)
        operations = self._operations(consult)
        if device is None or operations is None or not self._is_wanted(consult, channel, device):
            return
        note, history = f"context {consult.id}", self._house.history
        if history.note(note) != device:
            if device in operations.roster:
                return
            await self._wait_in_rank(operations)
            now = self._known.get(key)
            if now is None or now.accepted_device != consult.accepted_device or device in operations.roster:
                return
            # Whoever lets them in gives it too, also after a crash in between.
            history.keep_note(note, device)
        await operations.admit((device,))
        await operations.grant(device, operations.sealed.epochs_held(DURABLE))
        history.keep_note(note, b"")

    def _is_wanted(self, consult: o.Consult, channel: Channel, device: DeviceId) -> bool:
        """Whether the signed request gives the context to this device's role, and the device signed something since."""
        note = self._house.history.note(_note(channel.id))
        certificate = self._house.home.directories.certificate(device)
        if note is None or certificate is None or device not in channel.roster:
            return False
        asked = msgspec.msgpack.decode(note, type=ConsultAsked)
        named = asked.consult.hex() == consult.id and certificate.member_id.hex() == consult.accepted_by
        wanted = certificate.role in {role.value for role in asked.grant_to}
        return named and wanted and (_signed(channel, device) or self._wrote(channel, device))

    def _wrote(self, channel: Channel, device: DeviceId) -> bool:
        """Whether a message of a device was opened here."""
        rows = self._house.history.before(channel.content, 2**53 - 1, NEWEST)
        return any(row.device == device and row.verdict is Verdict.OPENED for row in rows)

    def _operations(self, consult: o.Consult) -> Channel | None:
        """The incident's operations channel, if this device is in it and it goes on."""
        for key, info in self._house.infos.items():
            fits = (info.purpose, info.compartment) == (ChannelPurpose.INCIDENT, Compartment.OPERATIONS)
            if fits and info.subject == consult.incident and not info.archived:
                channel = self._channel(key.hex())
                return channel if channel is not None and channel.member else None
        return None

    # ---- inside

    async def _wait_in_rank(self, channel: Channel) -> None:
        online: frozenset[DeviceId] = frozenset()
        with suppress(LeesideError):
            online = frozenset((await self._house.who(channel.id)).devices)
        jitter_ms = int(self._house.uniform(0.0, float(JITTER_MS)))
        await asyncio.sleep(channel.sealed.rekey_delay_ms(online, jitter_ms) / 1000)
        await channel.sync()

    def _channel(self, key: str) -> Channel | None:
        return next((channel for channel in self._house.channels() if channel.id.hex() == key), None)


def may_read(certificate: Certificate, now_ms: int) -> bool:
    """Whether a device may sit in a consult's channel now."""
    stands = certificate.revoked_seq is None and certificate.valid_at(now_ms)
    return (
        stands and certificate.role in SEATED and bool(certificate.compartments >> Compartment.OPERATIONS & 1)
    )


def _signed(channel: Channel, device: DeviceId) -> bool:
    """Whether a device committed in this channel after its beginning."""
    return any(commit.committer == device for epoch, commit in channel.sealed.line.commits.items() if epoch)


def _device(text: str | None) -> DeviceId | None:
    return None if text is None else DeviceId(bytes.fromhex(text))


def consult_id(consult: o.Consult) -> ConsultId:
    return ConsultId(bytes.fromhex(consult.id))


def _took_over(consult: o.Consult) -> str:
    return f"took over {consult.id}"


def _note(channel: ChannelId) -> str:
    return f"consult {channel.hex()}"
