"""``bridge serve`` the quick way, without typer: how a unit or an image starts it.

Whatever else may stand in the command line is left to ``bridge.cli.app``.
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path

from bridge.cli.lean import load_less


def serve(config: Path | None) -> None:
    """Run ``bridge serve`` to its end, and exit as the command does."""
    gc.disable()  # an import leaves no garbage worth looking for; serving turns it on again
    load_less()
    from bridge import log
    from bridge.cli import serving
    from bridge.cli.ending import ended_well, told
    from bridge.cli.errors import OutputClosed
    from bridge.core.errors import BridgeError

    with ended_well():
        log.configure(level="warning", format="console")  # until the configuration is read
        try:
            serving.serve(config)
        except (BridgeError, OutputClosed) as error:
            sys.exit(told(error))
        sys.exit(0)
