"""Disks that can be filled while a bridge runs."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

_DISK_BYTES = 32 * 1024 * 1024
_LEFT_BYTES = 512 * 1024


class Disk(Protocol):
    """Has room until it is filled."""

    def fill(self, pid: int) -> None:
        """Leave a process next to no room."""
        ...

    def empty(self, pid: int) -> None:
        """Give it room again."""
        ...


class Tmpfs:
    """A file system of its own: the real thing."""

    def __init__(self, directory: Path) -> None:
        self._filler = directory / "filler"

    def fill(self, pid: int) -> None:
        """Allocate all blocks but a few."""
        self.leave(_LEFT_BYTES)

    def leave(self, free: int) -> None:
        """Allocate all blocks but so many bytes."""
        disk = os.statvfs(self._filler.parent)
        with self._filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, disk.f_bavail * disk.f_frsize - free)

    def empty(self, pid: int) -> None:
        """Remove the filler."""
        self._filler.unlink()


class FileSizeLimit:
    """A limit of the process: no file of it grows beyond (``RLIMIT_FSIZE``), also not the WAL."""

    def fill(self, pid: int) -> None:
        """Set the limit."""
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (_LEFT_BYTES, hard))

    def empty(self, pid: int) -> None:
        """Lift the limit."""
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))


@contextmanager
def mounted(directory: Path) -> Iterator[Path]:
    """Mount a small file system for the length of the block; raises CalledProcessError."""
    directory.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "none", str(directory)]
    subprocess.run(mount, check=True, capture_output=True)
    try:
        yield directory
    finally:
        if directory.is_mount():
            unmount(directory)


def unmount(directory: Path) -> None:
    """Take a file system away; who has files open there keeps them, and nobody finds them."""
    subprocess.run(["umount", "--lazy", str(directory)], check=True)


def can_mount(directory: Path) -> bool:
    """Return whether this process may mount."""
    with suppress(OSError, subprocess.CalledProcessError), mounted(directory):
        return True
    return False
