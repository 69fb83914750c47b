"""Whether notifications arrive, and which alerts fire."""

from __future__ import annotations

import time

from .http import get_json
from .servers import Live
from .verdict import Containers, Missing, question, since

WATCHDOG_SECONDS = 120
"""Watchdog is notified again every minute, at the next quarter of a minute."""


@question("alerts delivered", of="receiver")
def delivered(live: Live, found: Containers) -> tuple[int, Missing]:
    """The receiver of the bundle was notified of the alert that always fires."""
    earliest = since(found, WATCHDOG_SECONDS, "prometheus", "alertmanager", "receiver")
    if live.notifications(alertname="Watchdog", since=str(earliest)):
        return 1, ()
    why = f"was not notified of Watchdog, which always fires, in the last {time.time() - earliest:.0f} s"
    return 1, [("receiver", why)]


@question("receivers reached", of="prometheus")
def reached(live: Live, _found: Containers) -> tuple[int, Missing]:
    """Alertmanager had to give up no notification because a receiver did not take it."""
    failed = "sum by (integration) (increase(alertmanager_notifications_failed_total[2m])) > 0"
    return 1, [
        ("alertmanager", f"gave up notifications by {result['metric']['integration']} in the last 2 min")
        for result in live.query(failed)
    ]


def firing(live: Live) -> list[str]:
    """Names of the alerts that fire now, but for Watchdog, with their service.

    Raises NotYet where Prometheus does not answer.
    """
    alerts = get_json(f"{live.url('prometheus')}/api/v1/alerts")["data"]["alerts"]
    return sorted(
        f"{alert['labels']['alertname']}({alert['labels'].get('service', '-')})"
        for alert in alerts
        if alert["state"] == "firing" and alert["labels"]["alertname"] != "Watchdog"
    )
