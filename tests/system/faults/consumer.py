"""A consumer that shares no code with the bridge and outlives restarts of the broker."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError

from tests.contract.validation import check_received
from tests.helpers import amqp
from tests.system.faults.ledger import Ledger

_OPTIONS = "?socket_timeout=5&stack_timeout=5&heartbeat="
_HEARTBEAT = 5
"""Seconds, where there is another node to go to when this one is silent."""

_ACK_EVERY = 50


class Consumer:
    """Takes everything out of one queue, on a thread of its own.

    ``taken`` is how many messages; ``reasons`` counts them by the header ``reason``, which parked
    ones have.
    """

    def __init__(
        self,
        url: str,
        queue: str,
        ledger: Ledger,
        *,
        may_take: Callable[[], bool] | None = None,
        others: Sequence[str] = (),
    ) -> None:
        """Take a condition to wait for before each message; without one, take what comes.

        ``others`` are URLs of other nodes, to go to when the first one is not to be had.
        """
        options = f"{_OPTIONS}{_HEARTBEAT if others else 0}"
        self._urls = [f"{each}{options}" for each in (url, *others)]
        self._queue = queue
        self._ledger = ledger
        self._may_take = may_take
        self._finishing = threading.Event()
        self._stopping = threading.Event()
        self.taken = 0
        self.reasons: Counter[str] = Counter()
        logging.getLogger("pika").setLevel(logging.CRITICAL)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def hurry(self) -> None:
        """Take what comes from now on."""
        self._may_take = None

    def finish(self) -> None:
        """Return when the queue is empty and everything taken out of it is noted."""
        self._finishing.set()
        self._thread.join()

    def stop(self) -> None:
        """Stop in any case."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with amqp(*self._urls) as channel:
                    self._consume(channel)
                    return
            except (AMQPError, OSError):
                self._stopping.wait(0.1)

    def _consume(self, channel: BlockingChannel) -> None:
        ack_every, ahead = (1, 1) if self._may_take else (_ACK_EVERY, 4 * _ACK_EVERY)
        channel.basic_qos(prefetch_count=ahead)
        unacked = empty = tag = 0
        for method, properties, body in channel.consume(self._queue, inactivity_timeout=0.1):
            if method is not None and body is not None:
                self._take(method, properties, body)
                unacked, tag = unacked + 1, method.delivery_tag or 0
            if unacked and (method is None or unacked >= ack_every):
                channel.basic_ack(tag, multiple=True)  # 0 would stand for what pika only keeps, too
                unacked = 0
            # What left the queue before the first time was here before the second answer.
            empty = empty + 1 if method is None and self._is_empty(channel) else 0
            if self._stopping.is_set() or (self._finishing.is_set() and empty > 1):
                return

    def _take(self, method: Any, properties: Any, body: bytes) -> None:
        while self._is_to_wait():
            self._stopping.wait(0.005)
        self._ledger.deliver(
            self._queue, properties.message_id, body, redelivered=method.redelivered
        )
        try:
            check_received(properties, body)
        except AssertionError as broken:
            self._ledger.reject(f"{properties.message_id}: {broken}")
        self.taken += 1
        if reason := properties.headers.get("reason"):
            self.reasons[reason] += 1

    def _is_to_wait(self) -> bool:
        may_take = self._may_take
        return may_take is not None and not self._stopping.is_set() and not may_take()

    def _is_empty(self, channel: BlockingChannel) -> bool:
        if not self._finishing.is_set():
            return False
        ready = channel.queue_declare(self._queue, passive=True).method.message_count
        return not ready and not channel.get_waiting_message_count()
