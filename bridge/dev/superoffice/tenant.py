"""A tenant: its webhooks, and what happens to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import aiohttp

from bridge.dev.samples import sample
from bridge.dev.superoffice.clock import Clock
from bridge.dev.superoffice.definition import Caller, Definition, Webhook, check_by_hand
from bridge.dev.superoffice.errors import ApiError, not_found
from bridge.dev.superoffice.faults import Faults
from bridge.dev.superoffice.ledger import Cause, Change, Entry, Fate, Ledger
from bridge.dev.superoffice.lifecycle import Standing, State, announcement
from bridge.dev.superoffice.rules import Rules
from bridge.dev.superoffice.sender import Answer, Post, Sender
from bridge.superoffice.names import TEST_EVENT

A_PERSON: Final = Caller(5, "A person")
"""Somebody at the user interface."""


class Tenant:
    """A customer's SuperOffice. ``context`` is its ContextIdentifier; on-site it is "Default".

    ``faults`` is what is wrong with it now.
    """

    def __init__(
        self,
        context: str,
        *,
        rules: Rules,
        clock: Clock,
        session: aiohttp.ClientSession,
    ) -> None:
        self.context = context
        self.rules = rules
        self.clock = clock
        self.ledger = Ledger()
        self.webhooks: dict[int, Webhook] = {}
        self.faults = Faults()
        self.sender = Sender(session, rules=rules, clock=clock, stand=self._stand)
        self._last_id = 0

    def raise_event(
        self,
        event: str,
        *,
        primary_key: int | None = None,
        changed_by: int = 7,
        data: Mapping[str, Any] | None = None,
    ) -> str:
        """Let something happen, and return its EventId.

        Webhooks that want it get it under one EventId (unproved: it belongs to the event). For one
        that is off nothing is stored, so it is discarded at once. ``data`` is what SignalEvent
        was given, and comes as FieldValues (unproved).
        """
        content = sample(
            event, primary_key=primary_key, context=self.context, changed_by=changed_by
        )
        return self._raise(event, content if data is None else {**content, "FieldValues": data})

    async def save(
        self, definition: Definition, *, by: Caller, webhook: Webhook | None = None
    ) -> Webhook:
        """Save a new webhook or replace one, if its target answers a ``test`` with 200 (register).

        Every save tests, whatever it changes: unproved. Raises ``ApiError``.
        """
        answer = await self.test(definition, webhook_id=webhook.id if webhook else 0)
        if self.faults.refuse_saves or not answer.is_success:
            message = f"the webhook was not saved, its test failed: {answer.text}"
            raise ApiError(self.rules.refused_save_status, "SoException", message)
        now = self.clock.now()
        if webhook is None:
            self._last_id += 1
            standing = Standing(definition.state)
            webhook = Webhook(self._last_id, definition, now, by, standing=standing)
            self.webhooks[webhook.id] = webhook
            self.ledger.changes.append(Change(now, webhook.id, None, standing.state))
            return webhook
        if webhook.standing.state is State.DELETED:  # during the test
            raise not_found(f"webhook {webhook.id}")
        webhook.definition, webhook.updated, webhook.updated_by = definition, now, by
        self._stand(webhook, webhook.standing.saved(definition.state))
        return webhook

    async def test(self, definition: Definition, *, webhook_id: int = 0) -> Answer:
        """Post a ``test`` event, and return its answer."""
        content = sample(TEST_EVENT, context=self.context)
        entry = self._entry(TEST_EVENT, content, webhook_id)
        self.ledger.tests.append(entry)
        return await self.sender.test(definition, Post(content, TEST_EVENT), entry)

    def delete(self, webhook: Webhook) -> None:
        """Delete a webhook; what waits for it is discarded."""
        del self.webhooks[webhook.id]
        self._stand(webhook, webhook.standing.removed())

    async def make_by_hand(self, content: Mapping[str, Any]) -> Webhook:
        """Save a webhook as a person does in the user interface: apps do not see it."""
        definition = Definition.of(content)
        check_by_hand(definition)
        return await self.save(definition, by=A_PERSON)

    async def set_state_by_hand(self, webhook: Webhook, state: State) -> None:
        """Stop or start a webhook in the user interface. Only starting it tests: unproved."""
        members = {**webhook.definition.members, "State": state.value}
        if state is State.ACTIVE:
            await self.save(Definition.of(members), by=A_PERSON, webhook=webhook)
            return
        webhook.updated, webhook.updated_by = self.clock.now(), A_PERSON
        self._stand(webhook, webhook.standing.saved(state))

    def _raise(self, event: str, content: dict[str, Any]) -> str:
        wanted = [one for one in self.webhooks.values() if one.definition.wants(event)]
        for webhook in wanted:
            entry = self._entry(event, content, webhook.id)
            self.ledger.entries.append(entry)
            if webhook.standing.state is State.ACTIVE:
                self.sender.send(webhook, Post(content, event), entry)
            else:
                entry.settle(Fate.DISCARDED, entry.raised, Cause.OFF)
        if not wanted:
            entry = self._entry(event, content, None)
            entry.settle(Fate.DISCARDED, entry.raised, Cause.NO_WEBHOOK)
            self.ledger.entries.append(entry)
        return str(content["EventId"])

    def _entry(self, event: str, content: Mapping[str, Any], webhook_id: int | None) -> Entry:
        now = self.clock.now()
        return Entry(content["EventId"], event, content["PrimaryKey"], webhook_id, now)

    def _stand(self, webhook: Webhook, standing: Standing) -> None:
        """Give a webhook its new standing, and announce a new state."""
        before, webhook.standing = webhook.standing.state, standing
        if before is standing.state:
            return
        self.ledger.changes.append(Change(self.clock.now(), webhook.id, before, standing.state))
        action = announcement(before, standing.state)
        if action:
            self._announce(webhook, action)

    def _announce(self, webhook: Webhook, action: str) -> None:
        """Raise a state event: ``webhook12.errors`` by its header, webhook.errors in its body.

        That is how state-events shows it. Its ``state`` is 2 in all samples there, whatever the
        state: so here.
        """
        content = sample(
            f"webhook.{action}", primary_key=webhook.id, context=self.context, changed_by=0
        )
        content["FieldValues"]["events"] = webhook.standing.total_calls
        event = f"webhook{webhook.id}.{action}"
        if any(one.definition.wants(event) for one in self.webhooks.values()):
            self._raise(event, content)
