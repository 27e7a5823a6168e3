"""A channel of four on stage, and attempts at its next commit: what the cases of acceptance are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgpack

from leeside_protocol.ids import ChannelId, DeviceId
from leeside_protocol.sealing.opening.keys import DeviceKeys
from leeside_protocol.sealing.public.acceptance import ChannelLine, Receipt, verify_commit
from leeside_protocol.sealing.public.commit import (
    Commit,
    Head,
    RosterEntry,
    encode_commit,
)
from leeside_protocol.sealing.public.device_key import DeviceKeyBook
from leeside_protocol.sealing.public.directory import Directory
from leeside_protocol.sealing.public.entries import (
    CAP_ADMIT,
    CAP_SEND,
    MEDIA,
)
from leeside_protocol.sealing.public.signed import KIND_COMMIT, Signed
from tests.protocol.sealing.world import DAY_MS, NOW_MS, PERIODIC, World

MEDIA_ONLY = 1 << MEDIA


@dataclass(frozen=True)
class Attempt:
    """A commit, and what its verifier knows."""

    agencies: list[tuple[bytes, list[bytes]]]
    before: list[Signed]
    signed: Signed
    now_ms: int | None = None
    storing: bool = False
    device_keys: list[Signed] | None = None

    def run(self) -> Commit:
        directories = {
            d.agency_id: d for d in (Directory.replay(root, entries) for root, entries in self.agencies)
        }
        book = None
        if self.device_keys is not None:
            book = DeviceKeyBook()
            for key in self.device_keys:
                for directory in directories.values():
                    certificate = directory.device(DeviceId(key.signer))
                    if certificate is not None:
                        book.add(key, certificate)
        channel = self.before[0] if self.before else self.signed
        channel_id = ChannelId(msgpack.unpackb(channel.payload)[2]) if self.before else None
        line = ChannelLine(channel_id or _channel_of(self.signed))
        for signed in self.before:
            line.accept(signed, directories)
        held = dict(line.commits)
        commit = verify_commit(line, self.signed, directories, Receipt(self.now_ms, book, self.storing))
        assert line.commits == held
        return commit


def _channel_of(signed: Signed) -> ChannelId:
    try:
        return ChannelId(msgpack.unpackb(signed.payload)[2])
    except (ValueError, IndexError):
        return ChannelId(bytes(16))


@dataclass
class Stage:
    """A channel of four after its genesis, and a next commit that would be accepted."""

    world: World = field(default_factory=World)

    def __post_init__(self) -> None:
        w = self.world
        w.enrol("dispatcher", role="dispatcher")
        w.enrol("lead", caps=CAP_SEND | CAP_ADMIT)
        w.enrol("unit", caps=CAP_SEND)
        w.enrol("spare", caps=CAP_SEND, not_after_ms=NOW_MS + DAY_MS)
        w.enrol("outsider")
        w.add_records()
        self.genesis = w.genesis("dispatcher", "lead", "unit", "spare", records=True)
        self.channel = w.view("dispatcher", self.genesis)
        self.next = w.commit("dispatcher", self.channel, PERIODIC).commit

    def roster(self, *names: str) -> tuple[RosterEntry, ...]:
        entries = [e for n in names if (e := self.genesis.commit.entry(self.world.id(n))) is not None]
        return tuple(sorted(entries, key=lambda e: e.device_id))

    def sign(self, by: str, base: Commit | None = None, **changes: Any) -> Signed:
        """The base commit with these fields changed, signed by a device."""
        keys = self.world.keys[by]
        return resign(keys, base or self.next, **changes)

    def attempt(self, signed: Signed, **known: Any) -> Attempt:
        w = self.world
        agencies = known.pop("agencies", [(w.root.key.public, list(w.log))])
        before = known.pop("before", [self.genesis.commit.signed])
        return Attempt(agencies, before, signed, **known)

    def heads(self) -> tuple[Head, ...]:
        return (Head(self.world.agency, self.world.directory.seq, self.world.directory.head),)


FIELDS = [
    "suite", "channel_id", "epoch", "prev_hash", "committer", "ts_ms", "reason", "compartment", "incident_id",
    "nonce", "roster", "records", "heads", "commitments", "auth", "seen", "policy",
]  # fmt: skip


def resign(keys: DeviceKeys, base: Commit, **changes: Any) -> Signed:
    fields: dict[str, Any] = {name: getattr(base, name) for name in FIELDS}
    fields["committer"] = keys.device_id
    fields.update(changes)
    return keys.identity.sign(KIND_COMMIT, keys.device_id, encode_commit(**fields))


def raw(stage: Stage, change: Callable[[list[Any]], object]) -> Signed:
    """The next commit with its decoded fields changed in place, signed by the dispatcher."""
    values: list[Any] = msgpack.unpackb(stage.next.signed.payload)
    changed = change(values)
    payload = changed if isinstance(changed, bytes) else msgpack.packb(values)
    keys = stage.world.keys["dispatcher"]
    return keys.identity.sign(KIND_COMMIT, keys.device_id, payload)


def set_field(index: int, value: object) -> Callable[[list[Any]], object]:
    def change(values: list[Any]) -> object:
        values[index] = value
        return None

    return change


Make = Callable[[Stage], Attempt]
