"""The Dockerfile, built by buildah on a base of Debian's packages, in a storage of its own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.project.docs.documents import ROOT
from tests.registries import CERTIFICATES, write_pip_configuration

BASE = "docker.io/library/python:3.13-slim"
"""The name under which the Dockerfile expects its base; here it is Debian's own Python 3.13."""

IMAGE = "localhost/superoffice-bridge:check"
SUITE = "trixie"


class Buildah:
    """Buildah with everything it writes below one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._policy = directory / "policy.json"
        self._policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')

    def make_base(self) -> None:
        """Bootstrap Debian with Python as the official image has it: pip, headers, named python."""
        self._run("from", "--name", "base", "scratch")
        root = Path(self._run("mount", "base"))
        packages = "--include=python3,python3-dev,python3-pip"
        self._execute(["debootstrap", "--variant=minbase", packages, SUITE, f"{root}"])
        (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
        for waste in ("var/cache/apt", "var/lib/apt/lists"):
            self._execute(["find", f"{root / waste}", "-type", "f", "-delete"])
        self._run("umount", "base")
        self._run(
            "commit", "--quiet", "--rm", "--signature-policy", f"{self._policy}", "base", BASE
        )

    def build(self) -> None:
        """Build the Dockerfile; pip reaches its index as it does on this machine."""
        pip = self._directory / "pip.conf"  # mounted, so that it stays in no layer
        write_pip_configuration(pip)
        mounts = [f"--volume={pip}:/etc/pip.conf:ro"]
        if CERTIFICATES.exists():
            mounts.append(f"--volume={CERTIFICATES}:{CERTIFICATES}:ro")
        self._run(
            "build", "--isolation=chroot", "--pull-never", "--format=docker",
            f"--signature-policy={self._policy}", f"--build-arg=BASE={BASE}", *mounts,
            f"--tag={IMAGE}", f"{ROOT}",
        )  # fmt: skip

    def mount(self) -> Path:
        """Return the root file system of a container of the image."""
        self._run(
            "from", "--name=check", "--pull-never", f"--signature-policy={self._policy}", IMAGE
        )
        return Path(self._run("mount", "check"))

    def config(self) -> dict[str, Any]:
        """Return what the image says about how to run it."""
        found: dict[str, Any] = json.loads(self._run("inspect", "--type=image", IMAGE))
        config: dict[str, Any] = found["Docker"]["config"]
        return config

    def size(self, name: str) -> int:
        """Return the bytes of an image's layers."""
        found = json.loads(self._run("images", "--json", name))
        return _bytes(found[0]["size"])

    def clean(self) -> None:
        """Unmount and remove everything."""
        self._run("rm", "--all")
        self._run("rmi", "--all", "--force")

    def _run(self, *args: str) -> str:
        # vfs works everywhere, also where this machine is a container itself.
        where = [f"--root={self._directory}/storage", f"--runroot={self._directory}/run"]
        return self._execute(["buildah", "--storage-driver=vfs", *where, *args]).strip()

    def _execute(self, command: list[str]) -> str:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            output = "\n".join(f"{done.stdout}\n{done.stderr}".splitlines()[-20:])
            raise SystemExit(f"{' '.join(command[:3])} ... failed:\n{output}")
        return done.stdout


def _bytes(text: str) -> int:
    number, unit = text.split()
    return round(float(number) * {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}[unit])
