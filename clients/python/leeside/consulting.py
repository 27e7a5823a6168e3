"""What a client does about consults without being asked: it learns of them, rings, and keeps their channels in order.

Theory of operation. Notices of the inbox only say which consult changed; it is fetched, told as `ConsultChange`, and while it
rings for this device's person `Ring` is told every few seconds, until they answer. Whose turn it is says the server; who
reads, and who is given what, is decided here, by what members signed:

- who accepted takes the others of the ladder out of the channel, and so signs that they came;
- where the search goes on later, members let those back in whom the requester had chosen at the start, and nobody else;
- a member of the incident's channel lets whoever came into it, with its earlier context, when the signed request names
  their role (`grant_to`) and they signed that they came. Nothing is granted on the server's word.

Several clients may do the same at once: each waits by its rank, and finds it done.

Notes written: `consult <channel>`: what its first message asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from leeside.api import Api, ApiError, every
from leeside.bodies import ConsultAsked
from leeside.channels import Channel
from leeside.connection import Connection, Uniform, asked_s, backoff_s
from leeside.errors import LeesideError
from leeside.events import ConsultAlarm, ConsultChange, Event, Ring
from leeside.history import History, Row
from leeside.home import Home
from leeside.link import Clock
from leeside_protocol import messages as m
from leeside_protocol import oncall as o
from leeside_protocol import resources as r
from leeside_protocol.errors import WireError
from leeside_protocol.ids import ChannelId, ConsultId, DeviceId
from leeside_protocol.sealing.public.entries import DURABLE
from leeside_protocol.words import ChannelPurpose, Compartment, ConsultState, Role

RING_S: Final = 5.0
JITTER_MS: Final = 300
KNOWN: Final = 500
"""Consults that are remembered; a device that is told of more forgets those that are over."""
COMING: Final = frozenset({ConsultState.ACCEPTED, ConsultState.IN_SESSION})
SEARCHING: Final = frozenset({ConsultState.PAGING, ConsultState.EXHAUSTED})
OVER: Final = frozenset({ConsultState.ENDED, ConsultState.CANCELLED})
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


@dataclass(slots=True)
class _Ringing:
    page: str
    next_s: float
    times: int = 0


class Consulting:
    """Every consult that concerns this device's person. `run` it in the client's task group."""

    def __init__(self, house: ConsultHouse) -> None:
        self._house = house
        self._known: dict[ConsultId, o.Consult] = {}
        self._ringing: dict[ConsultId, _Ringing] = {}
        self._changed: set[ConsultId] = set()
        self._all = False
        self._wake = asyncio.Event()
        self._rung = asyncio.Event()
        self._busy: set[ConsultId] = set()
        self._teams: dict[str, frozenset[str]] = {}
        """Members by unit. Nobody is taken out of a channel before their unit is known."""
        self._group: asyncio.TaskGroup | None = None
        self.fresh: Final = asyncio.Event()
        """Set once the list of consults is as the server had it after the last connection."""

    @property
    def known(self) -> Mapping[ConsultId, o.Consult]:
        """Consults that go on, as last heard."""
        return self._known

    # ---- news

    def online(self) -> None:
        """There is a link: what was missed is fetched."""
        self._all = True
        self.fresh.clear()
        self._wake.set()

    def take_notices(self, entries: Iterable[m.Entry]) -> bool:
        """Notices of the inbox; one about a consult calls for fetching it. Whether there was one about something else."""
        others = False
        for entry in entries:
            match _decoded(entry.payload):
                case [7, bytes(), bytes(consult), *_] | [8, bytes(consult), *_]:
                    self.look_at(ConsultId(consult))
                case [9, bytes(consult), *_]:
                    self._house.tell(ConsultAlarm(ConsultId(consult)))
                    self.look_at(ConsultId(consult))
                case _:
                    others = True
        return others

    def look_at(self, consult: ConsultId) -> None:
        """Fetch one anew."""
        self._changed.add(consult)
        self._wake.set()

    def tend_all(self) -> None:
        """Channels or their members changed: something may be left to do for a consult."""
        for consult in tuple(self._known.values()):
            self._begin_tending(consult)

    def asked(self, channel: Channel, row: Row, content: ConsultAsked) -> None:
        """The first message of a consult's channel: only what its maker said first counts."""
        genesis = channel.sealed.line.commits.get(0)
        note = _note(channel.id)
        if genesis is not None and genesis.committer == row.device and self._house.history.note(note) is None:
            self._house.history.keep_note(note, msgspec.msgpack.encode(content))

    def took(self, consult: o.Consult) -> o.Consult:
        """What an action of this device answered: nobody waits for the notice."""
        self._take(consult)
        return consult

    def in_order(self, consult: o.Consult) -> bool:
        """Whether nobody reads along any more whom the accepted consult does not need, by this device's own commit."""
        channel = self._channel(consult.channel)
        if channel is None or not channel.member or (consult.unit and consult.unit not in self._teams):
            return False
        return all(self._stays(consult, d) for d in channel.roster) and _signed(channel, self._house.device)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                group.create_task(self._ring_forever())
                await self._fetch_forever()
            finally:
                self._group = None

    async def _fetch_forever(self) -> None:
        attempt = 0
        while True:
            await self._wake.wait()
            self._wake.clear()
            if not self._house.connection.online:
                continue
            try:
                await self._fetch()
                attempt = 0
            except ApiError as error:
                if not error.code.may_retry:
                    # Whoever may not list consults has none.
                    self._all = False
                    self._changed.clear()
                    continue
                await asyncio.sleep(max(asked_s(error.retry_ms), backoff_s(attempt, self._house.uniform)))
                attempt += 1
                self._wake.set()

    async def _fetch(self) -> None:
        api = self._house.api
        if self._all:
            found: list[o.Consult] = await every(lambda after: api.consults("active", after))
            listed = {_id(consult) for consult in found}
            self._changed |= self._known.keys() - listed
            for consult in found:
                self._take(consult)
            self._all = False
            self.fresh.set()
        for key in tuple(self._changed):
            try:
                self._take(await api.consult(key))
            except ApiError as error:
                if error.code is not WireError.NOT_FOUND:
                    raise
                self._forget(key)
            self._changed.discard(key)

    def _take(self, consult: o.Consult) -> None:
        key = _id(consult)
        known = self._known.get(key)
        if known is not None and known.revision > consult.revision:
            return
        if consult.state in OVER:
            self._forget(key)
        else:
            self._known[key] = consult
            self._ring(key, consult)
        if known is None or known.revision != consult.revision:
            self._house.tell(ConsultChange(consult))
        self._begin_tending(consult)

    def _forget(self, key: ConsultId) -> None:
        self._known.pop(key, None)
        self._ringing.pop(key, None)

    # ---- ringing

    def _ring(self, key: ConsultId, consult: o.Consult) -> None:
        page = consult.me.page if consult.me.ringing else None
        if page is None:
            self._ringing.pop(key, None)
        elif key not in self._ringing or self._ringing[key].page != page:
            self._ringing[key] = _Ringing(page, self._house.clock.monotonic_s())
            self._rung.set()

    async def _ring_forever(self) -> None:
        while True:
            now_s = self._house.clock.monotonic_s()
            for key, ringing in self._ringing.items():
                if ringing.next_s <= now_s:
                    ringing.times += 1
                    ringing.next_s = now_s + RING_S
                    self._house.tell(Ring(self._known[key], ringing.times))
            soonest_s = min((ringing.next_s for ringing in self._ringing.values()), default=None)
            self._rung.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(None if soonest_s is None else max(0.0, soonest_s - now_s)):
                    await self._rung.wait()

    # ---- channels in order

    def _begin_tending(self, consult: o.Consult) -> None:
        key = _id(consult)
        if self._group is not None and key not in self._busy and consult.state not in OVER:
            self._busy.add(key)
            self._group.create_task(self._tend(key))

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

    async def _put_in_order(self, key: ConsultId, consult: o.Consult, channel: Channel) -> None:
        if consult.unit is not None:
            unit = await self._house.api.unit(consult.unit)
            self._teams[consult.unit] = frozenset(unit.members)
        if consult.state in COMING and consult.accepted_device == self._house.device.hex():
            await self._take_over(consult, channel)
        elif consult.state in COMING:
            await self._give_context(key, consult, channel)
        elif consult.state in SEARCHING and self._stays(consult, self._house.device):
            await self._let_back_in(key, channel)

    async def _take_over(self, consult: o.Consult, channel: Channel) -> None:
        """This device's person accepted: those whom the ladder would have asked leave, and keep what they were paged with."""
        gone = frozenset(d for d in channel.roster if not self._stays(consult, d))
        if gone:
            await channel.remove(gone)
        elif not _signed(channel, self._house.device):
            # Nobody has to leave: that they came is signed all the same.
            await channel.rekey()

    def _stays(self, consult: o.Consult, device: DeviceId) -> bool:
        """Who is in the consult's channel whoever accepts: the requester, their unit, the desk, who accepted, and guests."""
        certificate = self._house.home.directories.certificate(device)
        if certificate is None:
            return True
        member = certificate.member_id.hex()
        if certificate.role in DESK or member in (consult.member, consult.accepted_by):
            return True
        return consult.unit is not None and member in self._teams.get(consult.unit, ())

    async def _let_back_in(self, key: ConsultId, channel: Channel) -> None:
        """The search goes on: the channel gets back whom its requester chose for it."""
        genesis = channel.sealed.line.commits.get(0)
        if genesis is None:
            return
        missing = self._missing(channel, [entry.device_id for entry in genesis.roster])
        if not missing:
            return
        await self._wait_in_rank(channel)
        now = self._known.get(key)
        if now is not None and now.state in SEARCHING:
            await channel.admit(self._missing(channel, sorted(missing)))

    def _missing(self, channel: Channel, wanted: list[DeviceId]) -> frozenset[DeviceId]:
        """Those who are not in the channel and may be: certified, neither revoked nor expired."""
        directories, now_ms = self._house.home.directories, self._house.home.now_ms()
        found: set[DeviceId] = set()
        for device in wanted:
            certificate = directories.certificate(device)
            live = (
                certificate is not None and certificate.revoked_seq is None and certificate.valid_at(now_ms)
            )
            if live and device not in channel.roster:
                found.add(device)
        return frozenset(found)

    # ---- context

    async def _give_context(self, key: ConsultId, consult: o.Consult, channel: Channel) -> None:
        """Let whoever came into the incident's channel, with what was said there before, if the request wants that."""
        device = _device(consult.accepted_device)
        operations = self._operations(consult)
        if device is None or operations is None or not self._is_wanted(channel, device):
            return
        if device in operations.roster:
            return
        await self._wait_in_rank(operations)
        now = self._known.get(key)
        if now is None or now.accepted_device != consult.accepted_device or device in operations.roster:
            return
        if await operations.admit((device,)):
            await operations.grant(device, operations.sealed.epochs_held(DURABLE))

    def _is_wanted(self, channel: Channel, device: DeviceId) -> bool:
        """Whether the signed request gives the context to this device's role, and the device signed that it came."""
        note = self._house.history.note(_note(channel.id))
        certificate = self._house.home.directories.certificate(device)
        if note is None or certificate is None or device not in channel.roster:
            return False
        wanted = msgspec.msgpack.decode(note, type=ConsultAsked).grant_to
        return certificate.role in {role.value for role in wanted} and _signed(channel, device)

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


def _signed(channel: Channel, device: DeviceId) -> bool:
    """Whether a device committed in this channel after its beginning."""
    return any(commit.committer == device for epoch, commit in channel.sealed.line.commits.items() if epoch)


def _device(text: str | None) -> DeviceId | None:
    return None if text is None else DeviceId(bytes.fromhex(text))


def _id(consult: o.Consult) -> ConsultId:
    return ConsultId(bytes.fromhex(consult.id))


def _note(channel: ChannelId) -> str:
    return f"consult {channel.hex()}"


def _decoded(payload: bytes) -> list[int | bytes]:
    try:
        return msgspec.msgpack.decode(payload, type=list[int | bytes])
    except msgspec.MsgspecError:
        return []
