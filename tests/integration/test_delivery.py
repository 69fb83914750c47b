"""Alerts end to end: a fault, the notification at the receiver, its end, and the notice of that."""

from __future__ import annotations

import signal
import time
from typing import Any

import pytest

from lookout import engine
from lookout.project import Project
from lookout.verify.polling import NotYet, poll_until
from tests.faults import send

pytestmark = pytest.mark.integration


def notified(stack: Project, since: float, **wanted: str) -> dict[str, Any]:
    """The first alert received since a time that has these labels or status. Raises NotYet without one."""
    for notification in stack.live.notifications(since=str(since)):
        for alert in notification["alerts"]:
            if wanted.items() <= ({**alert["labels"], "status": alert["status"]}).items():
                return {**alert, "received": notification["received_at"]}
    raise NotYet(f"no notification with {wanted}")


@pytest.mark.parametrize(
    ("service", "tier", "within"), [("llm-orchestrator", "critical", 15), ("saga-orchestrator", "standard", 90)]
)
def test_a_killed_service_is_reported_down_and_up_again(stack: Project, service: str, tier: str, within: float) -> None:
    poll_until(lambda: watched(stack, service), "a minute of scrapes", 90)
    container = stack.compose.containers()[service]["Id"]
    killed = time.time()
    engine.run("kill", container)
    try:
        down = poll_until(
            lambda: notified(stack, killed, alertname="ServiceDown", service=service, status="firing"),
            "ServiceDown",
            within,
            0.1,
        )
    finally:
        engine.run("start", container)
    assert down["labels"]["severity"] == "critical"
    assert down["labels"]["tier"] == tier
    assert down["labels"]["team"]
    assert down["annotations"]["summary"] == f"{service} is down"
    assert down["annotations"]["runbook_url"].endswith("/ServiceDown.md")
    poll_until(
        lambda: notified(stack, killed, alertname="ServiceDown", service=service, status="resolved"),
        "its end",
        within + 60,
    )


def test_a_hanging_service_is_reported_before_its_probe_ends_it(stack: Project) -> None:
    service = "llm-orchestrator"
    poll_until(lambda: watched(stack, service), "a minute of scrapes", 90)
    poll_until(lambda: quiet(stack, service), "nothing fires", 90)
    hung = send(stack, service, signal.SIGSTOP)
    try:
        poll_until(
            lambda: notified(stack, hung, alertname="ServiceDown", service=service, status="firing"),
            "ServiceDown",
            6,
            0.1,
        )
    finally:
        send(stack, service, signal.SIGCONT)
    poll_until(
        lambda: notified(stack, hung, alertname="ServiceDown", service=service, status="resolved"), "its end", 60
    )


def watched(stack: Project, service: str) -> None:
    """Raises NotYet while a service may still be starting: until then its ServiceDown is held back."""
    if not stack.live.query(f'up{{job=~"services(-live)?", service="{service}"}} offset 1m'):
        raise NotYet("it has been scraped for less than a minute")


def quiet(stack: Project, service: str) -> None:
    """Raises NotYet while ServiceDown fires for a service."""
    if stack.live.query(f'ALERTS{{alertname="ServiceDown", service="{service}"}}'):
        raise NotYet("ServiceDown still fires")


def test_the_dead_mans_switch_is_heard(stack: Project) -> None:
    heard = notified(stack, time.time() - 120, alertname="Watchdog", status="firing")
    assert heard["labels"]["severity"] == "info"
    assert heard["generatorURL"].startswith(stack.live.url("prometheus"))
