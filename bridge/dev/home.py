"""The directory of a private RabbitMQ node, and the environment of its programs.

The node shares nothing with a RabbitMQ of the machine: it reads neither ``RABBITMQ_*`` variables
nor ``/etc/rabbitmq``, and it listens on the loopback interface only.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

LOOPBACK = "127.0.0.1"
NO_BUSY_WAIT = "+sbwt none +sbwtdcpu none +sbwtdio none"  # leave the cores to the others


@dataclass(frozen=True, slots=True)
class ClusterIdentity:
    """Name, cookie and epmd port, which nodes must share to find and to trust each other."""

    name: str
    cookie: str
    epmd_port: int

    @classmethod
    def create(cls, epmd_port: int) -> ClusterIdentity:
        """Return a new identity, which no other node has."""
        return cls(f"bridge-{secrets.token_hex(4)}", secrets.token_hex(16), epmd_port)

    def node_name(self, number: int) -> str:
        """Return the name of a node of this cluster."""
        return f"{self.name}-{number}@localhost"


def link_home(directory: Path, installation: Path) -> Path:
    """Make a RabbitMQ home without plugins: searching them takes a third of the start."""
    plugins = directory / "home" / "plugins"
    plugins.mkdir(parents=True)
    for part in ("sbin", "escript"):
        (plugins.parent / part).symlink_to(installation / part)
    for library in (installation / "plugins").iterdir():
        if not library.name.startswith("rabbitmq_") or "prelaunch" in library.name:
            (plugins / library.name).symlink_to(library)
    return plugins.parent


def write_files(directory: Path, settings: Mapping[str, str], cookie: str) -> None:
    """Write the configuration, and empty files that RabbitMQ reads in place of the machine's."""
    defaults = {
        "disk_free_limit.absolute": "1MB",
        "log.console.level": "info",
        "vm_memory_calculation_strategy": "allocated",  # the usual one needs /proc
    }
    files = {
        "rabbitmq.conf": "".join(f"{k} = {v}\n" for k, v in {**defaults, **settings}.items()),
        "advanced.config": "[].\n",
        "enabled_plugins": "[].\n",
        "environment": "",
        "server.log": "",
        "inetrc": '{lookup, [file]}.\n{host, {127,0,0,1}, ["localhost"]}.\n',
        ".erlang.cookie": cookie,
    }
    for name, text in files.items():
        (directory / name).write_text(text)
    (directory / ".erlang.cookie").chmod(0o400)


def epmd_environment(directory: Path, epmd_port: int) -> dict[str, str]:
    """Return the whole environment of an epmd; a server needs the same variables, and more."""
    return {
        "PATH": f"{os.environ.get('PATH') or os.defpath}:{os.defpath}",
        "HOME": f"{directory}",  # where Erlang looks for .erlang.cookie
        "LANG": "C.UTF-8",
        "ERL_EPMD_ADDRESS": LOOPBACK,
        "ERL_EPMD_PORT": str(epmd_port),
    }


def environment(directory: Path, name: str, dist_port: int, epmd_port: int) -> dict[str, str]:
    """Return the whole environment of epmd, server and rabbitmqctl."""
    loopback = "-kernel inet_dist_use_interface {127,0,0,1}"
    return {
        **epmd_environment(directory, epmd_port),
        "ERL_CRASH_DUMP_SECONDS": "0",
        "ERL_FLAGS": "-start_epmd false",
        "ERL_INETRC": f"{directory}/inetrc",
        "RABBITMQ_ADVANCED_CONFIG_FILE": f"{directory}/advanced.config",
        "RABBITMQ_CONFIG_FILE": f"{directory}/rabbitmq.conf",
        "RABBITMQ_CONFIG_FILES": f"{directory}/conf.d",
        "RABBITMQ_CONF_ENV_FILE": f"{directory}/environment",
        "RABBITMQ_CTL_DIST_PORT_MAX": "0",
        "RABBITMQ_CTL_DIST_PORT_MIN": "0",
        "RABBITMQ_CTL_ERL_ARGS": loopback,
        "RABBITMQ_DIST_PORT": str(dist_port),
        "RABBITMQ_ENABLED_PLUGINS_FILE": f"{directory}/enabled_plugins",
        "RABBITMQ_LOGS": "-",  # stdout, which is server.log
        "RABBITMQ_LOG_BASE": f"{directory}",
        "RABBITMQ_MNESIA_BASE": f"{directory}/data",
        "RABBITMQ_MOTD_FILE": f"{directory}/motd",
        "RABBITMQ_NODENAME": name,
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"{loopback} {NO_BUSY_WAIT}",
        "RUNNING_UNDER_SYSTEMD": "true",  # no shell stays between supervisor and Erlang VM
    }
