"""The least AMQP that a benchmark needs: a handshake, then the bare socket.

Consumer and publisher of the benchmark must cost the two cores as little as possible, so once a
channel is open they read and write frames themselves.
"""

from __future__ import annotations

import socket
from typing import Any
from urllib.parse import urlsplit

from pamqp import commands, frame
from pamqp.header import ProtocolHeader

EXCHANGE = "superoffice"
CHANNEL = 1


class RawChannel:
    """One open channel on a blocking socket of its own."""

    def __init__(self, url: str) -> None:
        where = urlsplit(url)
        assert where.hostname is not None  # noqa: S101  # it is the node's URL
        self.socket = socket.create_connection((where.hostname, where.port or 5672), 10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        self._open(f"\0{where.username}\0{where.password}")

    def call(self, request: Any, *, channel: int = CHANNEL) -> Any:
        """Send a method and return the next one that is received."""
        self.socket.sendall(frame.marshal(request, channel))
        return self._next()

    def close(self) -> None:
        """Hang up."""
        self.socket.close()

    def _open(self, credentials: str) -> None:
        self.socket.sendall(ProtocolHeader().marshal())
        self._next()
        tune = self.call(commands.Connection.StartOk({}, "PLAIN", credentials), channel=0)
        agreed = commands.Connection.TuneOk(tune.channel_max, tune.frame_max, 0)
        self.socket.sendall(frame.marshal(agreed, 0))
        self.call(commands.Connection.Open("/"), channel=0)
        self.call(commands.Channel.Open())

    def _next(self) -> Any:
        while True:
            try:
                size, _, found = frame.unmarshal(self._received)
            except Exception:
                size = 0
            if size:
                self._received = self._received[size:]
                return found
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError("RabbitMQ hung up")
            self._received += data


def declare(channel: RawChannel, queue: str) -> None:
    """Declare the exchange as the bridge does, and an empty durable classic queue for all of it."""
    channel.call(commands.Exchange.Declare(0, EXCHANGE, "topic", durable=True))
    channel.call(commands.Queue.Declare(0, queue, durable=True))
    channel.call(commands.Queue.Bind(0, queue, EXCHANGE, "#"))
    channel.call(commands.Queue.Purge(0, queue))
