"""The sender: it posts events to webhooks, tries again, and gives up.

Every event of every webhook has a task of its own, and ``Rules.threads`` of them post at a time.
So a slow or failing event is overtaken by later ones, also of its record. The queue is in memory,
as SuperOffice's is: ``recycle`` loses it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import aiohttp
from yarl import URL

from bridge.dev.samples import encode, request_headers
from bridge.dev.superoffice.clock import Clock
from bridge.dev.superoffice.definition import Definition, Webhook
from bridge.dev.superoffice.ledger import Attempt, Cause, Entry, Fate
from bridge.dev.superoffice.lifecycle import LAST_ERROR_LIMIT, Standing, State
from bridge.dev.superoffice.rules import Rules
from bridge.superoffice.headers import RETRY


@dataclass(frozen=True, slots=True)
class Post:
    """What is posted. The header may name another event than the body: see ``state-events``."""

    content: Mapping[str, Any]
    header_event: str

    def request(self, definition: Definition, retry: int) -> tuple[bytes, dict[str, str]]:
        """Return the body and the headers of an attempt; ``retry`` attempts came before.

        A first attempt has no X-SuperOffice-Retry, and neither the Properties nor the Headers of
        a webhook replace what SuperOffice sends itself: all unproved.
        """
        own = {**self.content, "WebhookName": definition.members["Name"]}
        added = definition.members["Properties"] or {}
        body = encode({**own, **{name: added[name] for name in added if name not in own}})
        headers = request_headers(
            body,
            event=self.header_event,
            event_id=self.content["EventId"],
            secret=definition.secret,
        )
        if retry:
            headers[RETRY] = str(retry)
        return body, {**(definition.members["Headers"] or {}), **headers}


@dataclass(frozen=True, slots=True)
class Answer:
    """An attempt's end. ``text`` is the headers and body of the answer, or the error."""

    attempt: Attempt
    text: str

    @property
    def is_success(self) -> bool:
        """Whether it was 200: nothing else is (register, notification)."""
        return self.attempt.status == 200


class Sender:
    """Posts events until they are answered 200 or given up.

    ``stand`` is called with a webhook and its new standing whenever an attempt has ended.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        rules: Rules,
        clock: Clock,
        stand: Callable[[Webhook, Standing], None],
    ) -> None:
        self._session = session
        self._rules = rules
        self._clock = clock
        self._stand = stand
        self._threads = asyncio.Semaphore(rules.threads)
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, webhook: Webhook, post: Post, entry: Entry) -> None:
        """Begin to deliver an event; return at once."""
        task = asyncio.create_task(self._deliver(webhook, post, entry))
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, entry))

    async def test(self, definition: Definition, post: Post, entry: Entry) -> Answer:
        """Post a ``test`` event once. It counts nowhere: unproved."""
        answer = await self._attempt(definition, post, entry, retry=0)
        fate = Fate.ACCEPTED if answer.is_success else Fate.DISCARDED
        cause = None if answer.is_success else Cause.FAILED
        entry.settle(fate, answer.attempt.ended, cause)
        return answer

    async def idle(self) -> None:
        """Return once nothing is waiting to be sent."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def recycle(self) -> None:
        """Lose everything that waits, as when SuperOffice's process ends."""
        lost = list(self._tasks)
        for task in lost:
            task.cancel()
        await asyncio.gather(*lost, return_exceptions=True)

    def _ended(self, entry: Entry, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():  # perhaps before it had begun
            entry.settle(Fate.DISCARDED, self._clock.now(), Cause.RECYCLED)

    async def _deliver(self, webhook: Webhook, post: Post, entry: Entry) -> None:
        cause = await self._try(webhook, post, entry)
        if cause is None:
            entry.settle(Fate.ACCEPTED, entry.attempts[-1].ended)
        else:
            entry.settle(Fate.DISCARDED, self._clock.now(), cause)
            if cause in (Cause.FAILED, Cause.GONE):
                self._stand(webhook, webhook.standing.discarded())

    async def _try(self, webhook: Webhook, post: Post, entry: Entry) -> Cause | None:
        """Return why the event is discarded, or None when it was accepted.

        Each attempt uses the webhook as it is then: its URL, its Secret. Unproved.
        """
        for retry, pause in enumerate((0.0, *self._rules.pauses)):
            if pause:
                await self._clock.sleep(pause)
            async with self._threads:
                if webhook.standing.state is not State.ACTIVE:
                    return Cause.DELETED if webhook.standing.state is State.DELETED else Cause.OFF
                answer = await self._attempt(webhook.definition, post, entry, retry=retry)
            status = answer.attempt.status
            if answer.is_success:
                self._stand(webhook, webhook.standing.answered())
                return None
            limit, is_gone = self._rules.failures_until_off, status == 410
            failed = webhook.standing.failed(answer.text, limit=limit, is_permanent=is_gone)
            self._stand(webhook, failed)
            if is_gone:
                return Cause.GONE
        return Cause.FAILED

    async def _attempt(
        self, definition: Definition, post: Post, entry: Entry, *, retry: int
    ) -> Answer:
        body, headers = post.request(definition, retry)
        begun = self._clock.now()
        status, text = await self._post(definition.members["TargetUrl"], body, headers)
        attempt = Attempt(begun, self._clock.now(), status, "" if status else text)
        entry.attempts.append(attempt)
        return Answer(attempt, text)

    async def _post(
        self, url: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int | None, str]:
        """Post as it was registered, path and query too; redirects are not followed (unproved)."""
        if self._rules.require_https and not url.lower().startswith("https://"):
            return None, "the URL must be https"  # register
        try:
            async with asyncio.timeout(self._rules.request_seconds):
                target = URL(url, encoded=True)
                request = self._session.post(
                    target, data=body, headers=headers, allow_redirects=False
                )
                async with request as response:
                    start = await response.content.read(LAST_ERROR_LIMIT)
                    lines = "".join(f"{key}: {value}\n" for key, value in response.headers.items())
                    return response.status, f"{lines}\n{start.decode(errors='replace')}"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return None, str(error) or type(error).__name__
