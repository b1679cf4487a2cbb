"""A private RabbitMQ node for tests, ``bridge dev`` and benchmarks.

    with RabbitMQNode.start() as node:
        connect(node.url)

The node shares nothing with a RabbitMQ of the machine. It has its own name, ports, epmd, cookie,
configuration and data, all in a temporary directory. It reads neither ``RABBITMQ_*`` variables nor
``/etc/rabbitmq``, and it listens on the loopback interface only. A process of its own
(``supervisor.py``) ends the node and removes the directory when the owner stops the node, is
interrupted or is killed. Linux only.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import gettempdir
from typing import Any, Self, TypeVar

from bridge.core.errors import EXIT_UNAVAILABLE, BridgeError
from bridge.dev.home import (
    LOOPBACK,
    ClusterIdentity,
    environment,
    epmd_environment,
    link_home,
    write_files,
)
from bridge.dev.probe import AMQP_HEADER, EPMD_NAMES, first_answer, server_property
from bridge.dev.supervisor import SupervisorProcess

DEBIAN_SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"
STARTS = 3
START_SECONDS = 60.0
STOP_SECONDS = 60.0
LOG_LINES = 20
ALARMS = "rabbit_alarm:get_alarms()"
SET_WATERMARK = "ok = vm_memory_monitor:set_vm_memory_high_watermark"
PORT_TAKEN = re.compile("eaddrinuse|dist_port_already_used")

T = TypeVar("T")


class RabbitMQNotInstalled(BridgeError):
    """RabbitMQ is not installed: `apt-get install rabbitmq-server`, or `make run`, which does."""

    exit_code = EXIT_UNAVAILABLE


class RabbitMQFailed(BridgeError):
    """The private RabbitMQ node did not do what it was asked."""

    exit_code = EXIT_UNAVAILABLE


class _PortTaken(RabbitMQFailed):
    """Another program has taken one of the node's ports."""


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that is free now; another program may bind it at any time."""
    with reserve_port() as reserved:
        return int(reserved.getsockname()[1])


def find_installation() -> Path:
    """Return the directory of the installed server, which has ``escript`` and ``plugins``."""
    # On Debian the script on the PATH is only a wrapper, and it refuses to run for ordinary users.
    for script in (DEBIAN_SERVER, shutil.which("rabbitmq-server")):
        home = Path(script or os.devnull).resolve().parent.parent
        if (home / "escript").is_dir() and (home / "plugins").is_dir():
            return home
    raise RabbitMQNotInstalled


class SupervisedPrograms:
    """Programs in a directory of their own, until their supervisor ends them."""

    def __init__(self, supervisor: SupervisorProcess) -> None:
        self._supervisor = supervisor
        self._resources = contextlib.ExitStack()
        self.directory = Path(self._request("directory"))

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    def stop(self) -> None:
        """End the programs and remove the directory; a second call does nothing."""
        self._resources.close()

    def run_epmd(self, port: int) -> None:
        """Start an epmd and wait until it answers."""
        argv = ["epmd", "-address", LOOPBACK, "-port", str(port)]
        environ = epmd_environment(self.directory, port)
        self._run(argv, environ, lambda: bool(first_answer(port, EPMD_NAMES)))

    def _run(self, argv: list[str], environ: dict[str, str], is_ready: Callable[[], bool]) -> None:
        log = self.directory / "server.log"
        seen = log.stat().st_size if log.exists() else 0
        self._request("run", argv, environ)
        deadline = time.monotonic() + START_SECONDS
        while not is_ready():
            if time.monotonic() > deadline or not self._request("running"):
                raise _failed_start(argv[0], log.read_bytes()[seen:].decode(errors="replace"))
            time.sleep(0.05)

    def _request(self, *request: object) -> Any:
        try:
            return self._supervisor.call(*request)
        except OSError as error:
            raise RabbitMQFailed(str(error)) from error


class RabbitMQNode(SupervisedPrograms):
    """A running RabbitMQ, which tests can kill, freeze, alarm and restart.

    ``url`` is ``amqp://guest:guest@127.0.0.1:PORT/``; ``directory`` holds data, configuration and
    ``server.log``; ``started_in_seconds`` is the time of the last start. Methods block (from
    asyncio: ``asyncio.to_thread``), can be called from any thread, and raise ``RabbitMQFailed``.
    """

    def __init__(
        self,
        supervisor: SupervisorProcess,
        ports: Sequence[int],
        cluster: ClusterIdentity | None,
        number: int,
    ) -> None:
        super().__init__(supervisor)
        self.port, dist_port, own_epmd_port = ports
        self.url = f"amqp://guest:guest@{LOOPBACK}:{self.port}/"
        self.version = ""
        self.started_in_seconds = 0.0
        self._has_own_epmd = cluster is None
        self.cluster = cluster or ClusterIdentity.create(own_epmd_port)
        self.name = self.cluster.node_name(number)
        self._sbin = link_home(self.directory, find_installation()) / "sbin"
        self._env = environment(self.directory, self.name, dist_port, self.cluster.epmd_port)

    @classmethod
    def start(
        cls, directory: Path | None = None, *, config: Mapping[str, str] | None = None
    ) -> Self:
        """Start a node and return it once it accepts connections.

        Its own directory is made inside ``directory`` (default: the system's temporary one);
        ``config`` holds further settings of rabbitmq.conf. Also raises ``RabbitMQNotInstalled``.
        """
        return on_free_ports(partial(cls._start_once, config=config or {}), directory)

    @classmethod
    def _start_once(cls, parent: Path, *, config: Mapping[str, str]) -> Self:
        node = cls.prepare(parent, config)
        try:
            node.restart()
        except BaseException:
            node.stop()
            raise
        return node

    @classmethod
    def prepare(
        cls,
        parent: Path,
        config: Mapping[str, str],
        cluster: ClusterIdentity | None = None,
        number: int = 1,
    ) -> Self:
        """Return a node that is not started yet: alone, or of a cluster, which has an epmd."""
        with contextlib.ExitStack() as resources:
            # These stay open while the node is down: otherwise a connection of a load test could
            # get one of the ports as its source port.
            held = [resources.enter_context(reserve_port()) for _ in range(3)]
            supervisor = SupervisorProcess(parent)
            resources.callback(supervisor.close)
            node = cls(supervisor, [sock.getsockname()[1] for sock in held], cluster, number)
            listener = {"listeners.tcp.1": f"{LOOPBACK}:{node.port}"}
            write_files(node.directory, {**listener, **config}, node.cluster.cookie)
            node._resources = resources.pop_all()
            return node

    def __repr__(self) -> str:
        """Name version and address."""
        return f"<RabbitMQNode {self.version} at {LOOPBACK}:{self.port}>"

    def kill(self) -> None:
        """Kill the server with SIGKILL; return when it is dead. See ``sync``."""
        self._request("kill")

    def sync(self) -> None:
        """Write declarations to disk: RabbitMQ forgets those of the last 2 s when it is killed."""
        self.evaluate("mnesia:sync_log(), [ok = dets:sync(Table) || Table <- dets:all()].")

    def restart(self) -> None:
        """Kill the server if it is alive, and start it on the same port and data."""
        self.kill()
        begun = time.monotonic()
        if self._has_own_epmd:
            self.run_epmd(self.cluster.epmd_port)
        self._run([str(self._sbin / "rabbitmq-server")], self._env, self._is_up)
        self.started_in_seconds = time.monotonic() - begun

    def shut_down(self) -> None:
        """Stop the server as an operator does; return when it has ended."""
        self.ctl("stop")
        deadline = time.monotonic() + STOP_SECONDS
        while self._request("running"):
            if time.monotonic() > deadline:
                raise RabbitMQFailed(f"the server did not stop within {STOP_SECONDS:.0f} s")
            time.sleep(0.05)

    def freeze(self) -> None:
        """Stop the server with SIGSTOP: connections stay open, but it answers nothing."""
        self._request("freeze")

    def thaw(self) -> None:
        """Let a frozen server continue (SIGCONT)."""
        self._request("thaw")

    def raise_alarm(self) -> None:
        """Raise the memory alarm: connections that publish are blocked from now on."""
        self.evaluate(f"{SET_WATERMARK}(0.0), [_ | _] = {ALARMS}.")

    def clear_alarm(self) -> None:
        """Clear the memory alarm: restore the configured watermark."""
        configured = "{ok, Configured} = application:get_env(rabbit, vm_memory_high_watermark)"
        self.evaluate(f"{configured}, {SET_WATERMARK}(Configured), [] = {ALARMS}.")

    def evaluate(self, expressions: str) -> str:
        """Have the server evaluate Erlang expressions, and return the value of the last one."""
        # erl_call is Erlang's own client. Starting rabbitmqctl takes half a second of CPU time.
        done = self._call(["erl_call", "-n", self.name, "-e"], f"{expressions}\n")
        found = re.fullmatch(r"\{ok, (.*)\}\s*", done.stdout, re.DOTALL)
        if found is None:
            raise RabbitMQFailed(f"{expressions} failed:\n{done.stdout}{done.stderr}")
        return found[1]

    def ctl(self, *args: str, tool: str = "rabbitmqctl") -> str:
        """Run ``rabbitmqctl``, or another of its tools, on the node and return what it prints."""
        done = self._call([str(self._sbin / tool), *args])
        if done.returncode:
            raise RabbitMQFailed(f"{tool} {args[0]} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def _call(self, argv: list[str], stdin: str = "") -> subprocess.CompletedProcess[str]:
        if not self._request("running"):
            raise RabbitMQFailed("the server is not running")
        return subprocess.run(
            argv, input=stdin, env=self._env, cwd=self.directory, capture_output=True, text=True
        )

    def _is_up(self) -> bool:
        greeting = first_answer(self.port, AMQP_HEADER)
        self.version = server_property(greeting, "version")
        return server_property(greeting, "cluster_name").startswith(self.cluster.name)


def on_free_ports(start: Callable[[Path], T], directory: Path | None) -> T:
    """Start something in a directory; try again when another program has taken one of its ports."""
    parent = directory or Path(gettempdir())
    if not os.access(parent, os.W_OK | os.X_OK):
        raise RabbitMQFailed(f"{parent}: not a directory that this user can write")
    for _ in range(STARTS):
        with contextlib.suppress(_PortTaken):
            return start(parent)
    raise RabbitMQFailed(f"other programs took the node's ports {STARTS} times: try again")


def reserve_port() -> socket.socket:
    """Bind a free port: while the socket is open, only a program that names the port can use it."""
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind((LOOPBACK, 0))
    return reserved


def _failed_start(program: str, log: str) -> RabbitMQFailed:
    # epmd ends without a word when it cannot bind its port.
    kind = _PortTaken if program == "epmd" or PORT_TAKEN.search(log) else RabbitMQFailed
    lines = log.splitlines()
    telling = [line for line in lines if "[error]" in line][:LOG_LINES] or lines[-LOG_LINES:]
    return kind("\n".join([f"{Path(program).name} did not start; from its log:", *telling]))
