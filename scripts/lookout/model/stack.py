"""The typed, frozen model. The only defaults of the product stand here."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .types import (
    Address,
    Duration,
    ImageReference,
    IPv4,
    MailAddress,
    Percent,
    Place,
    SecretFile,
    Size,
    Slug,
    Url,
    Version,
    Words,
)

Port = Annotated[int, Field(ge=1, le=65535, strict=True)]
ServerName = Literal[
    "prometheus",
    "alertmanager",
    "grafana",
    "loki",
    "promtail",
    "tempo",
    "jaeger",
    "otel-collector",
    "node-exporter",
    "cadvisor",
    "blackbox-exporter",
    "postgres-exporter",
    "redis-exporter",
    "postgres",
    "postgres-setup",
    "redis",
    "receiver",
    "simulators",
    "traffic",
    "discoverer",
    "engine-proxy",
    "probe",
]
Store = Literal["tempo", "jaeger"]
Severity = Literal["critical", "warning", "info"]
Route = Literal[Severity, "watchdog"]


SERVES: dict[ServerName, ServerName] = {
    "promtail": "loki", "postgres-exporter": "postgres", "postgres-setup": "postgres", "redis-exporter": "redis",
    "discoverer": "engine-proxy", "engine-proxy": "discoverer",
}  # fmt: skip
"""A server that is of no use without another."""

ONE_SHOT: tuple[ServerName, ...] = ("probe", "postgres-setup")
"""Containers that do their work at the start of the stack and end."""

METERED: tuple[ServerName, ...] = ("otel-collector", "jaeger", "cadvisor", "node-exporter")
"""Servers whose own metrics the bundle cannot do without."""

VISITED = ("frontend", "api-gateway")
"""Services that the traffic generator asks. They believe it whose requests it makes."""


FAULTS_PORT = 7199
"""The port of faults on demand, on the loopback interface of a service's container."""


class Part(BaseModel):
    """A part of the model: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Service(Part):
    """A service that is watched: in the bundle by its ``port``, or outside by its ``address``."""

    name: Slug
    port: Port | None = Field(None, description="listens here, in the bundle")
    address: Address | None = Field(None, description="host:port of a service that runs outside the bundle")
    tier: Literal["critical", "standard"] = "standard"
    owner: Slug = Field(description="the team that answers for it; the label `team` of its alerts")
    depends_on: tuple[Slug, ...] = ()

    @model_validator(mode="after")
    def _one_place(self) -> Service:
        if (self.port is None) == (self.address is None):
            raise ValueError("needs either a port (runs in the bundle) or an address (runs outside), not both")
        return self

    @property
    def bundled(self) -> bool:
        """Whether it runs in the bundle."""
        return self.port is not None

    @property
    def target(self) -> str:
        """host:port as Prometheus reaches it."""
        return str(self.address) if self.address else f"{self.name}:{self.port}"


class Server(Part):
    """A container of the bundle that is not one of the services."""

    image: Slug
    port: Port | None = None
    metrics: Port | None = Field(None, description="the port of its own metrics; absent when it has none")
    memory: Size
    networks: tuple[Slug, ...] = ()


class Image(Part):
    """Where an image comes from: pinned upstream, built from a recipe, or both."""

    reference: ImageReference | None = None
    recipe: Slug | None = None

    @model_validator(mode="after")
    def _somewhere(self) -> Image:
        if self.reference is None and self.recipe is None:
            raise ValueError("needs a reference, a recipe, or both")
        return self


class Network(Part):
    """A network of the compose project."""

    internal: bool = False


class Publish(Part):
    """Host ports by container name."""

    address: IPv4 = "127.0.0.1"
    ports: dict[Slug, Port]


class Traffic(Part):
    """The traffic generator: requests a second on average, the seed of its choices, and its daily curve."""

    rate: Annotated[float, Field(ge=0, le=1000)] = 3
    seed: Annotated[int, Field(ge=0, le=2**53)] = 1
    peak_hour: Annotated[int, Field(ge=0, le=23)] | None = Field(
        default=None,
        description="hour of the day (UTC) with most requests, 40 % over the mean; without it all hours are alike",
    )


class Scrape(Part):
    """How often, and for how long at most, a class of targets is scraped."""

    interval: Duration
    timeout: Duration


class ScrapeClasses(Part):
    """The three classes of targets."""

    critical: Scrape
    standard: Scrape
    slow: Scrape


class ServiceDown(Part):
    """How many scrapes in a row must fail before a service counts as down."""

    failed_scrapes: Annotated[int, Field(ge=2, le=10)] = 2


class ErrorRate(Part):
    """The share of failed requests above which a service is in trouble, over a window, for a time."""

    model_config = ConfigDict(populate_by_name=True)
    above: Percent
    window: Duration
    for_: Duration = Field(alias="for")


class Restarts(Part):
    """How many restarts of one container within a window are too many."""

    more_than: Annotated[int, Field(ge=1)]
    window: Duration


class Alerts(Part):
    """Thresholds of the alerts."""

    service_down: ServiceDown
    error_rate: ErrorRate
    restarts: Restarts


class Webhook(Part):
    """Any HTTP endpoint that takes Alertmanager's JSON."""

    url: Url


