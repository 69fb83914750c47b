"""amtool on the routes: which labels reach which receiver."""

from collections.abc import Iterator

import yaml

from .base import Context, Finding, Skipped


def check(context: Context) -> Iterator[Finding | Skipped]:
    """Each case of routes.test.yaml reaches the receiver that it names."""
    for case in yaml.safe_load(context.files["alertmanager/routes.test.yaml"]):
        labels = [f"{name}={value}" for name, value in case["labels"].items()]
        arguments = ["config", "routes", "test", "--config.file=/etc/alertmanager/alertmanager.yml",
                     f"--verify.receivers={case['receiver']}", *labels]  # fmt: skip
        yield from context.tool(
            "alertmanager-routes", "alertmanager", "/bin/amtool", arguments, "alertmanager", "/etc/alertmanager"
        )
