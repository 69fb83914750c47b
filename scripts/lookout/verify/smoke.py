"""The smoke test: everything answers; then a request to each service is followed into metrics, log and trace."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import httpx

from .. import names
from ..engine import Compose
from ..errors import Unsatisfied
from ..model import Service
from .http import CLIENT
from .live import verdicts
from .polling import NotYet, poll_until
from .servers import Live, kept_trace_id, kept_traceparent

WITHIN_SECONDS = 30

WITH_EXEMPLARS = {"Accept": "application/openmetrics-text; version=1.0.0"}

Tried = tuple[str, str, str | None]
"""Container or question, what was tried, and why it falls short; None where it does not."""


def smoke(live: Live, compose: Compose) -> Iterator[Tried]:
    """What was tried, in the order of the model."""
    for verdict in verdicts(live, compose):
        yield verdict.what, f"{verdict.good} of {verdict.of}", "; ".join(map(": ".join, verdict.missing)) or None
    services = live.stack.bundled
    # Together, for each waits until its trace is stored.
    with ThreadPoolExecutor(max(1, len(services))) as pool:
        for tried in pool.map(lambda service: list(_followed(live, service)), services):
            yield from tried


def _followed(live: Live, service: Service) -> Iterator[Tried]:
    """One request to a service, followed into its signals."""
    correlation = f"smoke-{uuid.uuid4().hex}"
    trace_id = kept_trace_id()
    yield service.name, names.HEALTH_PATH, _tried(partial(_get, live, service, names.HEALTH_PATH))
    yield service.name, names.METRICS_PATH, _tried(partial(_get, live, service, names.METRICS_PATH))
    counted = _counted(live, service)
    headers = {"X-Correlation-ID": correlation, "traceparent": kept_traceparent(trace_id)}
    send = partial(_get, live, service, "/smoke-test", headers, 404)
    sent = _tried(send)
    yield service.name, "request", sent
    if sent is not None:
        return
    yield service.name, "counted", _tried(partial(_counts_it, live, service, counted, trace_id, send))
    if live.stack.ships_logs:
        yield service.name, "log line", _tried(partial(_logged, live, service, correlation))
    yield service.name, "trace", _tried(partial(_traced, live, service, trace_id))


def _tried(attempt: Callable[[], object]) -> str | None:
    try:
        attempt()
    except (NotYet, Unsatisfied) as reason:
        return str(reason)
    return None


def _get(
    live: Live, service: Service, path: str, headers: dict[str, str] | None = None, status: int = 200
) -> httpx.Response:
    url = f"{live.url(service.name)}{path}"
    try:
        answer = CLIENT.get(url, headers=headers, timeout=10)
    except httpx.HTTPError as error:
        raise NotYet(f"{url}: {type(error).__name__}: {error}") from error
    if answer.status_code != status:
        raise NotYet(f"{url}: HTTP {answer.status_code}: {answer.text[:200]}")
    return answer


def _counted(live: Live, service: Service) -> float:
    """Requests for pages that are not there, as the service counts them; 0 when it does not answer."""
    try:
        return _not_found(_get(live, service, names.METRICS_PATH).text)
    except NotYet:
        return 0


def _not_found(metrics: str) -> float:
    lines = re.findall(r'^http_requests_total\{[^}]*status="404"[^}]*\} (\S+)', metrics, re.MULTILINE)
    return sum(map(float, lines))


def _counts_it(live: Live, service: Service, before: float, trace_id: str, send: Callable[[], object]) -> None:
    """The counter moves for any request that is not found; an exemplar of its trace has this one alone.

    A bucket keeps the last exemplar, which may be that of a later request: then this one is sent again.
    """
    exemplar = re.compile(rf'^http_request_duration_seconds_bucket\{{.* # \{{trace_id="{trace_id}"\}}', re.MULTILINE)

    def ask() -> None:
        metrics = _get(live, service, names.METRICS_PATH, WITH_EXEMPLARS).text
        if _not_found(metrics) <= before:
            raise NotYet("the request is not in http_requests_total")
        if not exemplar.search(metrics):
            send()
            raise NotYet(f"http_request_duration_seconds has no exemplar of its trace {trace_id}")

    poll_until(ask, "its count", WITHIN_SECONDS)


def _logged(live: Live, service: Service, correlation: str) -> None:
    query = f'{{project="{live.stack.project}", service="{service.name}"}} | correlation_id=`{correlation}`'

    def ask() -> None:
        if not live.logs(query, limit=1):
            raise NotYet(f"no line with correlation id {correlation}")

    poll_until(ask, "its log line in Loki", WITHIN_SECONDS)


def _traced(live: Live, service: Service, trace_id: str) -> None:
    def ask() -> None:
        if service.name not in live.trace(trace_id):
            raise NotYet(f"trace {trace_id} does not have it")

    poll_until(ask, "its trace", WITHIN_SECONDS)
