"""Asking a port of this machine what listens there."""

from __future__ import annotations

import socket

from bridge.dev.home import LOOPBACK

EPMD_NAMES = b"\x00\x01n"  # NAMES_REQ of the Erlang distribution protocol
AMQP_HEADER = b"AMQP\x00\x00\x09\x01"  # AMQP 0-9-1, section 4.2.2


def first_answer(port: int, hello: bytes) -> bytes:
    """Return the first bytes that a server answers, or nothing while there is no server."""
    try:
        with socket.create_connection((LOOPBACK, port), 5.0) as connection:
            connection.sendall(hello)
            return connection.recv(4096)
    except OSError:
        return b""


def server_property(greeting: bytes, name: str) -> str:
    """Return a long string of the server-properties table of a Connection.Start frame."""
    rest = greeting.partition(bytes([len(name)]) + name.encode() + b"S")[2]
    return rest[4 : 4 + int.from_bytes(rest[:4])].decode()
