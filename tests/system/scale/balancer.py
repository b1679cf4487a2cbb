"""HAProxy and nginx before bridges: the files of ``config/``, with addresses of this machine."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar, Protocol

from tests.authority import Pair
from tests.system.faults.process import ROOT, reserve_port, until

RECORD, PATH, ROUND_ROBIN = "by record", "by path", "round robin"
"""How requests are spread; the files as they are do the first, and have lines for the others."""


class Replica(Protocol):
    """What a balancer has to know of a bridge."""

    port: int
    admin_port: int


class Balancer(ABC):
    """A balancer; its configuration is the file that ships, but for addresses and certificate.

    It listens on ``port``: https with a certificate, else http, which is what senders here speak.
    """

    NAME: ClassVar[str]
    FILE: ClassVar[Path]
    SPREAD: ClassVar[Mapping[str, str]]
    """How the line begins that spreads in this way; all but the first are comments in the file."""

    CHECK: ClassVar[str]

    def __init__(
        self,
        directory: Path,
        replicas: Sequence[Replica],
        *,
        spread: str = RECORD,
        certificate: Pair | None = None,
    ) -> None:
        self._held: list[socket.socket] = []
        self.port = self._reserve()
        self._log = directory / "balancer.log"
        text = self._spreading(self.FILE.read_text(), spread)
        for old, new in self._changes(replicas, certificate):
            assert 1 == text.count(old), f"{self.FILE} has not one {old!r}"
            text = text.replace(old, new)
        self._command = self._prepare(directory, text)

    def check(self) -> None:
        """Let the program check its configuration; fail if it refuses."""
        done = subprocess.run([*self._command, self.CHECK], capture_output=True, check=False)
        assert 0 == done.returncode, done.stderr.decode()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run it for the length of the block."""
        process = self._spawn()
        try:
            await until(self._listens, what=f"{self._command[0]} listens")
            yield
        except BaseException:
            print(self._log.read_text()[-5000:])
            raise
        finally:
            process.terminate()
            process.wait()
            for held in self._held:
                held.close()

    def _reserve(self) -> int:
        self._held.append(reserve_port())
        return int(self._held[-1].getsockname()[1])

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self._log.open("wb") as log:
            return subprocess.Popen(self._command, stdout=log, stderr=subprocess.STDOUT)

    def _listens(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def _spreading(self, text: str, spread: str) -> str:
        if spread == RECORD:
            return text
        lines = text.splitlines(keepends=True)
        for index, line in enumerate(lines):
            code = line.lstrip()
            if code.startswith(self.SPREAD[RECORD]):
                lines[index] = f"#{line}"
            elif code.startswith(f"#{self.SPREAD[spread]}"):
                lines[index] = code[1:]
        return "".join(lines)

    @abstractmethod
    def _changes(
        self, replicas: Sequence[Replica], certificate: Pair | None
    ) -> Iterator[tuple[str, str]]:
        """Yield what stands in the file, once, and what is put there instead."""

    @abstractmethod
    def _prepare(self, directory: Path, text: str) -> list[str]:
        """Write the configuration; return the command that runs it in the foreground."""


class HAProxy(Balancer):
    """HAProxy: one file, and nothing else."""

    NAME = "HAProxy"
    FILE = ROOT / "config" / "haproxy" / "haproxy.cfg"
    SPREAD: ClassVar = {
        RECORD: "balance hash var(txn.record)",
        PATH: "balance hash path",
        ROUND_ROBIN: "balance roundrobin",
    }
    CHECK = "-c"

    def _changes(
        self, replicas: Sequence[Replica], certificate: Pair | None
    ) -> Iterator[tuple[str, str]]:
        tls = ""
        if certificate is not None:
            both = certificate.certificate.with_suffix(".both")
            both.write_bytes(certificate.certificate.read_bytes() + certificate.key.read_bytes())
            tls = f" ssl crt {both}"
        shipped = "bind :443 ssl crt /etc/haproxy/superoffice-bridge.pem"
        yield shipped, f"bind 127.0.0.1:{self.port}{tls}"
        servers = (
            f"    server bridge-{number} 127.0.0.1:{each.port} port {each.admin_port}\n"
            for number, each in enumerate(replicas, start=1)
        )
        yield "    server bridge-1 10.0.0.11:8080\n", "".join(servers)
        yield "    server bridge-2 10.0.0.12:8080\n", ""

    def _prepare(self, directory: Path, text: str) -> list[str]:
        if os.geteuid() != 0:  # who is not root cannot become somebody else
            text = re.sub(r"(?m)^ +(user|group|chroot) .*\n", "", text)
        file = directory / "haproxy.cfg"
        file.write_text(text)
        return ["/usr/sbin/haproxy", "-db", "-f", f"{file}"]


class PodsHAProxy(HAProxy):
    """HAProxy before the pods of Kubernetes; ``probes`` is where it answers the kubelet."""

    NAME = "HAProxy of Kubernetes"
    FILE = ROOT / "config" / "kubernetes" / "base" / "haproxy.cfg"
    PODS = 4
    """Servers of the file; those beyond the replicas are at a port where nobody listens."""

    def _changes(
        self, replicas: Sequence[Replica], certificate: Pair | None
    ) -> Iterator[tuple[str, str]]:
        assert certificate is None
        self._absent = range(len(replicas), self.PODS)
        self.probes = self._reserve()
        yield "bind :8080\n", f"bind 127.0.0.1:{self.port}\n"
        yield "bind :8082\n", f"bind 127.0.0.1:{self.probes}\n"
        nobody = f"127.0.0.1:{self._reserve()}\n"
        for number in range(self.PODS):
            pod = f"    server bridge-{number} "
            here = nobody
            if number < len(replicas):
                here = f"127.0.0.1:{replicas[number].port} port {replicas[number].admin_port}\n"
            yield f"{pod}superoffice-bridge-{number}:8080\n", f"{pod}{here}"

    def _listens(self) -> bool:
        """Return whether it has missed who is not there: Kubernetes waits for that, too."""
        log = self._log.read_text()
        known = all(f"Server bridges/bridge-{number} is DOWN" in log for number in self._absent)
        return known and super()._listens()


class Nginx(Balancer):
    """nginx: a file for the ``http`` block of a main one."""

    NAME = "nginx"
    FILE = ROOT / "config" / "nginx" / "superoffice-bridge.conf"
    SPREAD: ClassVar = {
        RECORD: 'hash "$uri $superoffice_context $superoffice_key" consistent;',
        PATH: "hash $uri consistent;",
        ROUND_ROBIN: "none of them",
    }
    CHECK = "-t"

    def _changes(
        self, replicas: Sequence[Replica], certificate: Pair | None
    ) -> Iterator[tuple[str, str]]:
        tls = "" if certificate is None else " ssl"
        yield "listen 443 ssl;", f"listen 127.0.0.1:{self.port}{tls};"
        names = ("certificate", "certificate_key")
        files = ("superoffice-bridge.crt", "superoffice-bridge.key")
        for name, file, own in zip(names, files, certificate or (None, None), strict=True):
            yield f"ssl_{name} /etc/nginx/{file};", f"ssl_{name} {own};" if own else ""
        rest = " max_fails=1 fail_timeout=1s;\n"
        servers = (f"    server 127.0.0.1:{each.port}{rest}" for each in replicas)
        yield f"    server 10.0.0.11:8080{rest}", "".join(servers)
        yield f"    server 10.0.0.12:8080{rest}", ""

    def _prepare(self, directory: Path, text: str) -> list[str]:
        (directory / "superoffice-bridge.conf").write_text(text)
        file = directory / "nginx.conf"
        file.write_text(_NGINX.format(directory=directory))
        return ["/usr/sbin/nginx", "-p", f"{directory}", "-c", f"{file}", "-e", "stderr"]


_NGINX = """
daemon off;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {directory}/superoffice-bridge.conf;
}}
"""
"""What Debian's nginx.conf is around the file."""
