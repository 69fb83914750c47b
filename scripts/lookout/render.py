"""Model → {path: text}. Pure: the same model and images give the same bytes, and nothing is touched.

Templates are Jinja with ``${{ value }}`` and ``{% %}``, since ``{{ }}`` belongs to Prometheus, Alertmanager,
Promtail and Grafana. An undefined variable is an error.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import jinja2
import yaml

from . import dashboards, fixtures, names, notify, secrets
from .model import VISITED, Image, Scrape, Service, Stack, generated_secrets, role_of, secret_of_role

ROOT: Final = Path(__file__).resolve().parents[2]
"""The folder that holds the templates: the checkout."""

FOLDERS: Final[Mapping[str, str]] = {
    "prometheus": "prometheus",
    "alertmanager": "alertmanager",
    "grafana": "grafana",
    "loki": "loki",
    "promtail": "promtail",
    "tempo": "tempo",
    "jaeger": "jaeger",
    "collector": "otel-collector",
    "blackbox": "blackbox-exporter",
}
"""Folder of templates → the server it configures; rendered only when that server runs."""

STATEFUL: Final = (
    "prometheus", "alertmanager", "grafana", "loki", "promtail", "tempo", "jaeger", "postgres", "redis", "receiver",
    "discoverer",
)  # fmt: skip
"""Servers with a named volume of their own."""


@dataclass(frozen=True)
class ImageUse:
    """The image a container runs from, and whether it was built here rather than upstream."""

    reference: str
    built: bool = False


def as_written(stack: Stack) -> dict[str, ImageUse]:
    """The images as the model names them: upstream references, and Lookout's own by version."""
    return {name: _as_written(stack, image) for name, image in stack.images.items()}


def _as_written(stack: Stack, image: Image) -> ImageUse:
    return ImageUse(image.reference) if image.reference else ImageUse(f"lookout/{image.recipe}:{stack.version}", True)


def render(stack: Stack, images: Mapping[str, ImageUse] | None = None) -> dict[str, str]:
    """Every file of the bundle, by path relative to its root.

    Raises jinja2.TemplateError when a template is wrong, such as one that uses an undefined variable.
    """
    environment = _environment(stack, images or as_written(stack))
    files: dict[str, str] = {}
    for folder in FOLDERS:
        files |= _folder(environment, stack, folder)
    if "grafana" in stack.running:
        for uid, dashboard in dashboards.build(stack).items():
            files[f"grafana/dashboards/{uid}.json"] = json.dumps(dashboard, indent=2, sort_keys=True) + "\n"
    environment.globals["config_hash"] = lambda folder: _digest(files, folder)
    for target in ("compose.yaml", "bootstrap.sh"):
        source_name = f"compose/templates/{target}.j2"
        files[target] = _headed(target, environment.get_template(source_name).render(), source_name)
    return dict(sorted(files.items()))


def render_folder(stack: Stack, images: Mapping[str, ImageUse], folder: str) -> dict[str, str]:
    """The same files of one folder of ``FOLDERS`` alone, without dashboards; none where its server does not run."""
    return _folder(_environment(stack, images), stack, folder)


def _folder(environment: jinja2.Environment, stack: Stack, folder: str) -> dict[str, str]:
    files: dict[str, str] = {}
    if FOLDERS[folder] not in stack.running:
        return files
    for source in sorted((ROOT / folder).rglob("*.j2")):
        relative = source.relative_to(ROOT)
        target = "/".join(part for part in relative.parts if part != "templates").removesuffix(".j2")
        files[target] = _headed(target, environment.get_template(str(relative)).render(), str(relative))
    return files


