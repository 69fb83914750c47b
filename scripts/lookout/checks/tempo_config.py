"""Tempo on its own configuration."""

from collections.abc import Iterator

from .base import Context, Finding, Skipped


def check(context: Context) -> Iterator[Finding | Skipped]:
    """The configuration is accepted by ``tempo -config.verify``, which fails on a warning too."""
    arguments = ["-config.file=/etc/tempo/tempo.yaml", "-config.verify=true"]
    yield from context.tool("tempo-config", "tempo", "/tempo", arguments, "tempo", "/etc/tempo")
