"""The OpenTelemetry Collector on its own configuration."""

from collections.abc import Iterator

from .base import Context, Finding, Skipped


def check(context: Context) -> Iterator[Finding | Skipped]:
    """The configuration is accepted by the ``validate`` command of the collector that runs it."""
    use = context.chosen.images.get("otel-collector")
    entrypoint = "/cmd/jaeger/jaeger-linux" if use and use.built else "/otelcol-contrib"
    arguments = ["validate", "--config=/etc/otel-collector/collector.yaml"]
    yield from context.tool(
        "collector-config", "otel-collector", entrypoint, arguments, "collector", "/etc/otel-collector"
    )
