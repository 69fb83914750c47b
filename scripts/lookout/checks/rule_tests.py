"""The unit tests of the rules, run by promtool."""

from collections.abc import Iterator

import yaml

from .base import Context, Finding, Skipped


def check(context: Context) -> Iterator[Finding | Skipped]:
    """Every rule file has tests that name each of its alerts, and they pass."""
    tests: list[str] = []
    for path, text in context.files.items():
        if not path.endswith(".rules.yml"):
            continue
        test = path.replace(".rules.yml", ".test.yml")
        if test not in context.files:
            yield Finding("rule-tests", f"rendered/{path}", "has no test file beside it")
            continue
        tests.append(test.removeprefix("prometheus/"))
        alerts = {
            rule["alert"] for group in yaml.safe_load(text)["groups"] for rule in group["rules"] if "alert" in rule
        }
        tested = {
            case["alertname"]
            for unit in yaml.safe_load(context.files[test])["tests"]
            for case in unit.get("alert_rule_test", ())
            if case.get("exp_alerts")
        }
        for alert in sorted(alerts - tested):
            yield Finding("rule-tests", f"rendered/{test}", f"has no case in which {alert} fires")
    yield from context.tool(
        "rule-tests", "prometheus", "/bin/promtool", ["test", "rules", *tests], "prometheus", "/etc/prometheus"
    )
