"""What Prometheus should scrape and evaluate, and whether it does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import names
from .servers import Live
from .verdict import Containers, Missing, question, since, without

FRESH_SECONDS = 60
"""A sample older than this, or than three scrapes, is not live."""


@question("targets up", of="prometheus")
def targets(live: Live, _found: Containers) -> tuple[int, Missing]:
    """Every target that Prometheus was told of is one, and its last scrape went well."""
    known = [target for target in live.targets() if not _is_discovered(target)]
    missing = [
        (target["labels"].get("service", target["labels"]["instance"]), f"{target['scrapePool']}: {_state(target)}")
        for target in known
        if target["health"] != "up"
    ]
    there = {(target["scrapePool"], target["discoveredLabels"]["__address__"]) for target in known}
    absent = expected_targets(live) - there
    missing += [(address, f"{job}: is no target of Prometheus") for job, address in sorted(absent)]
    return len(known) + len(absent), missing


def expected_targets(live: Live) -> set[tuple[str, str]]:
    """(job, address) of each target that Prometheus was told of."""
    expected: set[tuple[str, str]] = set()
    for job in live.rendered("prometheus/prometheus.yml")["scrape_configs"]:
        groups = list(job.get("static_configs", []))
        for discovery in job.get("file_sd_configs", []):
            for file in discovery["files"]:
                # A file outside the project is written by the stack itself: what stands there is expected by nobody.
                groups += [] if file.startswith("/") else live.rendered(f"prometheus/{file}")
        expected |= {(job["job_name"], address) for group in groups for address in group["targets"]}
    return expected


def discovered(live: Live) -> list[tuple[str, str]]:
    """(service, "up" or why not) of each target that was discovered: told by `status`, and required by nothing.

    Raises NotYet where Prometheus does not answer.
    """
    return sorted((target["labels"]["service"], _state(target)) for target in live.targets() if _is_discovered(target))


def _is_discovered(target: Mapping[str, Any]) -> bool:
    found_in = target["discoveredLabels"].get("__meta_filepath", "")
    return str(found_in).startswith(f"{names.DISCOVERED_FOLDER}/")


def _state(target: Mapping[str, Any]) -> str:
    return "up" if target["health"] == "up" else str(target["lastError"] or target["health"])


@question("rules evaluated", of="prometheus")
def rules(live: Live, _found: Containers) -> tuple[int, Missing]:
    """Every rule that was rendered is one of Prometheus, and its last evaluation went well."""
    known = [rule for group in live.rules() for rule in group["rules"]]
    missing = [
        (rule["name"], rule.get("lastError") or "has not been evaluated yet")
        for rule in known
        if rule["health"] != "ok"
    ]
    written = {
        rule.get("alert") or rule["record"]
        for path in (live.folder / "prometheus" / "rules").glob("*.rules.yml")
        for group in live.rendered(f"prometheus/rules/{path.name}")["groups"]
        for rule in group["rules"]
    }
    absent = sorted(written - {rule["name"] for rule in known})
    missing += [(name, "is no rule of Prometheus") for name in absent]
    return len(known) + len(absent), missing


@question("configurations accepted", of="prometheus")
def configurations(live: Live, _found: Containers) -> tuple[int, Missing]:
    """The servers that read their configuration again took what they read last."""
    wanted = ("prometheus", "alertmanager")
    asked = " or ".join(f'{name}_config_last_reload_successful{{service="{name}"}} == 1' for name in wanted)
    taken = {result["metric"]["service"] for result in live.query(asked)}
    return without(wanted, taken, "did not accept its configuration; its log says what is wrong")


@question("samples", of="prometheus")
def samples(live: Live, found: Containers) -> tuple[int, Missing]:
    """Each service, in the bundle or outside, has a sample from now."""
    seconds = max(FRESH_SECONDS, 3 * live.stack.scrape.standard.interval.seconds)
    # A bare selector, or timestamp() gives the time of the question.
    up = f'up{{job="{names.JOB_SERVICES}"}}'
    results = live.query(f"max by (service) (timestamp({up}) and {up} == 1)")
    times = {result["metric"]["service"]: float(result["value"][1]) for result in results}
    fresh = {name for name, at in times.items() if at > since(found, seconds, name, "prometheus")}
    return without((service.name for service in live.stack.services), fresh, "no fresh sample in Prometheus")
