"""Promtail on its own configuration."""

from collections.abc import Iterator

from .base import Context, Finding, Skipped


def check(context: Context) -> Iterator[Finding | Skipped]:
    """The configuration is accepted by ``promtail -check-syntax``."""
    arguments = ["-check-syntax", "-config.file=/etc/promtail/promtail.yml"]
    yield from context.tool("promtail-config", "promtail", "/usr/bin/promtail", arguments, "promtail", "/etc/promtail")
