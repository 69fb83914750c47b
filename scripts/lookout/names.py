"""Names that more than one place must agree on: jobs, datasource UIDs, paths. No logic."""

from __future__ import annotations

from typing import Final

JOB_SERVICES: Final = "services"
JOB_LIVE: Final = "services-live"
JOB_SERVERS: Final = "servers"
JOB_SLOW: Final = "servers-slow"
JOB_SPANS: Final = "spans"
JOB_PROBES: Final = "http-probes"

UID_PROMETHEUS: Final = "prometheus"
UID_LOKI: Final = "loki"
UID_TEMPO: Final = "tempo"
UID_JAEGER: Final = "jaeger"
UID_ALERTMANAGER: Final = "alertmanager"

OTLP_HTTP_PORT: Final = 4318
COLLECTOR_HEALTH_PORT: Final = 13133
SPAN_METRICS_PORT: Final = 8889

LIVE_PATH: Final = "/live/metrics"
METRICS_PATH: Final = "/metrics"
HEALTH_PATH: Final = "/health"

DISCOVERED_FOLDER: Final = "/discovered"
"""Where Prometheus reads the targets that the discoverer found."""

LABEL_CONFIG: Final = "lookout.config"
LABEL_RECIPE: Final = "lookout.recipe"
