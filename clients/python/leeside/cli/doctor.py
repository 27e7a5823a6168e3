"""`leeside doctor`: is this device fit for a shift? Every finding says what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import typer

from leeside.api import ApiError
from leeside.cli.exits import CommandError, Exit, ending_of
from leeside.cli.invocation import Invocation, SignedIn, invocation, wait
from leeside.cli.names import all_channels
from leeside.cli.registry import fetch_directory
from leeside.cli.screen import moment
from leeside.errors import LeesideError
from leeside_protocol.ids import DeviceId
from leeside_protocol.sealing.errors import SealingError

CLOCK_WARN_MS: Final = 60_000
CLOCK_FAIL_MS: Final = 600_000
EXPIRY_WARN_MS: Final = 14 * 86_400_000

Grade = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    grade: Grade
    text: str


def register(app: typer.Typer) -> None:
    """Add the command to the root."""
    app.command("doctor")(doctor)


def doctor(context: typer.Context) -> None:
    """Check this profile: keys, server, clock, certificate, directory. Exit code 1 when something fails."""
    run = invocation(context)
    findings = wait(_examine(run))
    marks = {"ok": "ok", "warn": "WARN", "fail": "FAIL"}
    run.screen.table(
        f"Profile {run.profile.name}",
        ("", "what", "finding"),
        [(marks[f.grade], f.what, f.text) for f in findings],
        [{"what": f.what, "grade": f.grade, "text": f.text} for f in findings],
    )
    if any(f.grade == "fail" for f in findings):
        raise CommandError("Something is not as it has to be: see above.", Exit.FAILED, "doctor")


async def _examine(run: Invocation) -> list[Finding]:
    findings: list[Finding] = []
    try:
        settings = run.settings()
        findings.append(Finding("profile", "ok", f"server {settings.server}"))
        async with run.open_api(settings) as api:
            info = await api.server()
            findings.append(
                Finding("server", "ok", f"version {info.version}, store generation {info.generation}")
            )
            findings.append(_clock(info.server_ms - run.now_ms()))
        async with run.signed_in() as desk:
            findings.append(Finding("keystore", "ok", f"opens; by {settings.unlock}"))
            findings += await _signed_in(run, desk)
    except (LeesideError, SealingError, OSError) as error:
        ending = ending_of(error)
        assert ending is not None
        findings.append(Finding(ending.code or "profile", "fail", ending.sentence))
    return findings


def _clock(ahead_ms: int) -> Finding:
    off_s = abs(ahead_ms) / 1000
    if abs(ahead_ms) >= CLOCK_FAIL_MS:
        return Finding(
            "clock",
            "fail",
            f"{off_s:.0f} s off the server's: what this device signs is refused. Set the clock.",
        )
    if abs(ahead_ms) >= CLOCK_WARN_MS:
        return Finding("clock", "warn", f"{off_s:.0f} s off the server's. Set the clock.")
    return Finding("clock", "ok", f"{off_s:.1f} s off the server's")


async def _signed_in(run: Invocation, desk: SignedIn) -> list[Finding]:
    now_ms = run.now_ms()
    agency = await desk.api.agency()
    findings = [Finding("sign-in", "ok", f"agency {agency.label}")]
    if agency.root_pub != desk.identity.root_pub:
        findings.append(
            Finding("root", "fail", "The server names another root than the one pinned here. Talk by voice.")
        )
    directory = await fetch_directory(desk.api, desk.identity.root_pub, run.profile.directory_log)
    findings.append(Finding("directory", "ok", f"{directory.seq} entries verified"))
    certificate = directory.device(DeviceId(desk.identity.device))
    if certificate is None:
        findings.append(
            Finding(
                "certificate",
                "fail",
                "This device is not certified. Show its short code to an administrator.",
            )
        )
    elif certificate.revoked_seq is not None:
        findings.append(Finding("certificate", "fail", "This device was revoked. Enrol another one."))
    elif not certificate.valid_at(now_ms):
        findings.append(
            Finding("certificate", "fail", f"It ended {moment(certificate.not_after_ms)}. Enrol anew.")
        )
    else:
        near = certificate.not_after_ms - now_ms < EXPIRY_WARN_MS
        text = f"{certificate.role} until {moment(certificate.not_after_ms)}"
        findings.append(
            Finding("certificate", "warn" if near else "ok", text + (": enrol anew soon" if near else ""))
        )
    if desk.keys.rotation_due(now_ms):
        findings.append(
            Finding("device key", "warn", "Over a day old; the next live command publishes a new one.")
        )
    else:
        findings.append(Finding("device key", "ok", "renewed within a day"))
    mine = [d for d in directory.devices_of(desk.member) if d.revoked_seq is None]
    findings.append(
        Finding(
            "my devices",
            "ok" if len(mine) <= 1 else "warn",
            f"{len(mine)} certified under this name: are all yours?",
        )
    )
    try:
        findings.append(Finding("channels", "ok", str(len(await all_channels(desk)))))
    except ApiError as error:
        findings.append(Finding("channels", "warn", error.detail or error.code.label))
    return findings
