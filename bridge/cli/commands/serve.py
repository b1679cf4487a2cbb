"""``bridge serve``: the service itself."""

from __future__ import annotations

from bridge.cli import serving
from bridge.cli.context import ConfigOption


def serve(config: ConfigOption = None) -> None:
    """Run the service until INT or TERM.

    HUP, or a change of the files that the configuration was read from, makes it read them again:
    secrets, contexts, log level and certificate change without a restart. It logs to standard
    output, whether or not anybody reads it, and starts whether or not RabbitMQ is there. When told
    to stop, it takes no new requests and finishes those it has.
    """
    serving.serve(config)