class Slack(Part):
    """A Slack incoming webhook."""

    channel: Words
    api_url_file: SecretFile


class Telegram(Part):
    """A Telegram bot."""

    # Of 52 bits at most, and not 0: https://core.telegram.org/bots/api#chat
    chat_id: Annotated[int, Field(ge=-(2**52), le=2**52, strict=True)]
    bot_token_file: SecretFile


class Email(Part):
    """Mail through an SMTP server with a login."""

    to: MailAddress
    sender: MailAddress
    smarthost: Address
    username: Words
    password_file: SecretFile


class PagerDuty(Part):
    """PagerDuty, Events API v2."""

    routing_key_file: SecretFile


class Receiver(Part):
    """One place notifications go to; exactly one kind."""

    webhook: Webhook | None = None
    slack: Slack | None = None
    telegram: Telegram | None = None
    email: Email | None = None
    pagerduty: PagerDuty | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Receiver:
        kinds = [name for name in type(self).model_fields if getattr(self, name)]
        if len(kinds) != 1:
            raise ValueError("needs exactly one of " + ", ".join(type(self).model_fields))
        return self


class Links(Part):
    """Addresses that notifications point to."""

    runbooks: Place = Field(description="folder or URL of the runbooks, without a slash at the end")


class Retention(Part):
    """How long each signal is kept."""

    metrics: Duration
    logs: Duration
    traces: Duration
    audit: Duration = Field(description="audit events, in PostgreSQL and as log lines in Loki")


class Keep(Part):
    """Which traces are kept by tail sampling."""

    errors: Literal["100%"] = "100%"
    slower_than: Duration
    rest: Percent

    @property
    def decided_after(self) -> str:
        """How long the collector waits for the spans of a trace, from the first on.

        A request that becomes slow while it runs is marked then; the mark needs up to a second to be sent, and more
        on a machine that is busy.
        """
        return f"{self.slower_than.seconds + 4:g}s"


class Traces(Part):
    """Where traces are stored, and which."""

    stores: Annotated[tuple[Store, ...], Field(min_length=1)]
    keep: Keep


