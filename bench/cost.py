"""What a process tree has cost: CPU time and memory, from /proc."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(root: int) -> float:
    """Return user and system time of a process, its living descendants and its dead children."""
    return sum(_times(pid) for pid in tree(root)) / _TICK


def peak_rss_mib(root: int) -> float:
    """Return the sum of the peaks of resident memory, in MiB."""
    return round(sum(_peak(pid) for pid in tree(root)) / 1024, 1)


def tree(root: int) -> Iterator[int]:
    """Yield a process and all its descendants."""
    parents = {pid: _stat(pid)[1] for pid in _pids()}
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == str(pid)]
    yield from found


def _pids() -> Iterator[int]:
    yield from (int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit())


def _stat(pid: int) -> list[str]:
    """Return the fields of proc(5) stat from the third on; of a process that is gone, zeros."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ["0"] * 50


def _times(pid: int) -> int:
    return sum(int(each) for each in _stat(pid)[11:15])  # utime, stime, cutime, cstime


def _peak(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(found[0]) if found else 0
