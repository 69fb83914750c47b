"""Loki on its own configuration."""

from collections.abc import Iterator

from .base import Context, Finding, Skipped


def check(context: Context) -> Iterator[Finding | Skipped]:
    """The configuration is accepted by ``loki -verify-config``."""
    arguments = ["-verify-config", "-config.file=/etc/loki/loki.yaml"]
    yield from context.tool("loki-config", "loki", "/usr/bin/loki", arguments, "loki", "/etc/loki")
