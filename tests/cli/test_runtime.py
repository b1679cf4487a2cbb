"""How a command ends whose event loop does not, because of a thread."""

import signal
import subprocess
import sys

import pytest

_SCRIPT = """
import asyncio, sys, time
from bridge.cli.errors import Unavailable
from bridge.cli.runtime import run_until_stopped

async def main():
    asyncio.get_running_loop().run_in_executor(None, time.sleep, 30)
    print("up", flush=True)
    if sys.argv[1] == "fails":
        raise Unavailable("a port is taken")
    await asyncio.Event().wait()

run_until_stopped(main(), stopped=int(sys.argv[2]))
"""


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [("stops", 0, ""), ("stops", 1, ""), ("fails", 69, "error: a port is taken\n")],
)
def test_a_thread_that_hangs(how, code, said):
    """It ends all the same, with the exit code and the words that it would have without."""
    command = [sys.executable, "-c", _SCRIPT, how, f"{code}"]
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        if how == "stops":
            process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)

    assert (code, said) == (process.returncode, errors)
