"""HAProxy as config/kubernetes has it, before pods that come, go, and come back elsewhere."""

import time
from contextlib import AsyncExitStack, asynccontextmanager

from tests.system.faults.client import Connection
from tests.system.faults.process import until
from tests.system.faults.proxy import Proxy
from tests.system.faults.senders import ANSWER_SECONDS
from tests.system.faults.world import ROW_LIMIT, size
from tests.system.kubernetes.manifests import the
from tests.system.scale.balancer import PodsHAProxy
from tests.system.scale.test_balancers import asked, mapping, servers
from tests.system.scale.test_replicas import back, balanced

pytestmark = ROW_LIMIT


class Service:
    """An address that stays when the pod behind it gets another one: both ports of a bridge."""

    def __init__(self, bridge):
        self._bridge = bridge
        self._proxies = Proxy(bridge.port), Proxy(bridge.admin_port)

    @asynccontextmanager
    async def running(self):
        """Forward for the length of the block."""
        async with self._proxies[0], self._proxies[1]:
            self.port, self.admin_port = (proxy.port for proxy in self._proxies)
            yield

    async def lose(self):
        """Lose the pod with its node: what is sent to it vanishes, and nobody hangs up."""
        for proxy in self._proxies:
            proxy.swallow()
        await self._bridge.kill()

    async def find(self):
        """Have the pod back at another address, with its volume."""
        self._bridge.move()
        for proxy, port in zip(
            self._proxies, (self._bridge.port, self._bridge.admin_port), strict=True
        ):
            proxy.target = port
            proxy.reset()
            proxy.restore()
        await back(self._bridge)


async def test_lost_with_its_node(world, tmp_path):
    """A pod that is lost costs no sender an attempt, and one that is back gets its records."""
    async with world(replicas=2) as row, AsyncExitStack() as stack:
        services = [Service(bridge) for bridge in row.bridges]
        for service in services:
            await stack.enter_async_context(service.running())
        await stack.enter_async_context(balanced(row, PodsHAProxy, tmp_path, before=services))
        async with row.senders() as senders:
            for service in services * size(1, 5):
                await row.accepts(50)
                await service.lose()
                await row.accepts(500)  # many times as long as the balancer waits
                await service.find()
        counts = await row.counts(f"a pod lost with its node, {PodsHAProxy.NAME}")

        assert 0 == counts.lost == counts.mixed
        assert counts.violations <= senders.statuses["spooled"]
        assert senders.never_failed
        assert senders.slowest < ANSWER_SECONDS


async def test_records(tmp_path):
    """All HAProxies agree on every record, and pods that are not there change nothing."""
    async with servers(3) as three:
        first = await mapping(PodsHAProxy, tmp_path, three[:2])
        second = await mapping(PodsHAProxy, tmp_path, three[:2])
        more = await mapping(PodsHAProxy, tmp_path, three)

    assert first == second
    assert {"0", "1"} == set(first.values())
    assert {"2"} == {more[key] for key in more if more[key] != first[key]}


async def test_probes(tmp_path):
    """Ready while a bridge is, alive in any case."""
    container = the("Deployment", "superoffice-bridge-haproxy")["spec"]["template"]["spec"]
    delay = container["containers"][0]["readinessProbe"]["initialDelaySeconds"]
    async with servers(1) as [bridge]:
        balancer = PodsHAProxy(tmp_path, [bridge])
        begun = time.monotonic()
        async with balancer.running():
            assert time.monotonic() - begun < delay
            kubelet = Connection(balancer.probes)

            async def status(path):
                reply = await kubelet.get(path)
                return reply and reply.status

            async def statuses():
                return [await status(path) for path in ("/healthz", "/readyz", "/")]

            async def are(*expected):
                return await statuses() == list(expected)

            await until(lambda: are(200, 200, 503), what="ready")
            assert await asked(balancer, [1])
            bridge.ready = False
            await until(lambda: are(200, 503, 503), what="not ready")
            kubelet.close()
