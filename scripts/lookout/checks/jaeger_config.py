"""Jaeger on its own configuration."""

from collections.abc import Iterator

from .base import Context, Finding, Skipped


def check(context: Context) -> Iterator[Finding | Skipped]:
    """Where Jaeger is a trace store, by the model or here, its ``validate`` accepts its configuration."""
    arguments = ["validate", "--config=/etc/jaeger/jaeger.yaml"]
    yield from context.tool("jaeger-config", "jaeger", "/cmd/jaeger/jaeger-linux", arguments, "jaeger", "/etc/jaeger")
