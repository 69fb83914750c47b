"""amtool on the configuration of Alertmanager."""

from collections.abc import Iterator

from .base import Context, Finding, Skipped


def check(context: Context) -> Iterator[Finding | Skipped]:
    """The configuration and its templates are accepted by amtool."""
    arguments = ["check-config", "/etc/alertmanager/alertmanager.yml"]
    yield from context.tool(
        "alertmanager-config", "alertmanager", "/bin/amtool", arguments, "alertmanager", "/etc/alertmanager"
    )
