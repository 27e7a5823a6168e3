"""Checks of the machine that the server runs on: disk, clock, limits, certificates, secrets.

The first promise is that what was acknowledged survives a power cut. It stands on the disk telling the truth
about `fdatasync`, which no program can prove; but a sync that takes less than `HONEST_SYNC_US` was not one on any
disk made so far, and is told as a warning: a virtual machine or a drive without power-loss protection may be
answering from memory.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from cryptography import x509

from leeside_server import places
from leeside_server.config import Config
from leeside_server.errors import ConfigInvalid
from leeside_server.findings import Finding, Verdict

SYNCS: Final = 50
SYNC_BYTES: Final = 4_096
HONEST_SYNC_US: Final = 50.0
SLOW_SYNC_US: Final = 20_000.0
FREE_LEAST_BYTES: Final = 1024**3
CERTIFICATE_DAYS: Final = 14
DESCRIPTORS_BESIDE: Final = 256
"""File descriptors for everything but sockets: database, attachments, log."""
BUILT_S: Final = 1_767_225_600
"""2026-01-01: a clock before that is certainly wrong."""
MEMORY_FILE_SYSTEMS: Final = frozenset({"tmpfs", "ramfs"})
REMOTE_FILE_SYSTEMS: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "glusterfs", "ceph"}
)


def examine_machine(config: Config) -> Sequence[Finding]:
    """Every check of this machine, in order. Blocks for some syncs."""
    folder = existing(config.server.data_dir)
    return (
        disk_sync(measure_sync_us(folder)) if os.access(folder, os.W_OK) else unwritable(folder),
        file_system(kind_of_file_system(folder)),
        free_disk(shutil.disk_usage(folder).free),
        open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[1], config.limits.max_connections),
        wall_clock(time.time()),
        tls(config, time.time()),
        secrets_kept(config),
    )


def existing(path: Path) -> Path:
    """The folder itself, or the nearest one above it that is there: where it would be made."""
    return next((folder for folder in (path, *path.parents) if folder.is_dir()), Path("/"))


def unwritable(folder: Path) -> Finding:
    """The data folder cannot be written, so nothing can be measured."""
    return Finding(
        "disk_sync",
        Verdict.BAD,
        f"The data folder {folder} cannot be written by this user.",
        "Run doctor as the user that the server runs as, or give it the folder.",
    )


def measure_sync_us(folder: Path, count: int = SYNCS) -> Sequence[float]:
    """How long each of some writes took to be on the disk, in microseconds, in a file that is gone afterwards."""
    block = os.urandom(SYNC_BYTES)
    sync = disk_sync_call()
    taken_us: list[float] = []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(count):
            file.write(block)
            began_ns = time.perf_counter_ns()
            sync(file.fileno())
            taken_us.append((time.perf_counter_ns() - began_ns) / 1_000)
    return taken_us


def disk_sync_call() -> Callable[[int], object]:
    """What makes a write durable here. On macOS fsync leaves data in the drive, F_FULLFSYNC does not."""
    if sys.platform == "darwin":
        import fcntl

        return lambda handle: fcntl.fcntl(handle, fcntl.F_FULLFSYNC)
    return os.fdatasync


def disk_sync(taken_us: Sequence[float]) -> Finding:
    """Whether syncs take as long as a disk needs."""
    median_us = round(statistics.median(taken_us), 1)
    if median_us < HONEST_SYNC_US:
        return Finding(
            "disk_sync",
            Verdict.WARNING,
            f"A sync takes {median_us:.0f} µs, faster than a disk can be: something answers before the data is safe. "
            "What was acknowledged may be lost at a power cut.",
            "Use a disk with power-loss protection, and a virtual machine whose disk cache is not `unsafe`.",
            median_us,
            "µs",
        )
    if median_us > SLOW_SYNC_US:
        return Finding(
            "disk_sync",
            Verdict.WARNING,
            f"A sync takes {median_us / 1_000:.0f} ms: every acknowledgement waits for one or two.",
            "Use an SSD with power-loss protection for the data folder.",
            median_us,
            "µs",
        )
    return Finding("disk_sync", Verdict.WELL, f"A sync takes {median_us:.0f} µs.", "", median_us, "µs")


def kind_of_file_system(folder: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """The file system that holds the folder; empty where the system does not say."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    best, kind = -1, ""
    for line in lines:
        words = line.split(" ")
        if len(words) < 3:
            continue
        mount = words[1].replace("\\040", " ")
        if len(mount) >= best and folder.resolve().is_relative_to(mount):
            best, kind = len(mount), words[2]
    return kind


