"""Shown names: sealed in the agency's channel, kept here as far as this device has opened them.

The live commands (`chat`, `watch`, `status`, `member add --name`) receive names and keep them in the keystore; every
command then shows and takes names as well as ids.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

import msgspec

from leeside.api import every
from leeside.bodies import NAME_CHARS
from leeside.cli.exits import CommandError, Exit
from leeside.cli.invocation import SignedIn
from leeside.cli.registry import Choice, all_devices, all_members, choose
from leeside.cli.screen import clean, short
from leeside.lockbox import Keystore
from leeside_protocol import resources as r
from leeside_protocol.words import ChannelPurpose, Compartment

RECORD: Final = "names"
LOOKED_AT: Final = "names/looked-at"
"""The agency's channel and its head when all its names were fetched last."""
_DIGITS: Final = re.compile(r"[0-9a-fA-F]{4,32}")
_PAGE: Final = 500
SHOWN_S: Final = 3.0
"""How long a command waits for names that it shows: it can show ids."""
SOUGHT_S: Final = 15.0
"""How long for one that it was given: without it the command can do nothing."""


class Names:
    """Ids to shown names; an id without a name is shown by its first digits."""

    def __init__(self, names: Mapping[bytes, str]) -> None:
        self._names = dict(names)

    @classmethod
    def of(cls, keystore: Keystore) -> Names:
        data = keystore.get(RECORD)
        if data is None:
            return cls({})
        try:
            return cls(msgspec.msgpack.decode(data, type=dict[bytes, str]))
        except msgspec.MsgspecError:
            # A copy of what the agency's channel holds: it comes back with the next live command.
            return cls({})

    def keep(self, keystore: Keystore, more: Mapping[bytes, str]) -> None:
        """Take newer names over and remember them; an empty name forgets."""
        merged = {owner: name for owner, name in {**self._names, **more}.items() if name}
        if merged != self._names:
            self._names = merged
            keystore.put(RECORD, msgspec.msgpack.encode(merged))

    def get(self, owner: bytes | str) -> str:
        """The name, or an empty text."""
        return self._names.get(bytes.fromhex(owner) if isinstance(owner, str) else owner, "")

    def show(self, owner: bytes | str) -> str:
        """The name, or the first digits of the id."""
        return self.get(owner) or short(owner)

    def choices(self, ids: Iterable[str], past: Collection[str] = ()) -> list[Choice]:
        """What a person can name of these; those of `past` have ended."""
        return [
            Choice(bytes.fromhex(i), self.get(i), "ended" if i in past else "", past=i in past) for i in ids
        ]


def given_name(text: str) -> str:
    """A shown name as a person gave it, or `CommandError`: one line, which everyone can type again.

    What else comes from the agency's channel, from another client say, is shown through `clean`.
    """
    name = unicodedata.normalize("NFC", " ".join(text.split()))
    if not 0 < len(name) <= NAME_CHARS or clean(name) != name:
        raise CommandError(
            f"A name has 1 to {NAME_CHARS} characters, and none that is invisible.", Exit.USAGE, "name"
        )
    return name


async def _named(desk: SignedIn, what: str, text: str, choices: Callable[[Names], list[Choice]]) -> str:
    """The id of what a person means; a name that nothing living has here is looked for in the agency's channel once."""
    try:
        chosen = choose(what, text, choices(Names.of(desk.keystore)))
        if not chosen.past or _DIGITS.fullmatch(text):
            return chosen.id.hex()
    except CommandError as error:
        if error.exit_code is not Exit.NOT_FOUND or _DIGITS.fullmatch(text):
            raise
    whole = await desk.learn(desk, SOUGHT_S)
    try:
        return choose(what, text, choices(Names.of(desk.keystore))).id.hex()
    except CommandError as error:
        if whole or error.exit_code is not Exit.NOT_FOUND:
            raise
    raise names_late(text)


def names_late(text: str) -> CommandError:
    """What to say when a name was not found, and not all names are here."""
    return CommandError(
        f"What is called {text} is not known yet: the agency's names have not all come. Try again, or give its id.",
        Exit.TRY_AGAIN,
        "names_late",
    )