def _environment(stack: Stack, images: Mapping[str, ImageUse]) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ROOT),
        variable_start_string="${{",
        variable_end_string="}}",
        comment_start_string="{##",
        comment_end_string="##}",
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    service_image = images["services"].reference if "services" in images else ""
    resource = f"service.version={stack.version},vcs.ref.head.revision={service_image.rpartition(':')[2]}"
    environment.filters["yaml"] = _flow
    environment.filters["block"] = _block
    environment.globals.update(
        stack=stack,
        servers=stack.running,
        images={name: images[server.image] for name, server in stack.running.items()},
        service_image=service_image,
        resource=resource,
        names=names,
        environment_of=lambda service: _environment_of(stack, service, resource),
        ports=lambda name: _ports(stack, name),
        store_exporters=", ".join(f"otlphttp/{store}" for store in stack.traces.stores),
        links=partial(_links, stack),
        receivers=notify.receivers(stack),
        targets=_targets(stack),
        secrets_of=lambda service: secrets.of_service(stack, service),
        database_roles=[role_of(service) for service in stack.on_postgres],
        setup_secrets=secrets.of_setup(stack),
        receiver_secrets=[secret.name for secret in stack.secret_files],
        generated_secrets={name: secrets.shell_value(stack, name) for name in generated_secrets(stack)},
        secret_files={name: {"file": f"./secrets/{name}"} for name in secrets.all_of(stack)},
        networks={name: {"internal": True} if network.internal else {} for name, network in stack.networks.items()},
        volumes={name: {} for name in ("probe", *(f"{name}-data" for name in STATEFUL if name in stack.running))},
        failed=stack.alerts.service_down.failed_scrapes,
        errors=fixtures.errors(stack),
        restarts=fixtures.restarts(stack),
        windows=_windows(stack),
        warm=fixtures.warm(stack),
        live=lambda count: _scrapes(stack.scrape.critical, count),
        standard=lambda count: _scrapes(stack.scrape.standard, count),
    )
    return environment


def _flow(value: Any) -> str:
    """A value on one line, in YAML that is JSON too."""
    return json.dumps(value, ensure_ascii=False, default=str)


def _block(value: Any, indent: int = 0) -> str:
    """A value over several lines, indented to stand where the template puts it."""
    text = yaml.safe_dump(_plain(value), sort_keys=False, default_flow_style=False, width=1000).rstrip("\n")
    return text.replace("\n", "\n" + " " * indent)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(child) for child in value]
    return str(value) if isinstance(value, str) else value


def _headed(target: str, text: str, source: str) -> str:
    """The text with a line that names its source, after a shebang where there is one."""
    header = f"# Rendered by Lookout from stack.yaml and {source}: do not edit, run `make render`.\n"
    if target.endswith(".tmpl"):
        header = "{{/* " + header.strip("# \n") + " */}}\n"
    if text.startswith("#!"):
        first, rest = text.split("\n", 1)
        return f"{first}\n{header}{rest}"
    return header + text


def _links(stack: Stack, alert: str, service: str | None = "{{ $labels.service }}") -> dict[str, str]:
    """The annotations of an alert that lead on: to its runbook and, where Grafana is published, to a dashboard.

    The dashboard shows one service, that of the alert unless another is named; with None it shows all.
    """
    runbook = {"runbook_url": f"{stack.links.runbooks}/{alert}.md"}
    grafana = stack.url_of("grafana")
    if grafana is None:
        return runbook
    chosen = "" if service is None else f"?var-service={service}"
    return {**runbook, "dashboard_url": f"{grafana}/d/overview{chosen}"}


def _digest(files: Mapping[str, str], folder: str) -> str:
    """A short fingerprint of the files of a folder: a container labelled with it is replaced when they change."""
    digest = hashlib.sha256()
    for path, text in sorted(files.items()):
        if path.startswith(f"{folder}/"):
            digest.update(f"{path}\0{text}\0".encode())
    return digest.hexdigest()[:12]


def _ports(stack: Stack, name: str) -> list[str]:
    """What compose publishes for a container."""
    port = stack.publish.ports.get(name)
    return [] if port is None else [f"{stack.publish.address}:{port}:{stack.port_of(name)}"]


