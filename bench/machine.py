"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from pathlib import Path

from bench.lab import Lab
from bench.stats import percentile
from bridge.dev.rabbitmq import RabbitMQFailed

SYNCS = 300
_NONE = "not installed"


def facts(lab: Lab) -> dict[str, str]:
    """Return what to know about the machine, in the order to show it; libraries have lock files."""
    median, p99 = sync_times(lab.directory)
    return {
        "CPU": f"{_cpu_model()}, {os.cpu_count()} cores",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "fdatasync after 4 kB": f"median {median * 1e6:.0f} us, p99 {p99 * 1e6:.0f} us",
        "Python": _python(),
        "RabbitMQ": lab.node.version,
        "Erlang/OTP": _erlang(lab),
        "Node": _node(),
        "Go": _first_line(["go", "version"]).removeprefix("go version ") if _has("go") else _NONE,
        "Rust": _first_line(["rustc", "--version"]) if _has("rustc") else _NONE,
        "wrk": _first_line(["wrk", "-v"]).removeprefix("wrk ").partition(" ")[0],
    }


def sync_times(directory: Path) -> tuple[float, float]:
    """Return median and p99 of appending 4 kB and fdatasync, in seconds."""
    path = directory / "sync"
    taken = []
    with path.open("wb", buffering=0) as file:
        for _ in range(SYNCS):
            file.write(b"x" * 4096)
            begun = time.perf_counter()
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - begun)
    path.unlink()
    taken.sort()
    return percentile(taken, 50), percentile(taken, 99)


def node_version() -> int:
    """Return the major version of Node; 0 if it cannot be told."""
    major = _first_line(["node", "--version"]).removeprefix("v").partition(".")[0]
    return int(major) if major.isdigit() else 0


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _python() -> str:
    """Return version and build: one without profile-guided optimization is a fifth slower."""
    built = " ".join(platform.python_build()[1].split()[:3])
    return f"{platform.python_version()}, built {built} with {platform.python_compiler()}"


def _erlang(lab: Lab) -> str:
    try:
        return lab.node.ctl("eval", "erlang:system_info(otp_release).").strip().strip('"')
    except RabbitMQFailed:
        return "unknown"


def _node() -> str:
    return _first_line(["node", "--version"]) if _has("node") else _NONE


def _has(program: str) -> bool:
    return shutil.which(program) is not None


def _first_line(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).partition("\n")[0].strip()
