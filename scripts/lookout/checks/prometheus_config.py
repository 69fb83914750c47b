"""promtool on the configuration of Prometheus."""

from collections.abc import Iterator

from .base import Context, Finding, Skipped


def check(context: Context) -> Iterator[Finding | Skipped]:
    """The configuration, with the rules that it loads, is accepted by promtool."""
    arguments = ["check", "config", "--lint=all", "--lint-fatal", "prometheus.yml"]
    yield from context.tool(
        "prometheus-config", "prometheus", "/bin/promtool", arguments, "prometheus", "/etc/prometheus"
    )
