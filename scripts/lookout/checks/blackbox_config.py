"""blackbox_exporter on its own configuration."""

from collections.abc import Iterator

from .base import Context, Finding, Skipped


def check(context: Context) -> Iterator[Finding | Skipped]:
    """The configuration is accepted by ``blackbox_exporter --config.check``."""
    arguments = ["--config.check", "--config.file=/etc/blackbox/blackbox.yml"]
    yield from context.tool(
        "blackbox-config", "blackbox-exporter", "/bin/blackbox_exporter", arguments, "blackbox", "/etc/blackbox"
    )