async def names_for(desk: SignedIn, owners: Iterable[str | None]) -> Names:
    """Shown names, with those of `owners`: where one is missing and the agency's channel holds something that was not
    looked at yet, it is fetched. Whoever has no name there keeps their digits."""
    names = Names.of(desk.keystore)
    if all(names.get(owner) for owner in owners if owner):
        return names
    agency = next(
        (c for c in await all_channels(desk) if c.purpose is ChannelPurpose.AGENCY and not c.archived), None
    )
    if agency is not None:
        looked_at = f"{agency.id} {agency.head}".encode()
        if desk.keystore.get(LOOKED_AT) != looked_at and await desk.learn(desk, SHOWN_S):
            desk.keystore.put(LOOKED_AT, looked_at)
    return Names.of(desk.keystore)


async def find_member(desk: SignedIn, text: str) -> r.Member:
    """The member that a person means."""
    members = await all_members(desk.api)
    ended = {m.id for m in members if m.ended_ms}
    chosen = await _named(desk, "member", text, lambda names: names.choices((m.id for m in members), ended))
    return next(m for m in members if m.id == chosen)


async def find_device(desk: SignedIn, text: str, *, waiting: bool = False) -> r.DeviceInfo:
    """The device that a person means: its id, its digits, or its label.

    Many devices are called "phone". With `waiting` a label means the one that waits for approval; else a revoked one is never passed over
    for another: the next command may revoke it.
    """
    devices = await all_devices(desk.api)
    names = Names.of(desk.keystore)
    labels = [
        Choice(
            bytes.fromhex(d.id),
            d.label,
            f"of {names.show(d.member)} ({d.state})",
            past=waiting and d.state != "pending",
        )
        for d in devices
    ]
    chosen = choose("device", text, labels)
    return next(d for d in devices if d.id == chosen.id.hex())


async def all_units(desk: SignedIn) -> list[r.Unit]:
    return await every(lambda after: desk.api.units(after, _PAGE))


async def all_incidents(desk: SignedIn) -> list[r.Incident]:
    return await every(lambda after: desk.api.incidents(after, _PAGE))


async def all_channels(desk: SignedIn) -> list[r.ChannelInfo]:
    return await every(lambda after: desk.api.channels(after, _PAGE))


async def find_unit(desk: SignedIn, text: str) -> r.Unit:
    """The unit that a person means."""
    units = await all_units(desk)
    ended = {u.id for u in units if u.ended_ms}
    chosen = await _named(desk, "unit", text, lambda names: names.choices((u.id for u in units), ended))
    return next(u for u in units if u.id == chosen)


async def find_incident(desk: SignedIn, text: str) -> r.Incident:
    """The incident that a person means, by its id."""
    incidents = await all_incidents(desk)
    chosen = choose("incident", text, [Choice(bytes.fromhex(i.id)) for i in incidents])
    return next(i for i in incidents if i.id == chosen.id.hex())


async def find_channel(desk: SignedIn, text: str) -> r.ChannelInfo:
    """The channel that a person means: its id, the name of its unit, or `agency`, `desk`, `on_call` where that is one."""
    channels = await all_channels(desk)

    def choices(names: Names) -> list[Choice]:
        return [
            Choice(
                bytes.fromhex(c.id), channel_name(c, names), "archived" if c.archived else "", past=c.archived
            )
            for c in channels
        ]

    chosen = await _named(desk, "channel", text, choices)
    return next(c for c in channels if c.id == chosen)


def channel_name(channel: r.ChannelInfo, names: Names) -> str:
    """What a channel is called on the line: a unit's name, its purpose, or `incident 1a2b3c clinical`."""
    if channel.purpose is ChannelPurpose.UNIT and channel.subject is not None:
        return names.show(channel.subject)
    if channel.subject is not None:
        return f"{channel.purpose.value} {channel.subject[:6]} {channel.compartment.name.lower()}"
    return channel.purpose.value


def compartments_of(mask: int) -> str:
    """A certificate's compartments in words."""
    return ", ".join(c.name.lower() for c in Compartment if mask >> c & 1) or "no compartment"
