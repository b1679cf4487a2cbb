"""The private cluster itself: one broker, and nothing of it is left behind."""

import os
import signal
import subprocess
import sys

from tests.dev.conftest import ROOT, processes_of, wait_until
from tests.helpers import amqp

OWNER = """
import signal, sys
from pathlib import Path
from tests.system.scale.cluster.rabbitmq import RabbitMQCluster

with RabbitMQCluster.start(Path(sys.argv[1]), size=2):
    print("up", flush=True)
    signal.pause()
"""


def test_nodes_are_one_broker(cluster):
    """What is declared at one node is there at the others."""
    first, *others = cluster.urls
    with amqp(first) as channel:
        channel.queue_declare("everywhere", durable=True)
    for url in others:
        with amqp(url) as channel:
            channel.queue_declare("everywhere", passive=True)
    with amqp(first) as channel:
        channel.queue_delete("everywhere")


def test_nothing_outlives_a_killed_owner(tmp_path):
    """kill -9 of the owner ends all nodes and their epmd, and removes their directories."""
    argv = [sys.executable, "-c", OWNER, str(tmp_path)]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "up\n" == process.stdout.readline()
        assert len(processes_of(tmp_path)) > 4
        os.kill(process.pid, signal.SIGKILL)

    wait_until(lambda: not processes_of(tmp_path) and not list(tmp_path.iterdir()))