def _environment_of(stack: Stack, service: Service, resource: str) -> dict[str, str]:
    """The environment of a bundled service: who it is, where it sends traces, and what it depends on.

    ``resource`` says which version runs, as OTEL_RESOURCE_ATTRIBUTES has it.
    """
    keep = stack.traces.keep
    environment = {
        "OTEL_SERVICE_NAME": service.name,
        "PORT": str(service.port),
        "OTEL_RESOURCE_ATTRIBUTES": resource,
        "OTEL_TRACES_SAMPLER_ARG": f"{keep.rest.ratio:g}",
        "TRACE_KEEP_SLOWER_THAN_SECONDS": f"{keep.slower_than.seconds:g}",
    }
    if stack.faults_port:
        environment["FAULTS_PORT"] = str(stack.faults_port)
    environment |= secrets.variables(stack, service)
    if service.name in VISITED:
        callers = [other.name for other in stack.bundled if service.name in other.depends_on]
        environment["TRUSTED_PROXIES"] = ",".join([*callers, *(["traffic"] if "traffic" in stack.running else [])])
    if "otel-collector" in stack.running:
        environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://otel-collector:{stack.port_of('otel-collector')}"
    outside = {other.name: other.target for other in stack.services}
    for name in service.depends_on:
        if name in stack.servers and name not in stack.running:
            continue
        if name == "postgres":
            role = role_of(service)
            environment["DATABASE_URL"] = f"postgresql://{role}@postgres:{stack.port_of(name)}/lookout"
            environment["DATABASE_PASSWORD_FILE"] = secrets.path_of(secret_of_role(role))
        elif name == "redis":
            environment["REDIS_URL"] = f"redis://redis:{stack.port_of(name)}/0"
            environment["REDIS_PASSWORD_FILE"] = secrets.path_of("redis_password")
        elif name in outside:
            environment[f"UPSTREAM_{name.upper().replace('-', '_')}"] = f"http://{outside[name]}"
        else:
            environment[f"UPSTREAM_{name.upper().replace('-', '_')}"] = f"http://{name}:{stack.port_of(name)}"
    return environment


def _targets(stack: Stack) -> dict[str, list[dict[str, Any]]]:
    """Scrape targets with their labels, by the file of targets they stand in."""

    def service_group(service: Service) -> dict[str, Any]:
        labels = {"service": service.name, "team": service.owner, "tier": service.tier}
        return {"targets": [service.target], "labels": labels}

    def server_groups(wanted: Iterable[str]) -> list[dict[str, Any]]:
        return [
            {"targets": [f"{name}:{stack.running[name].metrics}"], "labels": {"service": name, "team": "observability"}}
            for name in wanted
            if stack.running[name].metrics
        ]

    slow = [name for name in ("cadvisor", "node-exporter") if name in stack.running]
    return {
        names.JOB_SERVICES: [service_group(service) for service in stack.services],
        names.JOB_LIVE: [service_group(service) for service in stack.bundled if service.tier == "critical"],
        names.JOB_SERVERS: server_groups(name for name in stack.running if name not in slow),
        names.JOB_SLOW: server_groups(slow),
        names.JOB_PROBES: [
            {
                "targets": [f"http://{service.target}{names.HEALTH_PATH}"],
                "labels": {"service": service.name, "team": service.owner},
            }
            for service in stack.bundled
        ],
    }


def _windows(stack: Stack) -> dict[str, Any]:
    """The windows of ServiceDown: enough scrapes, and for those that hang the timeout of the last one too."""
    count = stack.alerts.service_down.failed_scrapes
    live, standard = stack.scrape.critical, stack.scrape.standard
    return {
        "live": _scrapes(live, count),
        "live_hanging": _duration(live.interval.milliseconds * count + live.timeout.milliseconds),
        "standard": _scrapes(standard, count),
        "standard_hanging": _duration(standard.interval.milliseconds * count + standard.timeout.milliseconds),
        "live_watched": _watched(live, count),
        "standard_watched": _watched(standard, count),
        "evaluation": _duration(live.interval.milliseconds // 2),
    }


def _watched(scrape: Scrape, count: int) -> dict[str, Any]:
    """A minute, or one scrape more than must fail; one that Prometheus was away from for a few seconds counts too."""
    window = max(60_000, scrape.interval.milliseconds * (count + 1))
    return {"window": _duration(window), "samples": max(count, int(window / scrape.interval.milliseconds * 0.85))}


def _scrapes(scrape: Scrape, count: int) -> str:
    """The time that a number of scrapes takes, as a Prometheus duration."""
    return _duration(scrape.interval.milliseconds * count)


def _duration(milliseconds: int) -> str:
    """A Prometheus duration in the largest unit that is whole."""
    for unit, size in (("m", 60_000), ("s", 1_000)):
        if milliseconds and milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"
