"""A container without an engine: own process ids and mounts, a read-only root, no privileges."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_ENTER = """
root=$1 spool=$2
shift 2
mount --make-rprivate /
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount --bind "$spool" "$root/var/lib/bridge"
exec chroot "$root" "$@"
"""


class Container:
    """Runs commands of an image the way its configuration says, with one writable volume."""

    def __init__(self, root: Path, spool: Path, config: Mapping[str, Any]) -> None:
        self._root, self._spool, self._config = root, spool, config

    def start(self, command: Sequence[str], **variables: str) -> subprocess.Popen[str]:
        """Start a command as process 1 of its own name space; it ends when that ends."""
        user, _, group = self._config["User"].partition(":")
        environment = [*self._config["Env"], *(f"{k}={v}" for k, v in variables.items())]
        return subprocess.Popen(
            [
                "unshare", "--mount", "--pid", "--fork", "--kill-child",
                "sh", "-euc", _ENTER, "enter", f"{self._root}", f"{self._spool}",
                "setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups",
                "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all",
                "env", "-i", f"--chdir={self._config['WorkingDir']}", *environment, *command,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )  # fmt: skip

    def run(self, command: Sequence[str], **variables: str) -> tuple[int, str]:
        """Run a command to its end and return exit code and output."""
        with self.start(command, **variables) as process:
            output = process.communicate(timeout=30)[0]
            return process.returncode, output


def process_one(process: subprocess.Popen[str]) -> int:
    """Return the id that process 1 of a container has on this machine."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    [pid] = children
    return int(pid)
