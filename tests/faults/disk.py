"""Disks that can be filled, and cut off from power: file-system images mounted by a loop device.

What a power cut leaves is what the device was given: the image file, and nothing of the page cache of the file system
on it. So a copy of the image file is the disk after a cut, and mounting the copy replays its journal as booting would.
The copy must be of one moment: the writers are frozen, and the copy is taken again if the device was written to
meanwhile (the kernel writes back on its own). What a drive's own volatile cache would lose besides is not modelled:
what was sent to the device counts as kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.faults.outcome import Impossible

MB: Final = 1024 * 1024
COPY_ATTEMPTS: Final = 20
PROGRAMS: Final = ("losetup", "mkfs.ext4", "mount", "umount", "sync", "cp")
FIX: Final = (
    "This fault mounts file-system images by loop devices, which needs root and a kernel that permits it.\n"
    "Fix: run it as root (sudo ./dev faults NAME), with the packages util-linux and e2fsprogs installed; in a container "
    "give it --privileged (or CAP_SYS_ADMIN and /dev/loop-control)."
)


def run_tool(*command: str) -> str:
    """Run a program; what it printed. Raises `Impossible` with its reason: all of them are set-up."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    except FileNotFoundError:
        raise Impossible(f"{command[0]} is missing.\n{FIX}") from None
    if done.returncode:
        raise Impossible(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}\n{FIX}")
    return done.stdout.strip()


def require_loop_mounts() -> None:
    """Raises `Impossible` with the exact fix where images cannot be mounted."""
    if os.geteuid() != 0:
        raise Impossible(f"Not root.\n{FIX}")
    for program in PROGRAMS:
        if shutil.which(program) is None:
            raise Impossible(f"{program} is missing.\n{FIX}")
    if not Path("/dev/loop-control").exists():
        raise Impossible(f"/dev/loop-control is missing.\n{FIX}")


@dataclass(frozen=True, slots=True)
class Disk:
    """A mounted image."""

    image: Path
    device: str
    mount: Path

    def free_bytes(self) -> int:
        found = os.statvfs(self.mount)
        return found.f_bavail * found.f_frsize

    def sync(self) -> None:
        """Write everything to the device, as before a run begins."""
        run_tool("sync", "-f", str(self.mount))

    def copy(self, target: Path) -> int:
        """Copy the image as it is on the device; how many attempts it took until nothing was written meanwhile.

        Freeze the writers first. Raises `Impossible` when the device never comes to rest.
        """
        for attempt in range(1, COPY_ATTEMPTS + 1):
            before = self._writes()
            # Plain reads of the image see all that the device was given, also what its own file system has not synced.
            run_tool("cp", "--sparse=always", str(self.image), str(target))
            if before == self._writes() and before[1] == 0:
                return attempt
        raise Impossible("The device was written to during every copy: too much else writes to it.")

    def _writes(self) -> tuple[int, int]:
        """Writes that the device has completed, and requests in flight."""
        words = Path(f"/sys/block/{Path(self.device).name}/stat").read_text().split()
        return int(words[4]), int(words[8])


@asynccontextmanager
async def new_disk(folder: Path, name: str, size_bytes: int) -> AsyncGenerator[Disk]:
    """A new, empty ext4 of that size, mounted; all of it is gone afterwards."""
    image = folder / f"{name}.img"
    with image.open("wb") as file:
        file.truncate(size_bytes)
    # Nothing is left to initialise later: that would write to the device behind our back.
    run_tool("mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(image))
    async with mounted(folder, image) as disk:
        yield disk
    image.unlink()


@asynccontextmanager
async def mounted(folder: Path, image: Path) -> AsyncGenerator[Disk]:
    """Mount an image that exists; its journal is replayed as at a boot."""
    require_loop_mounts()
    place = folder / f"{image.stem}.mount"
    place.mkdir()
    device = run_tool("losetup", "--find", "--show", "--direct-io=on", str(image))
    try:
        run_tool("mount", "-t", "ext4", device, str(place))
        try:
            yield Disk(image, device, place)
        finally:
            await _unmount(place)
    finally:
        run_tool("losetup", "--detach", device)
        place.rmdir()


async def _unmount(place: Path) -> None:
    """Unmount; processes that were killed a moment ago may still hold files."""
    for _ in range(200):
        with contextlib.suppress(Impossible):
            run_tool("umount", str(place))
            return
        await asyncio.sleep(0.05)
    run_tool("umount", "--lazy", str(place))
