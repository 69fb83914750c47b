"""Jaeger on its own configuration."""

from collections.abc import Iterator

from .base import Context, Finding, Skipped


def check(context: Context) -> Iterator[Finding | Skipped]:
    """Where Jaeger is a trace store, its configuration is accepted by its ``validate`` command."""
    arguments = ["validate", "--config=/etc/jaeger/jaeger.yaml"]
    yield from context.tool("jaeger-config", "jaeger", "/cmd/jaeger/jaeger-linux", arguments, "jaeger", "/etc/jaeger")
