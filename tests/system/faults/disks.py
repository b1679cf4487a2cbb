"""Disks that can be filled while a bridge runs."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from tests.writing import writing_process

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
    """A limit of the process that writes: no file of it grows beyond (``RLIMIT_FSIZE``)."""

    def fill(self, pid: int) -> None:
        """Set the limit."""
        self._set(writing_process(pid), _LEFT_BYTES)

    def empty(self, pid: int) -> None:
        """Lift the limit."""
        self._set(writing_process(pid), resource.RLIM_INFINITY)

    def _set(self, pid: int | None, size: int) -> None:
        assert pid is not None
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))


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


class Freezable:
    """A file system that can be frozen: whatever writes to it waits, and cannot even be killed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Freeze it for the length of the block."""
        subprocess.run(["fsfreeze", "--freeze", str(self.directory)], check=True)
        try:
            yield
        finally:
            subprocess.run(["fsfreeze", "--unfreeze", str(self.directory)], check=True)


@contextmanager
def freezable(directory: Path) -> Iterator[Freezable]:
    """Mount a file system from a file; raises CalledProcessError and OSError."""
    directory.mkdir(exist_ok=True)
    image = directory.with_name(f"{directory.name}.img")
    with image.open("wb") as file:
        file.truncate(_DISK_BYTES)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True, capture_output=True)
    mount = ["mount", "-o", "loop", str(image), str(directory)]
    subprocess.run(mount, check=True, capture_output=True)
    try:
        yield Freezable(directory)
    finally:
        unmount(directory)
        image.unlink()


def can_freeze(directory: Path) -> bool:
    """Return whether this process may mount a file, and freeze what it has mounted."""
    with suppress(OSError, subprocess.CalledProcessError):
        with freezable(directory) as disk, disk.frozen():
            pass
        return True
    return False


def can_mount(directory: Path) -> bool:
    """Return whether this process may mount."""
    with suppress(OSError, subprocess.CalledProcessError), mounted(directory):
        return True
    return False
