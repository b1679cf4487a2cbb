"""The composition root: puts the parts together. ``lifecycle`` starts and stops them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bridge.contract.rendering import Documents
from bridge.delivery.outbox import COMMIT_SECONDS
from bridge.gauges import add_gauges
from bridge.log import set_level
from bridge.metrics import Metrics
from bridge.parts import (
    admin_listener,
    certificate_of,
    dedup_of,
    drain_of,
    endpoints_of,
    outbox_of,
    pipeline_of,
    public_listener,
    publisher_of,
    receiver_of,
    responder_of,
)
from bridge.settings import ServerSettings, Settings
from bridge.spool import Spool
from bridge.web.admin import Admin

if TYPE_CHECKING:
    from bridge.tracing import Traces


class Service:
    """The parts of a bridge, built in order; ``lifecycle.running`` makes and runs it."""

    def __init__(self, settings: Settings, spool: Spool, traces: Traces | None = None) -> None:
        self.metrics = Metrics()
        self.spool = spool
        self.publisher = publisher_of(settings, spool)
        self.drain = drain_of(settings, spool, self.publisher, self.metrics, traces)
        self.outbox = outbox_of(settings, spool, self.publisher, self.drain, traces)
        self.dedup = dedup_of(settings)
        self._pipeline = pipeline_of(settings, self.outbox, self.dedup, self.metrics, traces)
        self._responder = responder_of(settings, self._pipeline, self.metrics)
        receiver = receiver_of(settings, self._responder, self.metrics)
        self._certificate = certificate_of(settings.server)
        self.listener = public_listener(
            settings, receiver, self._responder, self._certificate, traces
        )
        self._documents = Documents(settings)
        self.admin = admin_listener(settings, self._admin(settings))
        self._watch_the_disk(settings)
        self._measure(settings)

    def _admin(self, settings: Settings) -> Admin:
        token = settings.server.admin_token
        return Admin(
            status=self.status,
            metrics=self.metrics,
            documents=self._documents,
            token=token.get_secret_value() if token else None,
        )

    def _watch_the_disk(self, settings: Settings) -> None:
        self.spool.is_needed = self._needs_the_disk
        self.spool.answer_within(settings.broker.confirm_deadline_seconds + COMMIT_SECONDS)

    def _measure(self, settings: Settings) -> None:
        add_gauges(
            self.metrics,
            publisher=self.publisher,
            spool=self.spool,
            drain=self.drain,
            dedup=self.dedup,
            max_bytes=settings.spool.max_bytes,
        )

    def _needs_the_disk(self) -> bool:
        return self.drain.holds_up_all or not self.publisher.is_ready

    def status(self) -> Mapping[str, Any]:
        """Return the members of ``/readyz``; ready means that the bridge can earn a 200."""
        can_keep = self.spool.accepts or not self._needs_the_disk()
        return {
            "ready": can_keep and self.listener.is_open,
            "broker": self.publisher.broker,
            "topology": self.publisher.topology,
            "spool": {
                "events": self.spool.events,
                "bytes": self.spool.bytes,
                "oldest_seconds": round(self.drain.oldest_seconds, 1),
            },
            "aside": self.drain.places,
        }

    def adopt(self, settings: Settings) -> None:
        """Go by these settings from the next request on, where a change needs no restart."""
        set_level(settings.log.level)
        self._responder.renew_log()
        self._pipeline.use(endpoints_of(settings))
        self._documents.use(settings)

    def renew_certificate(self, server: ServerSettings) -> bool:
        """Show new clients what the certificate's files hold now; return whether it changed.

        Raises ``CertificateUnusable``, and goes on with the old one.
        """
        if self._certificate is None or server.tls_certificate is None:
            return False
        return self._certificate.renew(server.tls_certificate, server.tls_key)
