"""amtool on the routes: which labels reach which receiver."""

from collections.abc import Iterator

import yaml

from .base import Context, Finding, Skipped

CASES = "alertmanager/routes.test.yaml"


def check(context: Context) -> Iterator[Finding | Skipped]:
    """Each case of routes.test.yaml reaches the receiver that it names, and each receiver has a case."""
    cases = yaml.safe_load(context.files[CASES]) or []
    receivers = {one["name"] for one in yaml.safe_load(context.files["alertmanager/alertmanager.yml"])["receivers"]}
    for receiver in sorted(receivers - {case["receiver"] for case in cases}):
        yield Finding("alertmanager-routes", f"rendered/{CASES}", f"has no case that reaches the receiver {receiver}")
    for case in cases:
        labels = [f"{name}={value}" for name, value in case["labels"].items()]
        arguments = ["config", "routes", "test", "--config.file=/etc/alertmanager/alertmanager.yml",
                     f"--verify.receivers={case['receiver']}", *labels]  # fmt: skip
        for result in context.tool(
            "alertmanager-routes", "alertmanager", "/bin/amtool", arguments, "alertmanager", "/etc/alertmanager"
        ):
            yield result
            if isinstance(result, Skipped):
                return
