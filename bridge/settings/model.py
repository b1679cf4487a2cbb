"""The keys of the configuration, their defaults, and what each may be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretBytes

from bridge.core.routing import DEFAULT_KEY, Route
from bridge.settings import fields
from bridge.settings.urls import BrokerUrl

Topology = Literal["declare", "verify"]
BodyFormat = Literal["cloudevents", "raw"]
Authentication = Literal["plain", "external"]
QueueType = Literal["quorum", "classic", "stream"]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["json", "console"]


class Section(BaseModel):
    """A table of the configuration. Unknown keys are errors, and values cannot be changed."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


@dataclass(frozen=True, slots=True)
class WrittenAs:
    """Marks a secret, in whose place the configuration has a reference of this form."""

    reference: type[Section]


class SecretRef(Section):
    """Where a secret is: in an environment variable or in a file."""

    env: fields.Reference = None
    file: fields.Reference = None
    optional: Annotated[bool, Field(description="true or false")] = False


class PasswordRef(SecretRef):
    """Where the broker's password is.

    Only this reference may have a default: it unlocks the broker, not the bridge.
    """

    default: fields.Default = None


class ServerSettings(Section):
    """The public and the admin listener."""

    host: fields.Host = "0.0.0.0"  # noqa: S104 - a container's address is not known beforehand
    port: fields.Port = 8080
    tls_certificate: fields.PemFile = None
    tls_key: fields.PemFile = None
    admin_host: fields.Host = "127.0.0.1"
    admin_port: fields.Port = 8081
    admin_token: Annotated[fields.Token, WrittenAs(SecretRef)] = None
    max_body_bytes: fields.BodyBytes = fields.MIB
    read_timeout_seconds: fields.Timeout = 5.0
    max_connections: fields.Tries = 900
    idle_timeout_seconds: fields.Timeout = 630.0
    max_signature_failures: fields.Count = 20
    signature_failure_window_seconds: fields.Timeout = 60.0
    shutdown_grace_seconds: fields.Duration = 20.0


class EndpointSettings(Section):
    """A path that SuperOffice posts to, and the secrets that sign what it posts."""

    name: fields.EndpointName
    path: fields.UrlPath
    secrets: Annotated[
        tuple[fields.Secret, ...],
        WrittenAs(SecretRef),
        Field(description='a list of { env = "NAME" } or { file = "/path" }'),
    ] = ()
    allow_unsigned: fields.Flag = False
    contexts: fields.Contexts = ()
    publish_test_events: fields.Flag = False
    source: fields.Source = None

    @property
    def secret_keys(self) -> tuple[bytes, ...]:
        """Return the HMAC keys; a request may be signed with any one of them."""
        return tuple(secret.get_secret_value() for secret in self.secrets)


class BrokerSettings(Section):
    """Where RabbitMQ is, and how events are published to it."""

    urls: fields.Urls = (BrokerUrl.parse("amqp://127.0.0.1:5672/"),)
    username: fields.Username = None
    password: Annotated[
        SecretBytes | None,
        WrittenAs(PasswordRef),
        Field(description='{ env = "NAME" } or { file = "/path" }; never the password itself'),
    ] = None
    auth: Annotated[Authentication, Field(description='"plain" or "external"')] = "plain"
    ca_file: fields.PemFile = None
    client_certificate: fields.PemFile = None
    client_key: fields.PemFile = None
    exchange: fields.ExchangeName = "superoffice"
    topology: Annotated[Topology, Field(description='"declare" or "verify"')] = "declare"
    confirm_deadline_seconds: fields.ConfirmDeadline = 2.0

    def connection_urls(self) -> tuple[str, ...]:
        """Return the URLs to connect to, in order, complete with user name and password.

        ``username`` and ``password`` override those of a URL; without either it is guest. The
        files for TLS are in the query, where aiormq looks for them.
        """
        query = self._tls()
        if self.auth == "external":
            return tuple(url.external({"auth": "external"} | query) for url in self.urls)
        return tuple(url.complete(self.username, self.password, query) for url in self.urls)

    def safe_urls(self) -> tuple[str, ...]:
        """Return the same URLs without passwords, for logs."""
        if self.auth == "external":
            return tuple(url.external() for url in self.urls)
        return tuple(url.safe(self.username) for url in self.urls)

    def _tls(self) -> dict[str, str]:
        files = {
            "cafile": self.ca_file,
            "certfile": self.client_certificate,
            "keyfile": self.client_key,
        }
        return {name: str(file) for name, file in files.items() if file is not None}


class RouteSettings(Section):
    """Where events that match a topic pattern go instead of the broker's exchange."""

    match: fields.TopicPattern
    exchange: fields.ExchangeName = "superoffice"
    routing_key: fields.KeyTemplate = DEFAULT_KEY
    format: Annotated[BodyFormat, Field(description='"cloudevents" or "raw"')] = "cloudevents"


class QueueSettings(Section):
    """A consumer's queue that the bridge declares and binds."""

    name: fields.QueueName
    exchange: fields.ExchangeName = "superoffice"
    bindings: fields.Bindings
    type: Annotated[QueueType, Field(description='"quorum", "classic" or "stream"')] = "quorum"
    single_active_consumer: fields.Flag = False


class SpoolSettings(Section):
    """The disk on which events wait while they cannot be published."""

    path: fields.SpoolPath = Path("var/spool.db")
    max_bytes: fields.SpoolBytes = 1024 * fields.MIB
    refused_tries: fields.Tries = 7


class DedupSettings(Section):
    """How long and how many accepted events are remembered."""

    window_seconds: fields.Duration = 600.0
    max_events: fields.Count = 100_000


class LogSettings(Section):
    """What is logged, and in which form."""

    level: Annotated[LogLevel, Field(description='"debug", "info", "warning" or "error"')] = "info"
    format: Annotated[LogFormat, Field(description='"json" or "console"')] = "json"


class TracingSettings(Section):
    """Whether traces are made. All else is set by the variables of OpenTelemetry."""

    enabled: fields.Switch = False


class Settings(Section):
    """The whole configuration. ``bridge.settings.load`` makes it from file and environment."""

    server: ServerSettings = ServerSettings()
    endpoints: tuple[EndpointSettings, ...] = ()
    broker: BrokerSettings = BrokerSettings()
    routes: tuple[RouteSettings, ...] = ()
    queues: tuple[QueueSettings, ...] = ()
    spool: SpoolSettings = SpoolSettings()
    dedup: DedupSettings = DedupSettings()
    log: LogSettings = LogSettings()
    tracing: TracingSettings = TracingSettings()

    def router_routes(self) -> tuple[Route, ...]:
        """Return the routes in the form that the router takes."""
        return tuple(
            Route(route.match, route.exchange, route.routing_key, raw=route.format == "raw")
            for route in self.routes
        )
