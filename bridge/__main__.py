"""The command ``bridge``, which is also ``python -m bridge``."""

import os
import signal
import sys
from pathlib import Path


def main() -> None:
    """Run the command of ``sys.argv``.

    Loading it takes a while, and a long one where processors are scarce. A bridge that is told to
    stop meanwhile ends at once. It needs a handler for that: without one, the signal would kill it
    with an error, and as process 1 of a container it would not even receive the signal.
    """
    _open_closed_streams()
    if sys.argv[1:2] == ["serve"]:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _leave)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup leaves it
            signal.signal(signal.SIGHUP, _go_on)
    match sys.argv[1:]:  # what is imported here, and not earlier, is what takes the time
        case ["serve"]:
            from bridge.cli.quick import serve

            serve(None)
        case ["serve", "--config", path]:
            from bridge.cli.quick import serve

            serve(Path(path))
        case _:
            from bridge.cli.app import main as run

            run()


def _open_closed_streams() -> None:
    """Open what the shell closed (``>&-``) on nothing, else a socket would get its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115  # for as long as we run


def _go_on(*_: object) -> None:
    """Do nothing: the configuration will be read anyway, for the first time."""


def _leave(*_: object) -> None:
    """Exit with 0: nothing has been started yet that must be ended in order."""
    os._exit(0)


if __name__ == "__main__":
    main()
