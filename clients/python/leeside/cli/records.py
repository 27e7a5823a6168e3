"""`leeside records`: the custodian opens what was kept. Every opening leaves a trace in two places.

On the server each page that a records officer reads is a security event. Here an entry is appended to the profile's
`openings.log` and synced *before* the first box is opened: one JSON object a line, each with the hash of the line
before, so that a line that was taken out or changed shows (`leeside records log`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final

import msgspec
import typer

from leeside.bodies import BodyError, read_content
from leeside.cli import holds
from leeside.cli.chain import fetch_chain
from leeside.cli.exits import CommandError, Exit
from leeside.cli.invocation import Invocation, SignedIn, invocation
from leeside.cli.keyfiles import open_records
from leeside.cli.names import Names, all_channels
from leeside.cli.registry import Choice, choose, fetch_directory
from leeside.cli.screen import Step, moment, plain, short
from leeside_protocol import resources as r
from leeside_protocol.ids import ChannelId, ChannelKind, address
from leeside_protocol.messages import Entry
from leeside_protocol.sealing.errors import SealingError
from leeside_protocol.sealing.opening.frames import FrameReceiver
from leeside_protocol.sealing.opening.records import RecordsPrivateKey, open_archive, open_records_box
from leeside_protocol.sealing.opening.schedule import ClassSecrets
from leeside_protocol.sealing.public.acceptance import ChannelLine
from leeside_protocol.sealing.public.archive import Archive, is_archive
from leeside_protocol.sealing.public.boxes import Box
from leeside_protocol.sealing.public.directory import Directory
from leeside_protocol.sealing.public.encoding import sha256
from leeside_protocol.sealing.public.seen import SeenLog
from leeside_protocol.words import Lane

app = typer.Typer(help="The records custodian: what is kept how long, and opening it.", no_args_is_help=True)
holds.register(app)

_FIRST: Final = "0" * 64


class Opening(msgspec.Struct, frozen=True):
    """One line of `openings.log`."""

    prev: str
    at_ms: int
    device: str
    records_key: str
    channel: str
    subject: str
    reason: str
    file: str


def read_openings(path: Path) -> Iterator[tuple[Opening, bool]]:
    """Each opening, and whether its line follows the one before unchanged."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return
    before = _FIRST
    for line in lines:
        try:
            opening = msgspec.json.decode(line, type=Opening)
        except msgspec.MsgspecError:
            raise CommandError(f"{path} was changed: a line is no opening.", Exit.ALARM, "openings") from None
        yield opening, opening.prev == before
        before = hashlib.sha256(line).hexdigest()


