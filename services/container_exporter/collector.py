"""Metrics of all running containers, read anew at each scrape. Names and labels are cAdvisor's."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from container_exporter.cgroup import Cgroups, Usage
from container_exporter.engine import Container, running

LABELS = (
    "id",
    "name",
    "image",
    "container_label_com_docker_compose_service",
    "container_label_com_docker_compose_project",
)
GAUGES = {
    "container_memory_usage_bytes": "Memory in use, with file pages.",
    "container_memory_working_set_bytes": "Memory in use without inactive file pages.",
    "container_spec_memory_limit_bytes": "Memory limit, 0 where there is none.",
    "container_start_time_seconds": "Start of the container in Unix seconds.",
    "container_last_seen": "When the container was last seen, in Unix seconds.",
}
Log = Callable[[str], None]


class Containers(Collector):
    """Reads the host's folders ``cgroup`` and ``containers``; ``log`` gets what is not readable."""

    def __init__(self, cgroup: Path, containers: Path, log: Log) -> None:
        self._cgroups = Cgroups(cgroup)
        self._folder = containers
        self._log = log

    def describe(self) -> list[Metric]:
        """Nothing: a registration must not read the host."""
        return []

    def collect(self) -> Iterator[Metric]:
        cpu = CounterMetricFamily("container_cpu_usage_seconds_total", "CPU time.", labels=[*LABELS, "cpu"])
        gauges = {name: GaugeMetricFamily(name, text, labels=LABELS) for name, text in GAUGES.items()}
        found, unreadable = running(self._folder)
        failures = len(unreadable)
        for line in unreadable:
            self._log(line)
        for container, path, usage in self._read(found):
            if usage is None:
                failures += 1
                continue
            labels = (path, container.name, container.image, container.service, container.project)
            cpu.add_metric([*labels, "total"], usage.cpu_seconds)
            values = (usage.memory, usage.working_set, container.memory_limit, container.started, time.time())
            for gauge, value in zip(gauges.values(), values, strict=True):
                gauge.add_metric(labels, value)
        yield cpu
        yield from gauges.values()
        yield GaugeMetricFamily("container_scrape_error", "1 where something could not be read.", float(failures > 0))

    def check(self) -> str | None:
        """What is wrong with the mounts; None where nothing is."""
        try:
            found, failures = running(self._folder)
        except OSError as error:
            return f"{self._folder}: {error.strerror}"
        if failures:
            return failures[0]
        if found and not self._cgroups.find([container.id for container in found]):
            return "no cgroup of a running container is visible"
        return None

    def _read(self, found: list[Container]) -> Iterator[tuple[Container, str, Usage | None]]:
        """Each container with its cgroup and usage; no usage where that cannot be read."""
        paths = self._cgroups.find([container.id for container in found])
        for container in found:
            path = paths.get(container.id)
            try:
                usage = self._cgroups.read(path) if path else None
            except FileNotFoundError:
                # Stopped between the two readings: what is gone has no usage, and that is no failure.
                continue
            except (OSError, ValueError) as error:
                self._log(f"{container.name}: {error}")
                usage = None
            if path is None:
                self._log(f"{container.name}: no cgroup found")
            yield container, path or "", usage