class Stack(Part):
    """The whole model."""

    project: Slug = Field(description="name of the compose project")
    version: Version
    services: Annotated[tuple[Service, ...], Field(min_length=1)]
    servers: dict[ServerName, Server]
    images: dict[Slug, Image]
    networks: dict[Slug, Network]
    publish: Publish
    service_memory: Size
    traffic: Traffic = Traffic()
    faults: bool = Field(False, strict=True, description="bundled services take faults on demand (docs/faults.md)")
    scrape: ScrapeClasses
    alerts: Alerts
    receivers: dict[Slug, Receiver]
    routes: dict[Route, tuple[Slug, ...]] = Field(
        description="receivers by severity, and those of the dead-man's switch"
    )
    links: Links
    retention: Retention
    traces: Traces

    @property
    def bundled(self) -> tuple[Service, ...]:
        """The services that run in the bundle."""
        return tuple(service for service in self.services if service.bundled)

    @property
    def running(self) -> dict[str, Server]:
        """The servers that this model runs: trace stores when chosen, traffic with a rate, helpers with theirs."""
        unused = {store for store in ("tempo", "jaeger") if store not in self.traces.stores}
        unused |= {name for name, served in SERVES.items() if served not in self.servers}
        if self.traffic.rate == 0:
            unused.add("traffic")
        return {name: server for name, server in self.servers.items() if name not in unused}

    @property
    def faults_port(self) -> int | None:
        """Where a bundled service takes faults, inside its container; None when the model does not turn them on."""
        return FAULTS_PORT if self.faults else None

    @property
    def hears_watchdog(self) -> bool:
        """Whether the receiver of the bundle is among those that Watchdog is sent to."""
        own = f"http://receiver:{self.servers['receiver'].port}/"
        webhooks = [self.receivers[name].webhook for name in self.routes["watchdog"]]
        return any(webhook is not None and webhook.url.startswith(own) for webhook in webhooks)

    @property
    def ships_logs(self) -> bool:
        """Whether log lines of containers reach Loki."""
        return "promtail" in self.running

    @property
    def containers(self) -> tuple[str, ...]:
        """Names of all containers of the bundle that stay up (those of ONE_SHOT do not)."""
        return (*(name for name in self.running if name not in ONE_SHOT), *(service.name for service in self.bundled))

    @property
    def one_shots(self) -> tuple[str, ...]:
        """Names of the containers that end after their work."""
        return tuple(name for name in self.running if name in ONE_SHOT)

    @property
    def on_postgres(self) -> tuple[Service, ...]:
        """The bundled services that use the PostgreSQL of the bundle."""
        return tuple(s for s in self.bundled if "postgres" in s.depends_on and "postgres" in self.running)

    @property
    def known_names(self) -> tuple[str, ...]:
        """Names of services and hosts that the model has given, which a discovered service cannot take."""
        return tuple(sorted({*self.servers, *(service.name for service in self.services)}))

    @property
    def shared_networks(self) -> tuple[str, ...]:
        """Networks on which Prometheus reaches a container of somebody else's, as the engine names them."""
        return tuple(f"{self.project}_{network}" for network in self.servers["prometheus"].networks)

    def networks_of(self, service: Service) -> tuple[str, ...]:
        """The networks of a bundled service: it reaches databases only when it depends on one."""
        needs_data = any("data" in self.servers[name].networks for name in service.depends_on if name in self.servers)
        return ("edge", "app", "telemetry", *(("data",) if needs_data else ()))

    def port_of(self, container: str) -> int:
        """The port that a container of the bundle listens on. KeyError when it has none."""
        ports = {service.name: service.port for service in self.bundled}
        ports.update({name: server.port for name, server in self.running.items()})
        port = ports[container]
        if port is None:
            raise KeyError(container)
        return port

    def url_of(self, container: str) -> str | None:
        """The address of a published container on this machine; None when it is not published."""
        port = self.publish.ports.get(container)
        if port is None or container not in self.containers:
            return None
        host = "127.0.0.1" if self.publish.address == "0.0.0.0" else self.publish.address
        return f"http://{host}:{port}"

    @property
    def secret_files(self) -> tuple[SecretFile, ...]:
        """The secrets that the user has to supply for the receivers of this model; receivers may share one."""
        kinds = [kind for receiver in self.receivers.values() for _, kind in receiver if kind is not None]
        return tuple(dict.fromkeys(value for kind in kinds for _, value in kind if isinstance(value, SecretFile)))
