"""Whether Grafana has every datasource, and each of them answers it."""

from __future__ import annotations

from .polling import NotYet
from .servers import Live
from .verdict import Containers, Missing, question

QUESTIONS = {
    "prometheus": "/api/v1/query?query=1",
    "loki": "/loki/api/v1/labels",
    "tempo": "/api/search/tags",
    "jaeger": "/api/services",
    "alertmanager": "/api/v2/status",
}
"""Type of a datasource → what it is asked."""


@question("datasources", of="grafana")
def datasources(live: Live, _found: Containers) -> tuple[int, Missing]:
    """Asked through Grafana's own proxy, so that their addresses and networks are what is tried."""
    there = {source["uid"] for source in live.grafana("/api/datasources")}
    wanted = live.rendered("grafana/provisioning/datasources/lookout.yaml")["datasources"]
    missing: list[tuple[str, str]] = []
    for source in wanted:
        try:
            if source["uid"] not in there:
                raise NotYet("Grafana does not have it")
            live.grafana(f"/api/datasources/proxy/uid/{source['uid']}{QUESTIONS[source['type']]}")
        except NotYet as reason:
            missing.append((f"grafana datasource {source['uid']}", str(reason)))
    return len(wanted), missing