def append_opening(path: Path, opening: Opening) -> None:
    """Write one opening behind the last and wait for the disk. Nothing is opened before this returns."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "ab") as file:
        lines = path.read_bytes().splitlines()
        prev = hashlib.sha256(lines[-1]).hexdigest() if lines else _FIRST
        file.write(msgspec.json.encode(msgspec.structs.replace(opening, prev=prev)) + b"\n")
        file.flush()
        os.fsync(file.fileno())


@app.command("open")
def open_records_of(
    context: typer.Context,
    subject: Annotated[
        str, typer.Argument(metavar="INCIDENT|CHANNEL", help="An incident: all its channels.")
    ],
    key: Annotated[Path, typer.Option("--key", help="The records key's file.")],
    out: Annotated[Path, typer.Option("--out", help="Where to write the export, one JSON object a line.")],
    reason: Annotated[
        str, typer.Option(help="Why: an order's number, a request. Kept in the log of openings.")
    ],
) -> None:
    """Open an incident's or channel's kept messages with a records key, and export them. Every opening is logged."""
    run = invocation(context)
    if not reason.strip():
        raise CommandError("Say why: --reason.", Exit.USAGE)
    if out.exists():
        raise CommandError(f"{out} exists already. An export never replaces another.", Exit.CONFLICT)
    private = RecordsPrivateKey(open_records(run, key))

    async def work(desk: SignedIn) -> list[dict[str, Any]]:
        directory = await fetch_directory(desk.api, desk.identity.root_pub, run.profile.directory_log)
        if directory.records_key(private.records_id) is None:
            raise CommandError("This records key is not one of this agency.", Exit.FAILED, "E_RECORDS")
        channels = await _channels(desk, subject)
        await holds.refuse_shredded(desk, channels)
        done: list[dict[str, Any]] = []
        with exporting(out) as file:
            for info in channels:
                append_opening(
                    run.profile.openings,
                    Opening(
                        "",
                        run.now_ms(),
                        desk.device.hex(),
                        private.records_id.hex(),
                        info.id,
                        subject,
                        reason,
                        str(out),
                    ),
                )
                with run.screen.progress(f"channel {short(info.id)}") as step:
                    export = Export(desk, directory, private, info, Names.of(desk.keystore))
                    async for line in export.lines(step):
                        file.write(msgspec.json.encode(plain(line)) + b"\n")
                done.append(export.summary())
        return done

    done = run.run(work)
    rows = [(short(d["channel"]), str(d["opened"]), str(d["unreadable"]), str(d["pruned"])) for d in done]
    run.screen.table(f"Exported to {out}", ("channel", "opened", "unreadable", "pruned"), rows, done)


@contextmanager
def exporting(out: Path) -> Generator[BinaryIO]:
    """A new file that appears under its name once all of it is written and synced; of half an export nothing is left."""
    partial = out.with_name(out.name + ".partial")
    partial.unlink(missing_ok=True)
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.rename(out)
    except OSError as error:
        raise CommandError(
            f"Broken off: {error.strerror or 'the system refused'}. {out} was not made; the log of openings keeps what "
            "it has.",
            Exit.FAILED,
            "system",
        ) from None
    finally:
        partial.unlink(missing_ok=True)


async def _channels(desk: SignedIn, subject: str) -> list[r.ChannelInfo]:
    channels = await all_channels(desk)
    subjects = {c.subject for c in channels if c.subject is not None}
    choices = [Choice(bytes.fromhex(i)) for i in {c.id for c in channels} | subjects]
    chosen = choose("incident or channel", subject, choices).id.hex()
    return [c for c in channels if chosen in (c.id, c.subject)]


class Export:
    """One channel's kept messages, opened with a records key. What does not open is said, with its code."""

    def __init__(
        self, desk: SignedIn, directory: Directory, key: RecordsPrivateKey, info: r.ChannelInfo, names: Names
    ) -> None:
        self._desk = desk
        self._directory = directory
        self._directories = {directory.agency_id: directory}
        self._key = key
        self._info = info
        self._names = names
        self._channel = ChannelId(bytes.fromhex(info.id))
        self._seen = SeenLog()
        self.opened = self.unreadable = self.pruned = 0

    async def lines(self, step: Step) -> AsyncGenerator[dict[str, Any]]:
        """A header, then one object for each entry in the log's order, then what proves the order."""
        line = await fetch_chain(self._desk.api, self._channel, self._directory)
        secrets, missing = await self._secrets(line)
        archived = await self._archived(line) if len(secrets) <= line.epoch else {}
        from_archives = sorted(archived.keys() - secrets.keys())
        for epoch in from_archives:
            secrets[epoch] = archived[epoch]
            missing.pop(str(epoch), None)
        receiver = FrameReceiver(line, secrets)
        info = self._info
        yield {
            "kind": "channel",
            "channel": info.id,
            "purpose": info.purpose,
            "compartment": info.compartment.name.lower(),
            "subject": info.subject,
            "epochs": line.epoch + 1,
            "epochs_not_opened": missing,
            "epochs_from_archives": from_archives,
            "records_key": self._key.records_id,
        }
        log = address(ChannelKind.CONTENT, self._channel)
        at = 0
        while True:
            batch = await self._desk.api.log(log, at)
            for entry in batch.entries:
                yield self._entry(receiver, entry)
            if batch.to <= at:
                break
            at = batch.to
            step(at, max(at, info.head))
        yield {
            "kind": "end",
            "channel": info.id,
            "log_offset": self._seen.head.seq,
            "log_hash": self._seen.head.hash,
            **self.summary(),
        }

    def summary(self) -> dict[str, Any]:
        return {
            "channel": self._info.id,
            "opened": self.opened,
            "unreadable": self.unreadable,
            "pruned": self.pruned,
        }

    async def _secrets(self, line: ChannelLine) -> tuple[dict[int, ClassSecrets], dict[str, str]]:
        secrets: dict[int, ClassSecrets] = {}
        missing: dict[str, str] = {}
        at = 0
        while at <= line.epoch:
            page = await self._desk.api.boxes(self._channel, at, recipient=self._key.records_id)
            if not page:
                break
            for item in page:
                try:
                    if item.box is None:
                        missing[str(item.epoch)] = "no box" if item.box_hashes else "deleted by retention"
                        continue
                    box = Box(item.box.recipient, item.box.kid, item.box.suite, item.box.sealed)
                    opened = open_records_box(self._key, line.commits[item.epoch], box)
                    secrets[item.epoch] = dict(opened.classes)
                except (SealingError, KeyError) as error:
                    missing[str(item.epoch)] = (
                        error.code.value if isinstance(error, SealingError) else "E_UNKNOWN_EPOCH"
                    )
            at = page[-1].epoch + 1
        return secrets, missing

    async def _archived(self, line: ChannelLine) -> dict[int, ClassSecrets]:
        """What archives of the ended incident give, where boxes are gone. One that does not hold counts for nothing:
        another member's may."""
        found: dict[int, ClassSecrets] = {}
        log = address(ChannelKind.GRANTS, self._channel)
        at = 0
        while True:
            batch = await self._desk.api.log(log, at)
            for entry in batch.entries:
                if not is_archive(entry.payload):
                    continue
                try:
                    archive = Archive.decode(entry.payload)
                    found.update(
                        {
                            e: dict(s)
                            for e, s in open_archive(self._key, archive, line, self._directories).items()
                        }
                    )
                except SealingError:
                    continue
            if batch.to <= at:
                return found
            at = batch.to

    def _entry(self, receiver: FrameReceiver, entry: Entry) -> dict[str, Any]:
        frame_hash = entry.hash or sha256(entry.payload)
        if entry.lane is Lane.LOG:
            self._seen.append(entry.offset, frame_hash)
        line: dict[str, Any] = {
            "kind": "entry",
            "offset": entry.offset,
            "lane": entry.lane.name.lower(),
            "at_ms": entry.at_ms,
            "id": entry.id,
            "device": entry.device,
            "frame_sha256": frame_hash,
        }
        certificate = next((c for c in self._directory.devices() if c.device_id == entry.device), None)
        if certificate is not None:
            line |= {
                "member": certificate.member_id,
                "name": self._names.get(certificate.member_id),
                "role": certificate.role,
            }
        if not entry.payload:
            self.pruned += 1
            return line | {"pruned": True}
        try:
            body = receiver.open(entry.payload, self._directories, again=True).body
            content = read_content(body.type, body.data)
        except SealingError as error:
            self.unreadable += 1
            return line | {"unreadable": error.code.value}
        except BodyError as error:
            self.unreadable += 1
            return line | {"unreadable": error.code}
        self.opened += 1
        return line | {"type": body.type, "written_ms": body.ts_ms, "content": content}


@app.command("log")
def log(context: typer.Context) -> None:
    """What was opened from this machine, and whether the log is as it was written."""
    run: Invocation = invocation(context)
    openings = list(read_openings(run.profile.openings))
    rows = [
        (
            moment(o.at_ms),
            short(o.channel),
            short(o.records_key),
            o.reason,
            "as written" if whole else "CHANGED BEFORE THIS",
        )
        for o, whole in openings
    ]
    value = [{"opening": o, "whole": whole} for o, whole in openings]
    run.screen.table("Openings", ("at", "channel", "records key", "reason", "line"), rows, value)
    if not all(whole for _, whole in openings):
        raise CommandError("The log of openings was changed after it was written.", Exit.ALARM, "openings")
