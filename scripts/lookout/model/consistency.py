"""What types cannot say: names that must exist, be unique or agree with each other."""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Callable, Collection, Iterator
from typing import Final

from .generated import generated_secrets
from .stack import METERED, ONE_SHOT, VISITED, Stack
from .tree import Key
from .types import Duration, SecretFile

Finding = tuple[tuple[Key, ...], str, str]
"""Path in the model, cause, mend."""


def broken(stack: Stack) -> list[Finding]:
    """Everything inconsistent in a model whose types are right."""
    rules: tuple[Callable[[Stack], Iterator[Finding]], ...] = (
        _names,
        _host_ports,
        _dependencies,
        _servers,
        _published,
        _scrapes,
        _routes,
        _chats,
        _secrets,
        _retention,
        _patience,
        _share,
        _stores,
        _traffic,
        _faults,
    )
    return [finding for rule in rules for finding in rule(stack)]


def _suggest(word: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    if close:
        return f'did you mean "{close[0]}"?'
    return "known are: " + ", ".join(sorted(known)) if known else "there is none yet: add it, or remove this"


def _names(stack: Stack) -> Iterator[Finding]:
    seen: set[str] = set()
    for index, service in enumerate(stack.services):
        path = ("services", index, "name")
        if service.name in seen:
            yield path, f'a service named "{service.name}" stands twice', "rename one, or remove it"
        if service.name in stack.servers:
            yield path, f'"{service.name}" is the name of a server too', "rename the service"
        seen.add(service.name)


def _host_ports(stack: Stack) -> Iterator[Finding]:
    owners: dict[int, str] = {}
    for name, port in stack.publish.ports.items():
        if port in owners:
            yield (
                ("publish", "ports", name),
                f"port {port} of the host is given to {owners[port]} and to {name}",
                "give one of them another port",
            )
        owners.setdefault(port, name)
    addresses: dict[str, str] = {}
    ports: dict[int, str] = {}
    for index, service in enumerate(stack.services):
        if service.address:
            if service.address in addresses:
                yield (
                    ("services", index, "address"),
                    f"{service.address} is the address of {addresses[service.address]} and of {service.name}",
                    "a target belongs to one service",
                )
            addresses.setdefault(str(service.address), service.name)
        elif service.port is not None:
            if service.port in ports:
                yield (
                    ("services", index, "port"),
                    f"port {service.port} is used by {ports[service.port]} and by {service.name}",
                    "give each bundled service a port of its own",
                )
            ports.setdefault(service.port, service.name)


def _dependencies(stack: Stack) -> Iterator[Finding]:
    known = {service.name for service in stack.services} | set(stack.servers)
    for index, service in enumerate(stack.services):
        for place, name in enumerate(service.depends_on):
            path = ("services", index, "depends_on", place)
            where = f"services.{service.name}.depends_on"
            if name == service.name:
                yield path, f"{where} names the service itself", "remove it"
            elif name in ONE_SHOT:
                yield path, f"{where} names {name}, which serves nothing", "remove it"
            elif name not in known:
                yield path, f'{where} names "{name}", which is no service and no server', _suggest(name, known)


def _servers(stack: Stack) -> Iterator[Finding]:
    bundled_needs = ("otel-collector",) if stack.bundled else ()
    database_needs = ("postgres-setup",) if stack.on_postgres else ()
    for name in ("prometheus", "alertmanager", "probe", "receiver", *bundled_needs, *database_needs):
        if name not in stack.servers:
            yield ("servers",), f"{name} is missing", "a bundle with these services needs it: add it back"
    for name, server in stack.servers.items():
        if server.port is None and name not in ONE_SHOT:
            yield ("servers", name), f"servers.{name}.port is missing", "give it the port that it listens on"
        if server.metrics is None and name in METERED:
            yield ("servers", name), f"servers.{name}.metrics is missing", "give it the port of its own metrics"
        if server.image not in stack.images:
            yield (
                ("servers", name, "image"),
                f'servers.{name}.image names "{server.image}", which images does not have',
                _suggest(server.image, stack.images),
            )
        for place, network in enumerate(server.networks):
            if network not in stack.networks:
                yield (
                    ("servers", name, "networks", place),
                    f'servers.{name}.networks names "{network}", which networks does not have',
                    _suggest(network, stack.networks),
                )
    for network in ("edge", "app", "telemetry"):
        if network not in stack.networks:
            yield ("networks",), f'the network "{network}" is missing', "services need it: add it back"
    if "debian" not in stack.images and any(image.recipe for image in stack.images.values()):
        yield ("images",), 'the image "debian" is missing', "local recipes stand on it: add it back"
    if stack.bundled and "services" not in stack.images:
        yield ("images",), 'the image "services" is missing', "the bundled services run from it: add it back"


def _published(stack: Stack) -> Iterator[Finding]:
    known = {service.name for service in stack.bundled} | {n for n, server in stack.servers.items() if server.port}
    for name in stack.publish.ports:
        path = ("publish", "ports", name)
        if name not in known:
            yield path, f'publish.ports names "{name}", which is no container with a port', _suggest(name, known)
        elif name in stack.servers and "edge" not in stack.servers[name].networks:
            yield path, f"{name} is published but not on the network edge", f"add edge to servers.{name}.networks"
    if stack.publish.ports and "edge" in stack.networks and stack.networks["edge"].internal:
        yield (
            ("networks", "edge", "internal"),
            "networks.edge is internal, and the published ports are on it",
            "the engine publishes no port of an internal network: set it to false",
        )
    stores = stack.traces.stores if stack.bundled else ()
    for name in ("prometheus", "receiver", "loki", "grafana", *stores):
        if name in stack.running and name not in stack.publish.ports:
            yield (
                ("publish", "ports"),
                f"{name} is not published, so `up` cannot ask it",
                "give it a port of this machine",
            )
    try:
        ipaddress.IPv4Address(stack.publish.address)
    except ValueError:
        address = stack.publish.address
        yield ("publish", "address"), f"publish.address of {address} is no IPv4 address", "use 127.0.0.1"


def _scrapes(stack: Stack) -> Iterator[Finding]:
    for name, scrape in stack.scrape:
        if scrape.timeout.seconds > scrape.interval.seconds:
            yield (
                ("scrape", name, "timeout"),
                f"scrape.{name}.timeout of {scrape.timeout} is longer than its interval of {scrape.interval}",
                "Prometheus refuses that: shorten the timeout or lengthen the interval",
            )
        if scrape.interval.seconds < 0.25:
            yield (
                ("scrape", name, "interval"),
                f"scrape.{name}.interval of {scrape.interval} is below 250ms",
                "shorter intervals cost more than they tell: use 250ms or more",
            )


def _routes(stack: Stack) -> Iterator[Finding]:
    for severity, receivers in stack.routes.items():
        for place, name in enumerate(receivers):
            if name not in stack.receivers:
                yield (
                    ("routes", severity, place),
                    f'routes.{severity} names "{name}", which is no receiver',
                    _suggest(name, stack.receivers),
                )
    for route in ("critical", "warning", "info", "watchdog"):
        if not stack.routes.get(route):
            yield ("routes",), f"routes.{route} names no receiver", "name at least one, or its alerts reach nobody"


def _chats(stack: Stack) -> Iterator[Finding]:
    for name, receiver in stack.receivers.items():
        if receiver.telegram and receiver.telegram.chat_id == 0:
            yield (
                ("receivers", name, "telegram", "chat_id"),
                f"receivers.{name}.telegram.chat_id of 0 is no chat",
                "Alertmanager refuses that: use the id of the chat, such as -100123",
            )


def _secrets(stack: Stack) -> Iterator[Finding]:
    taken = generated_secrets(stack)
    for name, receiver in stack.receivers.items():
        for kind, settings in receiver:
            for key, value in settings or ():
                if isinstance(value, SecretFile) and value.name in taken:
                    yield (
                        ("receivers", name, kind, key),
                        f'receivers.{name}.{kind}.{key} names "{value}", which is a secret that the bundle generates',
                        "give the file another name, and name it so here",
                    )


def _retention(stack: Stack) -> Iterator[Finding]:
    for name in ("error_rate", "restarts"):
        window = getattr(stack.alerts, name).window
        if stack.retention.metrics.seconds < window.seconds:
            yield (
                ("retention", "metrics"),
                f"retention.metrics of {stack.retention.metrics} is shorter than alerts.{name}.window of {window}",
                f"keep metrics for {window} at least, or shorten the window",
            )
    window = stack.alerts.error_rate.window
    if window.seconds < 4 * stack.scrape.standard.interval.seconds:
        yield (
            ("alerts", "error_rate", "window"),
            f"alerts.error_rate.window of {window} holds fewer than four scrapes of {stack.scrape.standard.interval}",
            "a rate over so few samples is noise: lengthen the window",
        )
    restarts, interval = stack.alerts.restarts, stack.scrape.slow.interval
    if restarts.window.seconds < (restarts.more_than + 2) * interval.seconds:
        yield (
            ("alerts", "restarts", "window"),
            f"alerts.restarts.window of {restarts.window} is too short to see more than {restarts.more_than} restarts "
            f"in scrapes of {interval}",
            f"lengthen the window to {restarts.more_than + 2} scrapes at least, or allow fewer restarts",
        )
    if not 0 < stack.alerts.error_rate.above.number < 100:
        yield (
            ("alerts", "error_rate", "above"),
            f"alerts.error_rate.above of {stack.alerts.error_rate.above} can never or always be exceeded",
            "use more than 0% and less than 100%",
        )
    for signal in ("logs", "traces", "audit"):
        kept = getattr(stack.retention, signal)
        if kept.seconds < 24 * 3600 or kept.seconds % 3600:
            yield (
                ("retention", signal),
                f"retention.{signal} of {kept} is not a whole number of hours of at least a day",
                "Loki and Tempo delete by day and count in hours: use 24h, 1d or more",
            )
    if stack.retention.audit.seconds < stack.retention.logs.seconds:
        yield (
            ("retention", "audit"),
            f"retention.audit of {stack.retention.audit} is shorter than retention.logs of {stack.retention.logs}",
            "keep audit events at least as long as other log lines",
        )


_LONGEST: Final = Duration("6h")
_SCRAPES: Final = 7000
"""What an alert may look back on. Its tests hold a sample for every step of it, and promtool, as seen of 3.5, reads
10,000 samples a query at most; `lookout check` gives it two minutes."""


def _patience(stack: Stack) -> Iterator[Finding]:
    rate = stack.alerts.error_rate
    for key, time in (("window", rate.window), ("for", rate.for_)):
        if time.seconds > _LONGEST.seconds:
            yield (
                ("alerts", "error_rate", key),
                f"alerts.error_rate.{key} of {time} is longer than {_LONGEST}",
                f"promtool could not test the alert in time: use {_LONGEST} or less",
            )
    window, interval = stack.alerts.restarts.window, stack.scrape.slow.interval
    if window.seconds > _SCRAPES * interval.seconds:
        yield (
            ("alerts", "restarts", "window"),
            f"alerts.restarts.window of {window} holds more than {_SCRAPES} scrapes of {interval}",
            "promtool could not test the alert: shorten the window, or scrape less often",
        )


def _share(stack: Stack) -> Iterator[Finding]:
    if stack.traces.keep.rest.number == 0:
        yield (
            ("traces", "keep", "rest"),
            "traces.keep.rest of 0% leaves no trace of a request that went well",
            "`up` could not see that traces arrive: keep a share, such as 0.1%",
        )
    if stack.traces.keep.slower_than.seconds > 600:
        yield (
            ("traces", "keep", "slower_than"),
            f"traces.keep.slower_than of {stack.traces.keep.slower_than} is longer than ten minutes",
            "the collector keeps all spans in memory for that long before it decides: use 10m or less",
        )


def _stores(stack: Stack) -> Iterator[Finding]:
    if len(set(stack.traces.stores)) != len(stack.traces.stores):
        yield ("traces", "stores"), "traces.stores names a store twice", "name each once"
    for place, store in enumerate(stack.traces.stores):
        if store not in stack.servers:
            yield (
                ("traces", "stores", place),
                f'traces.stores names "{store}", which servers does not have',
                "add it to servers",
            )


def _traffic(stack: Stack) -> Iterator[Finding]:
    bundled = {service.name for service in stack.bundled}
    for name in VISITED:
        if "traffic" in stack.running and name not in bundled:
            yield (
                ("traffic", "rate"),
                f"traffic.rate is more than 0, and the {name}, which the generator visits, is not in the bundle",
                "set traffic.rate to 0",
            )


def _faults(stack: Stack) -> Iterator[Finding]:
    for index, service in enumerate(stack.services):
        if service.port is not None and service.port == stack.faults_port:
            yield (
                ("services", index, "port"),
                f"{service.name} listens on {service.port}, where a service takes faults",
                "give it another port, or set faults to false",
            )
