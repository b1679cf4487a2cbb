"""Debian's next release below one directory: its files stay, its mounts and processes never do."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.project.docs.documents import ROOT
from tests.registries import CERTIFICATES, write_pip_configuration

SUITE = "trixie"
BARE = "python3,make,ca-certificates"
"""What the README asks a machine for."""

PROJECT = "srv/bridge"
KEPT = (".venv", "var")
"""What stays of the last run: the environment, and the log of its installation."""

_APART = (
    "setpriv", "--pdeathsig=KILL",
    "unshare", "--mount", "--pid", "--fork", "--kill-child",
)  # fmt: skip
"""Process ids and mounts of its own: they end with it, and it ends with this process."""

_ENTER = """
root=$1 pip=$2 certificates=$3
shift 3
mount --make-rprivate /
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
for file in /etc/hosts /etc/resolv.conf; do
    mount --bind "$file" "$root$file"
done
mount --bind "$pip" "$root/etc/pip.conf"
[ ! -e "$certificates" ] || mount --bind "$certificates" "$root$certificates"
status=0
chroot "$root" "$@" || status=$?  # not exec: process 1 stays here, to collect orphans
exit $status
"""


class Failed(SystemExit):
    """Something could not be done: its reason, and what to do about it."""


class Folder:
    """A root file system with Debian, and this working tree in it."""

    def __init__(self, path: Path) -> None:
        """Take the directory, which need not exist."""
        self._root = path
        self._pip = path.with_suffix(".pip.conf")

    @property
    def is_made(self) -> bool:
        """Tell whether Debian is in it."""
        return self._root.is_dir()

    def make(self) -> None:
        """Bootstrap Debian: all of it, or nothing."""
        new = self._root.with_suffix(".new")
        shutil.rmtree(new, ignore_errors=True)
        done = subprocess.run(
            [
                *_APART, "--mount-proc",  # debootstrap mounts too, and may be killed
                "debootstrap", "--variant=minbase", f"--include={BARE}", SUITE, f"{new}",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )  # fmt: skip
        if done.returncode:
            raise Failed(
                "\n".join(done.stdout.splitlines()[-10:])
                + "\ndebootstrap failed, for the reason above. It needs root with the right to"
                " mount, and a mirror of Debian (by a proxy, if http_proxy names one)."
            )
        (new / "etc/pip.conf").touch()
        new.rename(self._root)

    def copy_project(self) -> None:
        """Put this working tree into it, as it is now, without what git ignores."""
        project, new = self._root / PROJECT, self._root / f"{PROJECT}.new"
        shutil.rmtree(new, ignore_errors=True)
        for name in _working_tree():
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, new / name, follow_symlinks=False)
        for name in KEPT:
            if (project / name).exists():
                (project / name).rename(new / name)
        shutil.rmtree(project, ignore_errors=True)
        new.rename(project)

    def run(self, command: Sequence[str], **environ: str) -> int:
        """Run a command in the project's directory and return its exit status."""
        write_pip_configuration(self._pip)
        tmp = self._root / "tmp"
        shutil.rmtree(tmp, ignore_errors=True)  # it is missing after a kill between these lines
        tmp.mkdir(exist_ok=True)
        tmp.chmod(0o1777)
        inside = ["env", "-i", f"--chdir=/{PROJECT}", *_environment(**environ), *command]
        places = (self._root, self._pip, CERTIFICATES)
        process = subprocess.Popen(
            [*_APART, "sh", "-euc", _ENTER, "enter", *map(str, places), *inside]
        )
        try:
            return process.wait()
        finally:
            process.kill()
            process.wait()

    def versions(self, *packages: str) -> dict[str, str]:
        """Return the versions of packages that are installed in it."""
        query = ["dpkg-query", f"--root={self._root}", "--show", "--showformat=${Version}"]
        return {name: subprocess.check_output([*query, name], text=True) for name in packages}


def _working_tree() -> Iterator[str]:
    """Yield the names of the files that git knows or would take, and that are there."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"{done.stderr}This runs in a clone of the repository.")
    names = done.stdout.rstrip("\0").split("\0")
    return (name for name in names if os.path.lexists(ROOT / name))


def _environment(**environ: str) -> list[str]:
    proxies = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
    fixed = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
    return [f"{name}={value}" for name, value in {**fixed, **proxies, **environ}.items()]
