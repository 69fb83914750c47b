"""Metrics of one process. The label ``service`` is put on every sample here and nowhere else."""

from collections.abc import Iterable, Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

# Seconds. An alert on a quantile over 2 or 30 s needs a bound exactly there and finite ones above: histogram_quantile
# draws a line between two bounds, and of what lies beyond the last finite one it knows no more than that one.
DURATION_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)

# *_created would double the number of series, and Prometheus does not need them.
disable_created_metrics()  # type: ignore[no-untyped-call]


class _WithService(Collector):
    """A view of a registry in which every sample carries the label ``service``."""

    def __init__(self, registry: CollectorRegistry, service: str) -> None:
        self._registry = registry
        self._service = service

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            metric.samples = [s._replace(labels={"service": self._service, **s.labels}) for s in metric.samples]
            yield metric


class Metrics:
    """Factory and exposition of the metrics of one service."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.registry = CollectorRegistry()
        self._exposed = _WithService(self.registry, service)
        ProcessCollector(registry=self.registry)

    def counter(self, name: str, documentation: str, labels: Iterable[str] = ()) -> Counter:
        """A counter; ``name`` ends in ``_total``."""
        return Counter(name, documentation, tuple(labels), registry=self.registry)

    def gauge(self, name: str, documentation: str, labels: Iterable[str] = ()) -> Gauge:
        """A gauge."""
        return Gauge(name, documentation, tuple(labels), registry=self.registry)

    def histogram(
        self,
        name: str,
        documentation: str,
        labels: Iterable[str] = (),
        bounds: tuple[float, ...] = DURATION_BOUNDS,
    ) -> Histogram:
        """A histogram; ``bounds`` in the unit of the name (seconds unless said otherwise)."""
        return Histogram(name, documentation, tuple(labels), registry=self.registry, buckets=bounds)

    def expose(self, accept: str) -> tuple[bytes, str]:
        """Body and content type for an Accept header: OpenMetrics with exemplars where asked for."""
        encoder, content_type = choose_encoder(accept)
        return encoder(self._exposed), content_type