def file_system(kind: str) -> Finding:
    """Whether the data folder lies on something that lasts."""
    if kind in MEMORY_FILE_SYSTEMS:
        return Finding(
            "file_system",
            Verdict.BAD,
            f"The data folder lies in memory ({kind}): a restart of the machine loses everything.",
            "Set [server] data_dir to a folder on a disk.",
        )
    if kind in REMOTE_FILE_SYSTEMS:
        return Finding(
            "file_system",
            Verdict.BAD,
            f"The data folder lies on another machine ({kind}): SQLite's locks and syncs do not hold there.",
            'Set [server] data_dir to a local disk, or [store] kind = "postgres".',
        )
    return Finding("file_system", Verdict.WELL, f"The data folder lies on {kind or 'a local file system'}.")


def free_disk(free_bytes: int) -> Finding:
    """Whether there is room."""
    free_gib = round(free_bytes / 1024**3, 1)
    if free_bytes < FREE_LEAST_BYTES:
        return Finding(
            "free_disk",
            Verdict.BAD,
            f"The data folder's disk has {free_gib} GiB left: publishing stops when it is full.",
            "Make room, or set [retention]; reading goes on meanwhile.",
            free_gib,
            "GiB",
        )
    return Finding("free_disk", Verdict.WELL, f"{free_gib} GiB are free.", "", free_gib, "GiB")


def open_files(limit: int, connections: int) -> Finding:
    """Whether this process may open as many sockets as it is set to take."""
    wanted = connections + DESCRIPTORS_BESIDE
    if limit != resource.RLIM_INFINITY and limit < wanted:
        return Finding(
            "open_files",
            Verdict.WARNING,
            f"This process may open {limit} files, and {connections} connections need {wanted}.",
            f"Raise it (LimitNOFILE={wanted} in the systemd unit, or ulimit -n {wanted}), or lower "
            "[limits] max_connections.",
            float(limit),
            "files",
        )
    return Finding("open_files", Verdict.WELL, f"{connections} connections fit into the limit of open files.")


def raise_open_files() -> None:
    """Let this process open as many files as it may (the hard limit); a server is not bound by a shell's habits."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS reports no hard limit and takes none.
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def wall_clock(now_s: float) -> Finding:
    """Whether the clock can be right, and whether something keeps it right."""
    if now_s < BUILT_S:
        return Finding(
            "clock",
            Verdict.BAD,
            "The clock is years behind: certificates and sign-ins will be refused.",
            "Set the clock, and run a time service (chrony or systemd-timesyncd).",
        )
    kept = any(
        Path(path).exists() for path in ("/run/systemd/timesync/synchronized", "/run/chrony/chronyd.pid")
    )
    if sys.platform == "linux" and not kept:
        return Finding(
            "clock",
            Verdict.WARNING,
            "No time service was found that keeps the clock right. In a container the host's counts, which cannot be seen.",
            "Run chrony or systemd-timesyncd on the machine itself.",
        )
    return Finding("clock", Verdict.WELL, "The clock is kept by a time service.")


def tls(config: Config, now_s: float) -> Finding:
    """Whether strangers on the way can read along: the certificate, or who has it instead."""
    if config.server.tls_cert is None:
        if config.server.loopback:
            return Finding("tls", Verdict.WELL, "No TLS, and only this machine can connect.")
        proxies = ", ".join(config.server.trusted_proxies)
        return Finding(
            "tls",
            Verdict.WARNING,
            f"No TLS here: the proxy ({proxies}) must have it, and nobody else may reach port {config.server.port}.",
            "Let a firewall admit only the proxy.",
        )
    try:
        places.tls_context(config)
    except ConfigInvalid as error:
        return Finding("tls", Verdict.BAD, error.problems[0].wrong, error.problems[0].fix)
    certificate = x509.load_pem_x509_certificates(config.server.tls_cert.read_bytes())[0]
    days = round((certificate.not_valid_after_utc.timestamp() - now_s) / 86_400, 1)
    fix = "Renew it and start the server again."
    if days < 0:
        return Finding(
            "tls", Verdict.BAD, "The certificate has expired: no client connects.", fix, days, "days"
        )
    if days < CERTIFICATE_DAYS:
        return Finding(
            "tls", Verdict.WARNING, f"The certificate expires in {days:.0f} days.", fix, days, "days"
        )
    return Finding("tls", Verdict.WELL, f"The certificate is valid for {days:.0f} days.", "", days, "days")


def secrets_kept(config: Config) -> Finding:
    """Whether other users of the machine can read keys, addresses with passwords, or the data folder."""
    others = [str(path) for path in places.open_to_others(config)]
    if others:
        return Finding(
            "secrets",
            Verdict.WARNING,
            f"Other users of this machine may read {', '.join(others)}.",
            f"chmod o-rwx {' '.join(others)}",
        )
    return Finding("secrets", Verdict.WELL, "Secrets and data are closed to other users of this machine.")
