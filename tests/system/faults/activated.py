"""A bridge on sockets that its parent keeps, as systemd does: they listen while no bridge runs."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

from tests.system.faults.process import PATIENCE, BridgeProcess, until

_LIKE_SYSTEMD = """
import fcntl, os, sys
passed = [fcntl.fcntl(int(each), fcntl.F_DUPFD, 10) for each in sys.argv[1:]]
for number, each in enumerate(passed, start=3):
    os.dup2(each, number)
    os.close(each)
os.environ["LISTEN_PID"] = f"{os.getpid()}"
os.execv(sys.executable, [sys.executable, "-W", "error", "-m", "bridge", "serve"])
"""
"""What stands in for systemd: sd_listen_fds(3) wants the sockets behind the standard streams, and
the number of the process that becomes the bridge."""

_BACKLOG = 4096


class ActivatedBridge(BridgeProcess):
    """A bridge that can be replaced by another one, on the same sockets and the same spool."""

    def __init__(self, directory: Path, broker_url: str, **environ: str) -> None:
        """Take what every bridge takes, and listen."""
        super().__init__(directory, broker_url, **environ)
        for held in self._held:
            held.listen(_BACKLOG)
        self._environ |= {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "public:admin"}

    def _command(self) -> list[str]:
        numbers = [f"{number}" for number in self._passed()]
        return [sys.executable, "-I", "-S", "-c", _LIKE_SYSTEMD, *numbers]

    def _passed(self) -> list[int]:
        return [held.fileno() for held in self._held]

    async def restart(self) -> None:
        """Stop it and start it again, as ``systemctl restart`` does."""
        assert 0 == await self.terminate()
        await self.start()

    async def hand_over(self) -> None:
        """Start another one, which waits for the spool, and stop this one."""
        old, reader = self._process, self._reader
        assert old is not None
        assert reader is not None
        waited = self.log.counts["spool_locked"]
        self._spawn()
        await until(lambda: self.log.counts["spool_locked"] > waited, what="the new one waits")
        old.send_signal(signal.SIGTERM)
        try:
            assert 0 == await asyncio.to_thread(old.wait, PATIENCE / 2), f"{self.log}"
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the old bridge does not end:\n{self.log}") from None
        await asyncio.to_thread(reader.join)
        await until(self.answers, what="the new bridge answers")
