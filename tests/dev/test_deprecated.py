"""RabbitMQ 4: the bridge does without what it deprecates, and a use in any test is seen."""

import json
from typing import Any

import pytest

from bridge.dev.rabbitmq import RabbitMQNode, find_installation
from tests.cli.conftest import invoke, running
from tests.cli.test_parked import deliver
from tests.dev.conftest import wait_until
from tests.helpers import amqp, deprecated

[SERVER] = (find_installation() / "plugins").glob("rabbit-[0-9]*")

pytestmark = pytest.mark.skipif(
    SERVER.name.startswith("rabbit-3."), reason="RabbitMQ 3 deprecates nothing and has no Khepri"
)

FEATURES = (
    "amqp_address_v1", "amqp_filter_set_bug", "global_qos", "management_metrics_collection",
    "queue_master_locator", "ram_node_type", "transient_nonexcl_queues",
)  # fmt: skip
"""As ``rabbitmqctl list_deprecated_features`` names them; a node ignores those it does not have."""

QUEUES = [
    {"name": f"a-{kind}", "exchange": "superoffice", "bindings": ["none"], "type": kind}
    for kind in ("classic", "quorum", "stream")
]


@pytest.fixture
def node():
    """Start a node that may be used wrongly."""
    with RabbitMQNode.start() as node:
        yield node


@pytest.fixture
def strict():
    """Start a node that refuses all of it.

    Not to be restarted: 4.0.5 then fails now and then, ``failed_to_deny_deprecated_features``, as
    it looks for transient queues before its tables are there.
    """
    refused = {f"deprecated_features.permit.{name}": "false" for name in FEATURES}
    with RabbitMQNode.start(config=refused) as node:
        yield node


def test_a_use_is_seen(node):
    """A transient queue that is not exclusive, and a prefetch of a whole channel."""
    with amqp(node.url) as channel:
        channel.queue_declare("own", exclusive=True)
        channel.basic_qos(prefetch_count=1)
        assert set() == deprecated(node)
        channel.queue_declare("nobodys")
        channel.basic_qos(prefetch_count=1, global_qos=True)

    wait_until(lambda: {"global_qos", "transient_nonexcl_queues"} == deprecated(node))


def test_declarations_survive_in_khepri(node):
    """`sync` keeps its word also with the store that takes the place of Mnesia."""
    node.ctl("enable_feature_flag", "--opt-in", "khepri_db")
    with amqp(node.url) as channel:
        channel.queue_declare("classic", durable=True)
        channel.exchange_declare("events", "topic", durable=True)
        channel.queue_bind("classic", "events", "#")
    node.sync()
    node.kill()
    node.restart()
    with amqp(node.url) as channel:
        channel.confirm_delivery()
        channel.basic_publish("events", "any", b"", mandatory=True)
        assert 1 == channel.queue_declare("classic", passive=True).method.message_count


def url_of(serving):
    """Return where a bridge that has just been started listens, once it has its broker."""
    seen: dict[str, Any] = {}
    while not {"service_started", "broker_connected"} <= seen.keys():
        line = json.loads(serving.read_until("{"))
        seen[line["action"]] = line
    return f"{seen['service_started']['url']}/webhook"


def test_the_bridge_needs_none_of_it(strict, tmp_path, monkeypatch):
    """Topology with queues of every type, service, what is parked or unrouted, and `listen`."""
    monkeypatch.chdir(tmp_path)
    env = {"BRIDGE_BROKER__URLS": strict.url, "SUPEROFFICE_SECRET": "x"}
    queues = {"BRIDGE_QUEUES": json.dumps(QUEUES)}
    assert 0 == invoke("topology", "apply", env={**env, **queues}).exit_code
    with running("serve", cwd=tmp_path, **env) as serving:
        url = url_of(serving)
        send = ("send", "sale.sold", "--to", url)
        assert "parked" == deliver({"url": url, "secret": "x"}, b"not json")["status"]
        assert "unrouted" in invoke(*send, env=env).output
        with running("listen", "#", "--count", "1", cwd=tmp_path, **env) as listening:
            assert "listening" in listening.stderr.readline()
            assert "published" in invoke(*send, env=env).output
            assert 0 == listening.wait()[0]
    assert "not_json" in invoke("parked", "list", env=env).output
    assert "not_json" in invoke("parked", "replay", "--all", env=env).output

    assert set() == deprecated(strict)


def test_all_that_a_node_deprecates_is_refused(strict):
    """It permits none of what it lists itself, so a new version cannot add to it unseen."""
    features = "maps:keys(rabbit_deprecated_features:list(all))"
    listed = strict.ctl("eval", f"{features}.")
    permitted = strict.ctl(
        "eval", f"[N || N <- {features}, rabbit_deprecated_features:is_permitted(N)]."
    )

    assert "transient_nonexcl_queues" in listed
    assert "[]" == permitted.splitlines()[-1]  # after what it says about each
